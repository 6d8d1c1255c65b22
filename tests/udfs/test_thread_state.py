# SPDX-License-Identifier: Apache-2.0
"""The engine's maps: in memory and over Flink's keyed state, under one contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from threadlog.state import MemoryMaps, Patch, new_small
from udfs.thread_state import ThreadState


class FakeValue:
    """Flink's ValueState of one key."""

    def __init__(self) -> None:
        self.stored: str | None = None

    def value(self) -> str | None:
        return self.stored

    def update(self, value: str) -> None:
        assert isinstance(value, str)
        self.stored = value


class FakeMap:
    """Flink's MapState of one key; RocksDB gives the pairs in an order of its own."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        return self.stored.get(key)

    def put(self, key: str, value: str) -> None:
        assert isinstance(value, str)
        self.stored[key] = value

    def remove(self, key: str) -> None:
        self.stored.pop(key, None)

    def items(self) -> Iterator[tuple[str, str]]:
        return iter(sorted(self.stored.items(), reverse=True))


class InMemory:
    def __init__(self) -> None:
        self.maps = MemoryMaps()

    def write(self, patch: Patch) -> None:
        self.maps.write(patch)


class InFlink:
    def __init__(self) -> None:
        self.maps = ThreadState(FakeValue(), FakeMap())

    def write(self, patch: Patch) -> None:
        self.maps.save(new_small("t"), patch)


@pytest.fixture(params=[InMemory, InFlink])
def store(request: pytest.FixtureRequest) -> Any:
    return request.param()


def test_maps_give_back_what_was_put(store: Any) -> None:
    """Any plain JSON value comes back equal."""
    value = {"text": "a\x00ü😀", "list": [1, 2.5, None, True], "deep": {"": {}}}
    store.write({"put": {"steps": {"event": value}}, "del": {}})
    assert store.maps.get("steps", "event") == value


def test_maps_know_nothing_of_what_was_not_put(store: Any) -> None:
    """An absent key is None."""
    assert store.maps.get("seen", "x") is None


def test_maps_forget_what_was_deleted(store: Any) -> None:
    """A deleted key is absent, and deleting an absent one is no error."""
    store.write({"put": {"asks": {"a": 1, "b": 2}}, "del": {}})
    store.write({"put": {}, "del": {"asks": ["a", "never"]}})
    assert [store.maps.get("asks", "a"), store.maps.get("asks", "b")] == [None, 2]


def test_maps_keep_sections_apart(store: Any) -> None:
    """Equal keys in two sections are two values, and `items` shows one section in the order of its keys."""
    store.write({"put": {"queue": {"2": "q2", "10": "q10"}, "history": {"2": "h2"}}, "del": {}})
    assert list(store.maps.items("queue")) == [("10", "q10"), ("2", "q2")]
    assert list(store.maps.items("history")) == [("2", "h2")]


def test_thread_state_begins_as_a_new_thread() -> None:
    """A thread that Flink knows nothing of is one that has decided nothing."""
    assert ThreadState(FakeValue(), FakeMap()).load("t-1").small == new_small("t-1")


def test_thread_state_gives_back_the_small_state() -> None:
    """The small sections survive Flink's state, whatever is in them."""
    state = ThreadState(FakeValue(), FakeMap())
    small = new_small("t-1")
    small["vars"]["mood"] = "fine 😀"
    state.save(small, {"put": {}, "del": {}})
    assert state.load("t-1").small == small
