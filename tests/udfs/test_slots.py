# SPDX-License-Identifier: Apache-2.0
"""The queue's state: in memory and over Flink's map state, under one contract."""

from __future__ import annotations

from typing import Any

import pytest

from tests.udfs.fakes import FakeMap
from tests.udfs.test_queueing import Slots as InMemory
from threadlog.queueing import Slots
from udfs.tool_queue import MapSlots, PendingSlots


class InFlink(MapSlots):
    def __init__(self) -> None:
        super().__init__(FakeMap())


class InFlinkWithKeysInMemory(PendingSlots):
    def __init__(self) -> None:
        super().__init__(FakeMap())


@pytest.fixture(params=[InMemory, InFlink, InFlinkWithKeysInMemory])
def slots(request: pytest.FixtureRequest) -> Any:
    return request.param()


def test_slots_give_back_what_was_put(slots: Slots) -> None:
    """Any plain JSON value comes back equal, and a second one takes its place."""
    value = {"ask": {"text": "a\x00ü😀", "list": [1, 2.5, None, True]}, "restarts": 0}
    slots.put("c", 1)
    slots.put("c", value)
    assert slots.get("c") == value


def test_slots_tell_what_is_false_from_what_is_absent(slots: Slots) -> None:
    """The first ask that waits has the number 0."""
    slots.put("w:c", 0)
    assert (slots.get("w:c"), slots.get("w:d")) == (0, None)


def test_slots_forget_what_was_removed(slots: Slots) -> None:
    """A removed key is absent, and removing an absent one is no error."""
    slots.put("a", 1)
    slots.put("b", 2)
    slots.remove("a")
    slots.remove("never")
    assert (slots.get("a"), slots.get("b"), sorted(slots.keys())) == (None, 2, ["b"])


def test_slots_may_be_written_while_their_keys_are_gone_through(slots: Slots) -> None:
    """The keys are those of the moment they were asked for."""
    for key in "abc":
        slots.put(key, key)
    for key in slots.keys():
        slots.remove(key)
        slots.put(f"{key}{key}", key)
    assert sorted(slots.keys()) == ["aa", "bb", "cc"]


class PerKey(FakeMap):
    """Flink's map state of whichever quota key is current."""

    def __init__(self) -> None:
        super().__init__()
        self.walks = 0

    def keys(self) -> Any:
        self.walks += 1
        return super().keys()


def test_pending_slots_walk_the_state_once_and_know_each_quota_key() -> None:
    """What an earlier process left is read once; what is written since is known; one key's are not another's."""
    states = {"a": PerKey(), "b": PerKey()}
    states["a"].put("left", "1")
    slots = PendingSlots(states["a"])

    def of(key: str) -> PendingSlots:
        slots.of, slots._state = key, states[key]
        return slots

    assert sorted(of("a").keys()) == ["left"]
    of("b").put("other", 1)
    of("a").put("new", 1)
    assert (sorted(of("a").keys()), sorted(of("b").keys())) == (["left", "new"], ["other"])
    of("a").remove("left")
    of("b").remove("other")
    assert ([sorted(of(key).keys()) for key in "ab"], states["a"].walks, states["b"].walks) == ([["new"], []], 1, 1)
    of("b").put("again", 1)
    assert sorted(of("b").keys()) == ["again"]
