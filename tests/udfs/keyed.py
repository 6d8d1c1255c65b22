# SPDX-License-Identifier: Apache-2.0
"""Flink as a keyed function sees it, in memory: state and timers of each key, and a clock that stands still."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from wire.frames import OutRecord, unpack_out

Stored = dict[str, dict[str, dict[str, str]]]


@dataclass
class Keyed:
    """Runs one keyed function: `give` hands it a frame of a key, `fire` what is due."""

    function: Any
    now_ms: int
    key: str = ""
    stored: Stored = field(default_factory=lambda: defaultdict(lambda: defaultdict(dict)))
    timers: set[tuple[int, str]] = field(default_factory=set)

    def open(self) -> None:
        """Begin, as a task does at its start, whatever state there is."""
        self.function.open(self)

    def give(self, key: str, frame: bytes) -> tuple[list[OutRecord], list[OutRecord]]:
        """What the function writes for a frame: (on the main lane, on the side)."""
        self.key = key
        return lanes(self.function.process_element(frame, self))

    def fire(self, now_ms: int) -> tuple[list[OutRecord], list[OutRecord]]:
        """Let the time come; what the function writes at the timers that are due by then."""
        self.now_ms = now_ms
        written: tuple[list[OutRecord], list[OutRecord]] = ([], [])
        for due, key in sorted(timer for timer in self.timers if timer[0] <= now_ms):
            self.timers.discard((due, key))
            self.key = key
            for lane, records in zip(written, lanes(self.function.on_timer(due, self)), strict=True):
                lane += records
        return written

    def due(self, key: str) -> list[int]:
        """When timers of a key are due."""
        return sorted(due for due, of in self.timers if of == key)

    def copy(self) -> tuple[Any, ...]:
        """State and timers as a checkpoint holds them."""
        return deepcopy({name: dict(keys) for name, keys in self.stored.items()}), set(self.timers)

    # --- what Flink offers: context, timer service

    def get_state(self, descriptor: Any) -> Value:
        return Value(self, descriptor.name)

    def get_map_state(self, descriptor: Any) -> Map:
        return Map(self, descriptor.name)

    def get_current_key(self) -> str:
        return self.key

    def timer_service(self) -> Keyed:
        return self

    def register_processing_time_timer(self, due_ms: int) -> None:
        self.timers.add((due_ms, self.key))

    def delete_processing_time_timer(self, due_ms: int) -> None:
        self.timers.discard((due_ms, self.key))


@dataclass
class Value:
    """Flink's ValueState."""

    flink: Keyed
    name: str

    @property
    def _of_key(self) -> dict[str, str]:
        return self.flink.stored[self.name][self.flink.key]

    def value(self) -> str | None:
        return self._of_key.get("")

    def update(self, value: str) -> None:
        assert isinstance(value, str)
        self._of_key[""] = value


class Map(Value):
    """Flink's MapState; RocksDB gives the pairs in an order of its own."""

    def get(self, key: str) -> str | None:
        return self._of_key.get(key)

    def put(self, key: str, value: str) -> None:
        assert isinstance(key, str) and isinstance(value, str)
        self._of_key[key] = value

    def remove(self, key: str) -> None:
        self._of_key.pop(key, None)

    def items(self) -> Any:
        return iter(sorted(self._of_key.items(), reverse=True))


def lanes(outcome: Any) -> tuple[list[OutRecord], list[OutRecord]]:
    """The records of what a function gives to Flink: (on the main lane, on the side)."""
    packs = list(outcome or ())
    main = [record for pack in packs if isinstance(pack, bytes) for record in unpack_out(pack)]
    side = [record for pack in packs if isinstance(pack, tuple) for record in unpack_out(pack[1])]
    return main, side
