# SPDX-License-Identifier: Apache-2.0
"""The tool service's memory: an append-only JSONL file, each line on the disk before anything rests on it.

{"kind": "started",  "seed", "dedup"}
{"kind": "arrived",  "request", "key", "digest", "thread", "task", "function", "args", "kwargs"}
{"kind": "effect",   ... the same ..., "output"}
{"kind": "answered", "request", "key", "thread", "status", "again"}
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


class Ledger:
    """`lines` are those found at the start; a last line that a crash cut short is cut off."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.read_bytes() if path.exists() else b""
        end = whole.rfind(b"\n") + 1
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in whole[:end].splitlines()]
        self._file = path.open("ab")
        self._file.truncate(end)

    def append(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Write a line; it is on the disk when this returns."""
        line = {"kind": kind, "time_ms": time.time_ns() // 1_000_000, **fields}
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        return line


class Watch:
    """Follows a ledger that another process writes: which requests wait for answers, and which keys lost theirs."""

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, 0
        self._open, self._lost = dict[int, str](), set[str]()  # open requests with their keys

    def unanswered(self) -> int:
        """Requests that have arrived since the service last started and have no answer yet."""
        self._read()
        return len(self._open)

    def lost(self) -> int:
        """Keys whose requests had no answer when the service started anew, and that have not arrived again."""
        self._read()
        return len(self._lost)

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._place)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._place += len(whole)
        for line in map(json.loads, whole.splitlines()):
            if line["kind"] == "started":
                self._lost.update(self._open.values())
                self._open.clear()
            elif line["kind"] == "arrived":
                self._open[line["request"]] = line["key"]
                self._lost.discard(line["key"])
            elif line["kind"] == "answered":
                self._open.pop(line["request"], None)
