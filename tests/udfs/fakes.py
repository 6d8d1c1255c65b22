# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for what Flink, Kafka and the reactor give the tools operator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class FakeMap:
    """Flink's MapState of one key: strings only; RocksDB gives the keys in an order of its own."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        return self.stored.get(key)

    def put(self, key: str, value: str) -> None:
        assert isinstance(key, str) and isinstance(value, str)
        self.stored[key] = value

    def remove(self, key: str) -> None:
        self.stored.pop(key, None)

    def keys(self) -> Iterator[str]:
        return iter(sorted(self.stored, reverse=True))


class FakeContext:
    """What an operator is opened with and called with, for one key: its map states, its timers."""

    def __init__(self, key: str) -> None:
        self.key, self.maps, self.timers = key, dict[str, FakeMap](), set[int]()

    def get_map_state(self, descriptor: Any) -> FakeMap:
        return self.maps.setdefault(descriptor.name, FakeMap())

    def get_current_key(self) -> str:
        return self.key

    def timer_service(self) -> FakeContext:
        return self

    def register_processing_time_timer(self, time_ms: int) -> None:
        self.timers.add(time_ms)


class FakeReactor:
    """A reactor that only writes down what it is told."""

    def __init__(self) -> None:
        self.fired: list[tuple[dict[str, Any], bool]] = []
        self.answered: list[tuple[dict[str, Any], str, str]] = []
        self.hand: set[str] = set()
        self.closed = False

    def fire(self, ask: dict[str, Any], again: bool = False) -> None:
        self.fired.append((ask, again))
        self.hand.add(ask["call_id"])

    def answer(self, ask: dict[str, Any], status: str, reason: str) -> None:
        self.answered.append((ask, status, reason))
        self.hand.add(ask["call_id"])

    def in_hand(self) -> frozenset[str]:
        return frozenset(self.hand)

    def forget(self, call_id: str) -> None:
        self.hand.discard(call_id)

    def close(self) -> None:
        self.closed = True
