# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for what Flink, Kafka and the reactor give the operators."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException


class FakeMap:
    """Flink's MapState of one key: strings only; RocksDB gives the pairs in an order of its own."""

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

    def items(self) -> Iterator[tuple[str, str]]:
        return iter(sorted(self.stored.items(), reverse=True))


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


class FakeBroker:
    """Takes what producers give it. `troubles` says what happens to the next records, one after the other:

    None             it is acknowledged
    ("full",)        the producer's queue is full
    ("raises", e)    the producer refuses it with a KafkaError
    ("fails", e)     the producer takes it, and reports later that it failed
    ("poll", x)      the producer takes it, and the next poll raises x
    ("held",)        the producer takes it, and writes it when the broker is `back`
    """

    def __init__(self, *troubles: Any) -> None:
        self.troubles = list(troubles)
        self.taken: list[tuple[str, bytes, bytes, list[tuple[str, bytes]]]] = []
        self.producers: list[FakeProducer] = []

    def back(self) -> None:
        """What producers still hold is written."""
        for producer in self.producers:
            self.taken += producer.held
            producer.held = []

    def producer(self, *settings: object) -> FakeProducer:
        self.producers.append(FakeProducer(self))
        return self.producers[-1]


class FakeProducer:
    """A confluent_kafka.Producer; one that met a fatal error takes nothing any more."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker, self._reports, self._dead = broker, list[Callable[[], Any]](), False
        self.held: list[tuple[str, bytes, bytes, list[tuple[str, bytes]]]] = []

    def produce(
        self, topic: str, value: bytes, key: bytes, headers: Any, on_delivery: Any, partition: int = -1
    ) -> None:
        if self._dead:
            raise KafkaException(KafkaError(KafkaError._FATAL, fatal=True))
        match self._broker.troubles.pop(0) if self._broker.troubles else None:
            case None:
                self._broker.taken.append((topic, key, value, headers))
                offset = len(self._broker.taken) - 1
                self._reports.append(lambda: on_delivery(None, SimpleNamespace(offset=lambda: offset)))
            case ("full",):
                raise BufferError("Local: Queue full")
            case ("raises", error):
                self._dead = error.fatal()
                raise KafkaException(error)
            case ("fails", error):
                self._dead = error.fatal()
                self._reports.append(lambda: on_delivery(error, object()))
            case ("held",):
                self.held.append((topic, key, value, headers))
            case ("poll", error):
                self._reports.append(lambda: (_ for _ in ()).throw(error))

    def poll(self, timeout: float) -> None:
        if not self._reports:
            time.sleep(min(timeout, 0.001))
        while self._reports:
            self._reports.pop(0)()

    def purge(self) -> None:
        self.held.clear()

    def flush(self, timeout: float) -> int:
        while self._reports:
            self._reports.pop(0)()
        return 0
