# SPDX-License-Identifier: Apache-2.0
"""The engine's maps: in memory and over Flink's keyed state, under one contract."""

from __future__ import annotations

from typing import Any

import pytest

from tests.threadlog.desk import Desk, desk, refund
from tests.udfs.fakes import FakeMap
from threadlog import upcasting
from threadlog.engine import follow, step
from threadlog.limits import Limits
from threadlog.state import MAPS, MemoryMaps, Patch, State, dump, new_small
from threadlog.upcasting import Whole
from udfs.pages import Paged
from udfs.thread_state import NEAR_CHARS_MAX, NO_TIMER, Kept, ThreadState


class FakeValue:
    """Flink's ValueState of one key."""

    def __init__(self) -> None:
        self.stored: str | None = None

    def value(self) -> str | None:
        return self.stored

    def update(self, value: str) -> None:
        assert isinstance(value, str)
        self.stored = value


class InMemory:
    def __init__(self) -> None:
        self.maps = MemoryMaps()

    def write(self, patch: Patch) -> None:
        self.maps.write(patch)


class InFlink:
    """Read anew for each look, as after a restart. `filler` characters of another section push everything far."""

    def __init__(self, filler: int = 0, kept_max: int = 0) -> None:
        self.state, self.filler = ThreadState(FakeValue(), FakeMap(), kept_max), filler

    @property
    def maps(self) -> Kept:
        return self.state.load("t")

    def write(self, patch: Patch) -> None:
        kept = self.maps
        kept.follow(kept.small, patch)
        kept.follow(kept.small, {"put": {"doubts": {"filler": "x" * self.filler}}, "del": {}})
        kept.store(NO_TIMER)


def far() -> InFlink:
    """Values that do not fit near: each section goes into the map, and is read from there."""
    return InFlink(filler=NEAR_CHARS_MAX)


def kept() -> InFlink:
    """Threads that stay decoded in memory."""
    return InFlink(kept_max=1)


def kept_far() -> InFlink:
    """Both."""
    return InFlink(filler=NEAR_CHARS_MAX, kept_max=1)


@pytest.fixture(params=[InMemory, InFlink, far, kept, kept_far])
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


def test_maps_give_back_several_in_the_order_asked_for(store: Any) -> None:
    """Whether they lie in one page or in another, before the first, near, by their keys or nowhere."""
    for number in range(5, 80):
        large = "x" * 600 * (number == 40)
        store.write({"put": {"history": {str(number): {"text": f"{number}{large}"}}}, "del": {}})
    store.write({"put": {"history": {"3": {"text": "3"}, "by name": {"text": "by name"}}}, "del": {"history": ["50"]}})
    keys = ["79", "5", "40", "by name", "50", "31", "3", "4", "32", "079", "absent", "6"]
    found = store.maps.several("history", keys)
    assert [item and item["text"][:2] for item in found] == [
        "79", "5", "40", "by", None, "31", "3", None, "32", None, None, "6"
    ]  # fmt: skip
    assert found == [store.maps.get("history", key) for key in keys]


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
    """The small sections survive Flink's state, whatever is in them, and so does the time of the timer."""
    state = ThreadState(FakeValue(), FakeMap())
    small = new_small("t-1")
    small["vars"]["mood"] = "fine 😀"
    kept = state.load("t-1")
    kept.follow(small, {"put": {}, "del": {}})
    kept.store(1_700)
    assert [state.load("t-1").small, state.load("t-1").timer_ms] == [small, 1_700]


def test_thread_state_touches_no_map_while_little_is_kept() -> None:
    """A short conversation lies in one value: each access to the map crosses into RocksDB."""
    store = InFlink()
    store.write({"put": {"steps": {"event": {"text": "hi"}}, "seen": {"x": 1}}, "del": {}})
    store.state._maps = None  # type: ignore[assignment]
    assert [store.maps.get("steps", "event"), store.maps.get("seen", "y")] == [{"text": "hi"}, None]


def test_thread_state_stays_small_however_much_is_kept() -> None:
    """What is read and written on every turn does not grow with the conversation, and nothing of it is lost."""
    store = InFlink()
    for number in range(300):
        store.write({"put": {"history": {str(number): "w" * 200}, "steps": {"event": number}}, "del": {}})
        assert len(store.state._value.value() or "") < 2 * NEAR_CHARS_MAX
    assert [store.maps.get("history", str(n)) for n in (0, 150, 299)] == ["w" * 200] * 3
    assert len(list(store.maps.items("history"))) == 300


def test_thread_state_sends_far_what_is_seldom_read() -> None:
    """The open run's steps are read on every turn; they stay near while history makes room."""
    store = InFlink()
    store.write({"put": {"steps": {"event": "e" * 3_000}, "history": {"0": "h" * 2_000}}, "del": {}})
    assert store.maps.thread.far == [Paged("history", 0), "history"]  # large: by its key


def test_thread_state_shows_the_newest_of_what_lies_far_and_near() -> None:
    """A value that was written again hides the older one in the map, and a deletion removes both."""
    store = far()
    store.write({"put": {"history": {"0": "old" * 500}}, "del": {}})
    store.filler = 0
    store.write({"put": {"history": {"0": "new"}}, "del": {}})
    assert [store.maps.get("history", "0"), list(store.maps.items("history"))] == ["new", [("0", "new")]]
    store.write({"put": {}, "del": {"history": ["0"]}})
    assert [store.maps.get("history", "0"), list(store.maps.items("history"))] == [None, []]


@pytest.mark.parametrize("kept_max", [0, 1])
def test_thread_state_forgets_a_turn_that_did_not_end(kept_max: int) -> None:
    """What was decided and not written down is gone: whoever looks next sees the thread as it is stored."""
    store = InFlink(kept_max=kept_max)
    store.write({"put": {"steps": {"event": "stored"}}, "del": {}})
    turn = store.maps
    turn.follow(new_small("t") | {"vars": {"half": 1}}, {"put": {"steps": {"event": "half"}}, "del": {}})
    assert [store.maps.get("steps", "event"), store.maps.small["vars"]] == ["stored", {}]


def test_thread_state_keeps_the_threads_of_late() -> None:
    """A kept thread is not read again; the one whose turn is longest ago makes room."""

    class Counting(FakeValue):
        reads = 0

        def value(self) -> str | None:
            self.reads += 1
            return super().value()

    value = Counting()
    state = ThreadState(value, FakeMap(), kept_max=2)
    for thread in ("a", "b", "a", "c", "a", "b"):
        state.load(thread).store(NO_TIMER)
    assert value.reads == 4  # a, b and c once; b again after c took its place


def test_thread_state_begins_anew_from_a_whole_state() -> None:
    """Nothing of what was there shines through, near or far, also when sections go far again."""
    store, long = InFlink(), "x" * NEAR_CHARS_MAX
    store.write({"put": {"history": {"old": long, "both": 2}, "seen": {"old": long}}, "del": {}})
    assert set(store.maps.thread.far) == {"history", "seen"}
    whole = State(new_small("t"), MemoryMaps())
    whole.small["vars"]["x"] = 1
    whole.maps.sections["history"]["both"] = 4  # type: ignore[attr-defined]
    begun = store.maps
    assert len(list(begun.items("history"))) == 2
    begun.begin(whole)
    assert list(begun.items("history")) == [("both", 4)]
    begun.store(NO_TIMER)
    store.write({"put": {"history": {"new": long}, "seen": {"new": long}}, "del": {}})
    assert store.maps.small == whole.small
    assert list(store.maps.items("history")) == [("both", 4), ("new", long)]
    assert list(store.maps.items("seen")) == [("new", long)]
    assert [store.maps.get(section, "old") for section in ("history", "seen")] == [None, None]


@pytest.mark.parametrize("store", [InFlink, far, kept, kept_far])
def test_thread_state_of_an_older_version_is_written_whole(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision that upcasts a thread says all that is in its maps then; what lay far is replaced or removed."""

    def second(whole: Whole) -> Whole:
        return {
            **whole,
            "orphan_values": {key: f"{value}!" for key, value in whole["orphan_values"].items() if key != "1"},
        }

    def story(thread: Desk) -> Desk:
        thread.send(order="o")
        thread.answer({"total": 5})
        return thread

    flink, thread = store(), story(desk(refund))
    flink.write({"put": {"orphan_values": {"0": "a", "1": "b"}}, "del": {}})
    thread.state.maps.write({"put": {"orphan_values": {"0": "a", "1": "b"}}, "del": {}})  # type: ignore[attr-defined]
    kept = flink.maps
    whole = dump(thread.state)
    kept.follow(thread.state.small, {"put": {name: whole[name] for name in MAPS}, "del": {}})
    kept.store(NO_TIMER)
    monkeypatch.setattr(upcasting, "UPCASTERS", (second,))
    kept = flink.maps
    before = kept.small
    decision = step(State(kept.small, kept), thread.result(thread.calls()[0], "r"), thread.app, Limits())
    assert decision is not None and kept.small == before
    kept.follow(decision.state, decision.maps)
    kept.store(NO_TIMER)
    thread.state = follow(thread.state, decision)
    expected = dump(thread.state)
    loaded = flink.maps
    found = {**loaded.small, **{name: dict(loaded.items(name)) for name in MAPS}}
    assert found == expected
    assert "1" not in found["orphan_values"] and found["orphan_values"]["0"] == "a!" and found["core"]["v"] == 2
