# SPDX-License-Identifier: Apache-2.0
"""All figures of a run of `make bench` on a page. Pure: text of JSON objects, one for each figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from bench.figures import short
from bench.floors import FLOORS, Floor
from ops.context import Trouble

Told = dict[str, Any]

HEAD = """\
# Figures

Made of [raw data](figures.jsonl) by `.venv/bin/python -m bench --write-docs docs/figures.md`; where something was
measured since, with `--raw docs/figures.jsonl`. `make bench` measures anew: an hour to an hour and a half on two
cores with nothing else to do. Everything runs on one machine: ZooKeeper, broker, registry, JobManager, a TaskManager
for each job, the sender and the reader. Each bench says at which commit it was run; a page of more than one commit, or
of a changed tree (a + at its end), is made only with `--mixed`.
What the figures mean, and where the time goes: [performance.md](performance.md).
"""
# Where a bench was made is the same for all; the load before it is not, and is a bound only.
MACHINE = ("cpu", "cores", "memory_gib", "kernel", "python", "java", "flink", "kafka", "connector", "nice")
FLOOR_HEADS = ["figure", "floor", "median", "min to max", "runs", ""]
UNTOLD = ("load_average", "busy", "sender_and_reader", "commit", *MACHINE)


def told(bench: str, line: str) -> Told:
    """A figure as a bench has written it down, with the bench's name. Raises ValueError where it is none."""
    return {"bench": bench, **json.loads(line)}


def check_commits(figures: list[Told], of: str) -> None:
    """Raise Trouble unless all raw data are of one commit, and that without changes. `of`: the field that names what
    each of them belongs to. What was not measured is of no commit."""
    names: dict[str, set[str]] = {}
    for one in figures:
        if (commit := one["conditions"].get("commit")) is not None:
            names.setdefault(commit, set()).add(one[of])
    if len(names) > 1 or any(commit.endswith("+") for commit in names):
        each = "; ".join(f"{commit}: {', '.join(sorted(ones))}" for commit, ones in sorted(names.items()))
        raise Trouble(
            f"The raw data are not of one clean commit ({each}).",
            "Measure those again at one commit, without changes (a + at its end), or give --mixed.",
        )


def missed(figures: list[Told], whole: bool = False) -> list[str]:
    """What was asked of these figures and does not hold, or was measured while the machine had other work.

    `whole`: they are of all benches, so a floor without a figure is missed too."""
    found = {one["figure"]: one for one in figures}
    asked = [(floor, found.get(floor.figure)) for floor in FLOORS if floor.limit is not None]
    return [floor.what for floor, one in asked if (whole if one is None else not _is_held(floor, one))]


def _is_held(floor: Floor, one: Told) -> bool:
    return not one["conditions"]["busy"] and floor.held(one["value"])


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |\n"


def floors(figures: list[Told]) -> str:
    """A table: what was asked, what was measured, whether it holds."""
    found = {one["figure"]: one for one in figures}
    rows = [row(FLOOR_HEADS), row(["---"] * len(FLOOR_HEADS))]
    for floor in FLOORS:
        one = found.get(floor.figure)
        if one is None:
            rows.append(row([floor.what, floor.asked, "not measured", "", "", ""]))
        else:
            middle, low, high = (short(one[key]) for key in ("value", "min", "max"))
            said = "busy, not to be quoted" if one["conditions"]["busy"] else floor.verdict(one["runs"])
            values = [f"{middle} {floor.unit}".strip(), f"{low} to {high}", str(len(one["runs"]))]
            rows.append(row([floor.what, floor.asked, *values, said]))
    return "".join(rows)


def refloored(text: str, table: str) -> str:
    """A document with another table of floors, up to the empty line after it. Raises Trouble where it has none."""
    begin = text.find(row(FLOOR_HEADS[:3]).rstrip())
    if begin < 0:
        raise Trouble("README.md has no table of floors.", f"It begins with the row {row(FLOOR_HEADS).strip()}")
    end = text.find("\n\n", begin)
    return text[:begin] + table + (text[end + 1 :] if end >= 0 else "")


def _bench(name: str, ones: list[Told]) -> str:
    conditions = ones[0]["conditions"]
    said = "; ".join(f"{key} {_plain(value)}" for key, value in conditions.items() if key not in UNTOLD)
    busy = "**The machine had other work: not to be quoted.** " if conditions["busy"] else ""
    rows = [row(["figure", "unit", "median", "min", "max", "runs"]), row(["---", "---", *["---:"] * 4])]
    for one in ones:
        spread = [short(one[key]) for key in ("value", "min", "max")]
        rows.append(row([f"`{one['figure']}`", one["unit"], *spread, ", ".join(map(short, one["runs"]))]))
    return f"## {name}\n\n{busy}Commit {conditions['commit']}; {said}.\n\n{''.join(rows)}"


def _plain(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
        case list():
            return " and ".join(map(str, value))
        case bool() | str():
            return str(value)
        case _:
            return "none" if value is None else f"{value:,}"


def _machines(figures: list[Told]) -> str:
    """Each condition of the machine, once; of a run on one machine there is one value each."""
    rows = [row(["condition", "value"]), row(["---"] * 2)]
    for key in MACHINE:
        values = sorted({str(one["conditions"].get(key, "not told")) for one in figures})
        rows.append(row([key, "; ".join(values)]))
    loads = [one["conditions"]["load_average"] for one in figures]
    return "".join([*rows, row(["load average before a bench", f"{min(loads):g} to {max(loads):g}"])])


def render(figures: list[Told]) -> str:
    """The page: what was asked, on what it was measured, and every figure with all of its runs."""
    by_bench = [(name, list(ones)) for name, ones in groupby(figures, lambda one: one["bench"])]
    parts = [
        HEAD, f"## Floors\n\n{floors(figures)}",
        f"## Conditions\n\n{_machines(figures)}", *(_bench(name, ones) for name, ones in by_bench),
    ]  # fmt: skip
    return "\n".join(parts)
