# SPDX-License-Identifier: Apache-2.0
"""Figures as others can use them: one JSON object per line with its conditions, and a table for people."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from bench.meter import busy_share
from ops.machine import commit, cpu
from ops.stack.layout import BUILD

LOAD_MAX = 1.0
OTHERS_MAX = 0.10  # of the machine
QUIET_S = 5.0


@dataclass(frozen=True)
class Figure:
    """One figure: its median over the runs, with their spread."""

    name: str
    unit: str
    runs: Sequence[float]

    @property
    def value(self) -> float:
        """The median."""
        return median(self.runs)

    def line(self, conditions: dict[str, Any]) -> str:
        """One JSON object."""
        spread = {"min": round(min(self.runs), 4), "max": round(max(self.runs), 4)}
        runs = [round(one, 4) for one in self.runs]
        record = {"figure": self.name, "value": round(self.value, 4), "unit": self.unit, **spread, "runs": runs}
        return json.dumps({**record, "conditions": conditions}, ensure_ascii=False)


def at_share(share: float, values: Sequence[float]) -> float:
    """The value that this share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def table(figures: list[Figure]) -> str:
    """The figures for people."""
    rows = [("figure", "median", "min", "max", "unit")]
    rows += [(f.name, short(f.value), short(min(f.runs)), short(max(f.runs)), f.unit) for f in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}"
        for row in rows
    )


def short(value: float) -> str:
    """A number with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value < 1 else f"{value:.2f}"


def machine() -> dict[str, Any]:
    """What the figures were measured on, read before anything is started."""
    return {
        "cores": os.cpu_count(), "cpu": cpu(), "memory_gib": _memory_gib(),
        "kernel": platform.release(),
        "load_average": round(os.getloadavg()[0], 2), "nice": os.nice(0), "commit": commit(),
        "python": platform.python_version(), "java": _java(), "flink": metadata.version("apache-flink"),
        "kafka": _jar("kafka", "kafka_2.13-"), "connector": _jar("flink-lib", "flink-sql-connector-kafka-"),
    }  # fmt: skip


def quiet() -> bool:
    """Whether the machine has nothing else to do now.

    The load average remembers for minutes what the bench before did. Where it is high, the cores are looked at."""
    return os.getloadavg()[0] <= LOAD_MAX or busy_share(QUIET_S) <= OTHERS_MAX


def _memory_gib() -> float:
    """All of the machine's, used or not; the kernel tells it in kB of 1,024 bytes."""
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    return round(int(total.split()[1]) / 2**20, 1)


def _java() -> str:
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    return said.stderr.splitlines()[0] if said.stderr else ""


def _jar(folder: str, prefix: str) -> str:
    found = sorted((BUILD / folder).glob(f"{prefix}*.jar"))
    return found[0].stem.removeprefix(prefix) if found else ""
