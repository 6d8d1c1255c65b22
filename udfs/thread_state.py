# SPDX-License-Identifier: Apache-2.0
"""The state of the current thread in Flink's keyed state.

Two states: `thread`, one JSON string with the small sections, read and written on every turn; and `maps`, a map of JSON
strings under "section:key", touched only where a decision reads or writes. Strings, because in thread mode bytes in
state come back as tuples of numbers.

Flink decides which thread is current; an object of this class is good for all of them, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from threadlog.state import Patch, Small, State, new_small

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class ValueState(Protocol):
    """What we use of Flink's ValueState."""

    def value(self) -> str | None: ...
    def update(self, value: str) -> None: ...


class MapState(Protocol):
    """What we use of Flink's MapState."""

    def get(self, key: str) -> str | None: ...
    def put(self, key: str, value: str) -> None: ...
    def remove(self, key: str) -> None: ...
    def items(self) -> Any: ...


class ThreadState:
    """Reads and writes the current thread; it is the `Maps` that the engine reads map sections through."""

    def __init__(self, small: ValueState, maps: MapState) -> None:
        self._small, self._maps = small, maps

    def load(self, thread: str) -> State:
        """The thread as it is stored, or a new one."""
        stored = self._small.value()
        return State(new_small(thread) if stored is None else _decode(stored), self)

    def save(self, small: Small, writes: Patch) -> None:
        """Store what a decision made of the thread."""
        self._small.update(_encode(small).decode())
        for section, pairs in writes["put"].items():
            for key, value in pairs.items():
                self._maps.put(f"{section}:{key}", _encode(value).decode())
        for section, keys in writes["del"].items():
            for key in keys:
                self._maps.remove(f"{section}:{key}")

    def get(self, section: str, key: str) -> Any:
        stored = self._maps.get(f"{section}:{key}")
        return None if stored is None else _decode(stored)

    def items(self, section: str) -> Iterator[tuple[str, Any]]:
        """Every pair of a section in the order of keys; reads the whole map, so only for snapshots."""
        prefix = f"{section}:"
        found = [(key[len(prefix) :], value) for key, value in self._maps.items() if key.startswith(prefix)]
        return iter([(key, _decode(value)) for key, value in sorted(found)])
