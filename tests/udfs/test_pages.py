# SPDX-License-Identifier: Apache-2.0
"""Pairs that are numbered in a row lie in pages of the map, and nobody sees it."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from tests.udfs.fakes import FakeMap
from tests.udfs.test_thread_state import FakeValue, InFlink
from threadlog.snapshots import snapshot_text
from threadlog.state import MemoryMaps, State, new_small
from udfs.pages import PAGE_NUMBERS, Paged, Pages
from udfs.thread_state import NEAR_CHARS_MAX, NO_TIMER, ThreadState


class Counted(FakeMap):
    """A map that counts how often it is touched."""

    touched = 0

    def get(self, key: str) -> str | None:
        self.touched += 1
        return super().get(key)

    def put(self, key: str, value: str) -> None:
        self.touched += 1
        super().put(key, value)

    def remove(self, key: str) -> None:
        self.touched += 1
        super().remove(key)


def test_thread_state_of_a_long_conversation_touches_the_map_seldom() -> None:
    """What is said is appended at one end and dropped at the other, a page at a time."""
    store, counted = InFlink(kept_max=1), Counted()
    store.state = ThreadState(FakeValue(), counted, 1)
    for number in range(40 * PAGE_NUMBERS):
        dropped = [str(number - 300)] if number >= 300 else []
        store.write({"put": {"history": {str(number): "w" * 100}}, "del": {"history": dropped}})
    assert counted.touched < 40 * 6
    first = 40 * PAGE_NUMBERS - 300
    assert [key for key, _ in store.maps.items("history")] == sorted(str(n) for n in range(first, first + 300))
    assert len(list(counted.items())) <= 300 // PAGE_NUMBERS + 2
    assert (store.maps.get("history", str(first - 1)), store.maps.get("history", str(first))) == (None, "w" * 100)


class Walked(Counted):
    """The same, which is not to be walked."""

    def items(self) -> Any:
        raise AssertionError("the whole map was read")


def test_snapshot_of_a_long_conversation_reads_its_pages_alone() -> None:
    """The identities of events that it remembers, a thousand pairs, are in their ring too. It is the snapshot that
    maps in memory give."""
    store, walked, memory = InFlink(kept_max=1), Walked(), MemoryMaps()
    memory.write({"put": {"doubts": {"filler": ""}}, "del": {}})
    store.state = ThreadState(FakeValue(), walked, 1)
    for number in range(1_000):
        key = f"{number:024x}"
        patch = {
            "put": {"history": {str(number): {"said": "w" * 100}}, "seen": {key: number, f"#{number}": [key, number]}},
            "del": {},
        }
        store.write(patch)
        memory.write(patch)
    small = store.maps.small
    small["core"] |= {"history_first": 100, "history_next": 1_000}
    small["window"] = {"first": 0, "next": 1_000}
    for number in range(100):
        memory.sections["history"].pop(str(number))
    walked.touched = 0
    assert snapshot_text(State(small, store.maps)) == snapshot_text(State(small, memory))
    assert walked.touched <= 2 * (1_000 // PAGE_NUMBERS + 2)


def test_thread_state_drops_several_at_a_time_in_the_order_of_their_numbers() -> None:
    """A patch names them as strings, 10 before 9. Taken in that order the front would stay where it is for good, and
    each later turn write a page anew."""
    store, counted = InFlink(kept_max=1), Counted()
    store.state = ThreadState(FakeValue(), counted, 1)
    first = next_ = 0
    for number in range(700):
        added, dropped = (3 if number == 0 else 2), list[str]()
        puts = {str(next_ + n): "w" * 100 for n in range(added)}
        next_ += added
        while next_ - first > 300:
            dropped.append(str(first))
            first += 1
        store.write({"put": {"history": puts}, "del": {"history": sorted(dropped)}})
    assert counted.touched < 700
    assert len(list(counted.items())) <= 300 // PAGE_NUMBERS + 2
    assert len(list(store.maps.items("history"))) == 300


def test_thread_state_keeps_what_is_large_by_its_key() -> None:
    """A page that holds it would be written whole for each small thing that is said."""
    store, counted = InFlink(kept_max=1), Counted()
    store.state = ThreadState(FakeValue(), counted, 1)
    for number in range(200):
        text = ("L" if number % 4 == 0 else "s") * (3_000 if number % 4 == 0 else 50)
        store.write({"put": {"history": {str(number): text}}, "del": {}})
    pages = [value for key, value in counted.items() if ":" not in key]
    assert pages and max(map(len, pages)) < 2_500
    assert [store.maps.get("history", str(n))[0] for n in (0, 1, 100, 101)] == ["L", "s", "L", "s"]
    store.write({"put": {}, "del": {"history": [str(n) for n in range(190)]}})
    assert sorted(int(key) for key, _ in store.maps.items("history")) == list(range(190, 200))
    assert store.maps.get("history", "100") is None


def test_pages_stay_decoded_up_to_so_many_characters() -> None:
    """Those of late; one that is written again counts once."""
    pages, counted = Pages(Counted(), 1_000), Counted()
    pages._maps = counted
    page = {"0": msgspec.Raw(b'"' + b"x" * 300 + b'"')}
    for thread in ("a", "b", "a", "a"):
        pages.write(thread, "history", 0, page)
    counted.touched = 0
    assert pages.read("a", "history", 0) == page and pages.read("b", "history", 0) == page
    assert counted.touched == 0
    pages.write("c", "history", 0, page)
    pages.read("a", "history", 0)
    assert counted.touched == 2
    pages.write("c", "history", 0, {})
    assert list(counted.items()) == []


def test_thread_state_goes_on_from_one_without_pages() -> None:
    """Pairs that older code wrote by their keys stay there until they are dropped; what is written again is not seen
    twice."""
    store = InFlink()
    store.state._value.update('{"small":' + json.dumps(new_small("t")) + ',"near":{},"far":["history"]}')
    for number in range(40):
        store.state._maps.put(f"history:{number}", json.dumps(f"old {number}"))
    store.write({"put": {"history": {str(n): "n" * 150 for n in range(38, 80)}}, "del": {}})
    assert store.maps.thread.far == ["history", Paged("history", 38)]
    assert [store.maps.get("history", str(n)) for n in (37, 38, 79)] == ["old 37", "n" * 150, "n" * 150]
    store.write({"put": {}, "del": {"history": [str(n) for n in range(39)]}})
    assert [store.maps.get("history", str(n)) for n in (37, 38, 39)] == [None, None, "n" * 150]
    assert sorted(int(key) for key, _ in store.maps.items("history")) == list(range(39, 80))


def test_thread_state_with_pages_is_not_read_by_code_that_knows_none() -> None:
    """It stops, instead of taking what lies in pages for gone."""

    class Older(msgspec.Struct):
        far: list[str]

    store = InFlink()
    store.write({"put": {"history": {"0": "x" * NEAR_CHARS_MAX}}, "del": {}})
    with pytest.raises(msgspec.ValidationError, match="Expected `str`, got `array`"):
        msgspec.json.decode(store.state._value.value() or "", type=Older)


KEYS = [*map(str, range(90)), *(f"#{n}" for n in range(90)), "a", "b", "007", "-1", "#x"]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kept_max", [0, 1])
def test_thread_state_is_the_maps_in_memory_whatever_is_done_to_it(seed: int, kept_max: int) -> None:
    """Appended, dropped from the front or anywhere, written again, pushed far, begun anew: all of it at random."""
    draw, flink, memory, next_, first = random.Random(seed), InFlink(kept_max=kept_max), MemoryMaps(), 0, 0
    for _ in range(250):
        puts: dict[str, dict[str, Any]] = {"history": {}, "seen": {}}
        dels: dict[str, list[str]] = {"history": [], "seen": []}
        for _ in range(draw.randrange(1, 4)):
            for section, prefix in (("history", ""), ("seen", "#")):
                size = 1_000 if section == "history" and draw.random() < 0.1 else draw.randrange(120)
                puts[section][f"{prefix}{next_}"] = "v" * size
            next_ += 1
        while next_ - first > 70 or (first < next_ and draw.random() < 0.3):
            dels["history"].append(str(first))
            dels["seen"].append(f"#{first}")
            first += 1
        if draw.random() < 0.2:
            puts[draw.choice(["history", "seen"])][draw.choice(KEYS)] = draw.choice([1, "v" * 40])
            puts["history"][draw.choice(KEYS)] = draw.choice([1, "v" * 900])
        if draw.random() < 0.2:
            dels[draw.choice(["history", "seen"])].append(draw.choice(KEYS))
        dels = {name: sorted({key for key in keys if key not in puts[name]}) for name, keys in dels.items()}
        flink.filler = draw.choice([0, 0, 0, NEAR_CHARS_MAX])
        flink.write({"put": puts, "del": dels})
        memory.write({"put": puts, "del": dels})
        if draw.random() < 0.02:
            whole = State(new_small("t"), MemoryMaps())
            whole.maps.write({"put": {name: dict(memory.items(name)) for name in puts}, "del": {}})  # type: ignore[attr-defined]
            kept = flink.maps
            kept.begin(whole)
            kept.store(NO_TIMER)
        for section in puts:
            assert dict(flink.maps.items(section)) == dict(memory.items(section))
            for key in draw.sample(KEYS, 12):
                assert flink.maps.get(section, key) == memory.get(section, key)
