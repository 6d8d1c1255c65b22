# SPDX-License-Identifier: Apache-2.0
"""Whom the demo kills: the TaskManager whose subtask holds the most refunds that the ledger shows unanswered.

A keyed job holds what it knows by key, and Flink gives each key to one subtask. The tools job holds a refund under its
quota key, which all refunds share; the conversation job holds it under its thread. So the subtask follows from the key
(`subtask_of`, as Flink computes it), its TaskManager is asked over REST, and the count is taken from the ledger."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops import http
from ops.settings import Settings
from ops.stack import flink

UNANSWERED = 3
OPERATORS = {"tools": "tool-queue", "conversation": "threads"}  # the keyed operator of each job
QUOTA_KEY = "refund"


@dataclass
class Tail:
    """A JSONL file that grows: `news` gives the lines that are whole since it was asked before."""

    path: Path
    _read: int = 0

    def news(self) -> list[dict[str, Any]]:
        """The new lines; none while there is no file."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


@dataclass
class Watch:
    """The refunds that are at the payment service: `open` has each unanswered request's order."""

    ledger: Tail
    sent: Tail
    open: dict[int, str] = field(default_factory=dict)
    _threads: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Take in what the ledger and the sender's file have new."""
        for event in self.sent.news():
            if order := event["data"].get("order_id"):
                self._threads[order] = event["thread"]
        for line in self.ledger.news():
            if line["kind"] == "started":
                self.open.clear()  # a service that starts has lost what was in flight
            elif line["kind"] == "arrived":
                self.open[line["request"]] = line["order"]
            elif line["kind"] in ("answered", "dropped"):
                self.open.pop(line["request"], None)

    def keys(self, kind: str) -> list[str]:
        """The key under which a job holds each unanswered refund."""
        if kind == "tools":
            return [QUOTA_KEY] * len(self.open)
        return [self._threads[order] for order in self.open.values() if order in self._threads]


@dataclass(frozen=True)
class Subtasks:
    """A job's keyed operator: the TaskManager of each of its subtasks."""

    kind: str
    hosts: dict[int, str]
    key_groups: int

    def holding(self, watch: Watch) -> tuple[int, int]:
        """The subtask that holds the most unanswered refunds, and how many; subtask 0 where none holds any."""
        held = Counter(subtask_of(key, len(self.hosts), self.key_groups) for key in watch.keys(self.kind))
        return held.most_common(1)[0] if held else (0, 0)

    def held(self, subtask: int, watch: Watch) -> int:
        """How many unanswered refunds this subtask holds."""
        keys = watch.keys(self.kind)
        return sum(subtask_of(key, len(self.hosts), self.key_groups) == subtask for key in keys)


def subtasks(settings: Settings, kind: str) -> Subtasks:
    """Where the job's keyed operator runs now. Raises HttpError; KeyError where there is no such job."""
    base = f"{settings.flink_rest}/jobs/{flink.live_jobs(settings)[kind].id}"
    vertices = http.call(base)["vertices"]
    vertex = next(one for one in vertices if one["name"].startswith(OPERATORS[kind]))
    tasks = http.call(f"{base}/vertices/{vertex['id']}")["subtasks"]
    return Subtasks(kind, {task["subtask"]: task["taskmanager-id"] for task in tasks}, vertex["maxParallelism"])


def subtask_of(key: str, parallelism: int, key_groups: int) -> int:
    """The subtask to which Flink gives a key: KeyGroupRangeAssignment.assignKeyToParallelOperator."""
    return _murmur(_row_hash(key)) % key_groups * parallelism // key_groups


def _row_hash(key: str) -> int:
    """Java's Row.of(key).hashCode(), which is what PyFlink keys by: String.hashCode and twice 31."""
    text, found = key.encode("utf-16-be"), 0
    for high, low in zip(text[::2], text[1::2], strict=True):
        found = (found * 31 + (high << 8 | low)) & 0xFFFFFFFF
    return (found + 2 * 31) & 0xFFFFFFFF


def _murmur(code: int) -> int:
    """Flink's MathUtils.murmurHash of a 32-bit word: never negative."""
    code = code * 0xCC9E2D51 & 0xFFFFFFFF
    code = (code << 15 | code >> 17) * 0x1B873593 & 0xFFFFFFFF
    code = (code << 13 | code >> 19) & 0xFFFFFFFF
    code = (code * 5 + 0xE6546B64) & 0xFFFFFFFF ^ 4
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        code = (code ^ code >> shift) * factor & 0xFFFFFFFF
    return abs(code - (1 << 32)) & 0x7FFFFFFF if code >> 31 else code
