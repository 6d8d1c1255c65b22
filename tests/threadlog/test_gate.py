# SPDX-License-Identifier: Apache-2.0
"""The gate over journals with forks, gaps, repeats and cut beginnings; each law is shown to catch a planted bug."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.codec import our_schema
from tests.threadlog import gates
from tests.threadlog.desk import desk, look, pay
from tests.threadlog.gates import LAWS, Case, asks, cases
from tests.threadlog.histories import LIMITS, MODES, MOVES, NUMBERS
from threadlog import Event, Thread, gate, gather
from threadlog.canonical import digest, text
from threadlog.entry import Entry
from threadlog.following import Head
from threadlog.gate import Ask, Asked, Kept, Taken, release, take

moves = st.lists(st.tuples(st.integers(0, MOVES - 1), st.integers(0, NUMBERS - 1)), max_size=25)
places = st.lists(st.integers(0, 999), max_size=3).map(tuple)
drawn = st.builds(
    Case, moves, st.sampled_from(MODES), moves, st.integers(0, 25), st.lists(st.booleans(), max_size=25).map(tuple),
    places, places,
)  # fmt: skip
HERE = (0, 0, 0)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@settings(deadline=None, max_examples=40)
@given(case=drawn)
def test_gate_law(law: Any, case: Case) -> None:
    """It holds for whatever hypothesis comes up with."""
    law(case)


def test_gate_laws_are_tried_on_what_matters() -> None:
    """There are forks whose void entries ask for calls of their own, gaps, snapshots, and calls open in the end."""
    own, gaps, opens, snapshots = 0, 0, 0, 0
    for case in cases(12):
        log = case.log()
        good = gates.valid(log)
        asked = {ask for entry in good for ask in asks(entry)}
        own += bool({ask for entry in log for ask in asks(entry)} - asked)
        gaps += bool(good) and good[-1].seq + 1 < max(entry.seq for entry in log)
        opens += bool(gates.still_open(good))
        snapshots += any(entry.snapshot for entry in case.whole()[1:])
    assert min(own, gaps, opens, snapshots) >= 5


def applies_all(entry: Entry, thread: str, head: Head) -> tuple[str, str]:
    return "applied", ""


def forgets_gaps(entry: Entry, thread: str, head: Head) -> tuple[str, str]:
    return ("applied", "") if entry.seq > head.seq else ("void", "fork")


def passes_repeats(entry: Entry, thread: str, head: Head) -> tuple[str, str]:
    return ("applied", "") if entry.hash == head.hash else judge(entry, thread, head)


def forgets_what_is_held(kept: Kept) -> Taken:
    return Taken(Kept(kept.head))


def releases_twice(kept: Kept) -> Taken:
    return Taken(kept, list(kept.held.values()))


def begins_with_nothing_open(entry: Entry, place: Any) -> Kept:
    return Kept(Head(entry.seq - 1, entry.prev)) if entry.snapshot else Kept()


def begins_anywhere(entry: Entry, place: Any) -> Kept:
    return Kept(Head(entry.seq - 1, entry.prev))


def closes_nothing(held: dict[str, Asked], entry: Entry) -> dict[str, Asked]:
    return held


def cuts_always(*given: Any, **named: Any) -> Taken:
    return take(*given[:5], is_cut=True)


def forgets_what_waits(kept: Kept, *given: Any) -> Taken:
    return take(Kept() if kept.is_waiting else kept, *given)


judge = gate.judge
PLANTED: dict[str, tuple[str, Any, Callable[[Case], None]]] = {
    "void entries pass": ("judge", applies_all, gates.asks_of_valid_entries_pass_once_in_order),
    "gaps pass": ("judge", forgets_gaps, gates.asks_of_valid_entries_pass_once_in_order),
    "repeats pass": ("judge", passes_repeats, gates.asks_of_valid_entries_pass_once_in_order),
    "void entries go untold": ("judge", applies_all, gates.void_entries_are_refused),
    "what is held is lost": ("release", forgets_what_is_held, gates.of_the_past_passes_what_is_open),
    "what is held is passed twice": ("release", releases_twice, gates.of_the_past_passes_what_is_open),
    "ended calls are repeated": ("_without_closed", closes_nothing, gates.of_the_past_passes_what_is_open),
    "ended calls go before the first": ("_without_closed", closes_nothing, gates.past_ends_with_the_first_other_entry),
    "a snapshot's calls are lost": ("_at_a_snapshot", begins_with_nothing_open, gates.cut_history_begins_at_a_snapshot),
    "begins anywhere": ("_at_a_snapshot", begins_anywhere, gates.cut_history_begins_at_a_snapshot),
    "a fork begins": ("take", forgets_what_waits, gates.fork_does_not_begin_a_cut_history),
    "a gap begins": ("take", cuts_always, gates.lost_beginning_asks_for_nothing),
}


@pytest.mark.parametrize("name", PLANTED)
def test_gate_law_catches_what_is_planted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The law holds for twelve cases, and fails for one of them with the bug."""
    attribute, bug, law = PLANTED[name]
    for case in cases(12):
        law(case)
    monkeypatch.setattr(gate, attribute, bug)
    with pytest.raises(AssertionError):
        for case in cases(12):
            law(case)


def test_ask_has_the_fields_of_its_schema() -> None:
    """And its trace, which travels in a header."""
    schema = [field["name"] for field in json.loads(our_schema("threadlog.ToolCall"))["fields"]]
    assert [*schema, "traceparent"] == list(Ask.__struct_fields__)


async def handler(thread: Thread, event: Event) -> None:
    await look("x")
    await pay(1)


def paying() -> tuple[Entry, Entry]:
    """An entry that asks for a read, and one that asks for an effect."""
    thread = desk(handler, limits=LIMITS)
    thread.send()
    thread.answer()
    first, second = thread.journal
    return first, second


def test_gate_passes_the_ask_as_it_was_made() -> None:
    """Every field; reads leave on their own lane and never from here."""
    first, second = paying()
    kept = take(Kept(), first, "t", HERE).kept
    taken = take(kept, second, "t", (3, 4, 5))
    [made] = [e for e in json.loads(second.effects) if e["do"] == "call"]
    assert [(msgspec.to_builtins(a.ask), a.time_ms, a.place) for a in taken.asks] == [
        ({name: value for name, value in made.items() if name != "do"}, second.time_ms, (3, 4, 5))
    ]
    assert (take(Kept(), first, "t", HERE).asks, taken.refused) == ([], "")


def test_gate_says_why_it_refuses() -> None:
    """In the words of the reader's rule."""
    first, second = paying()
    assert take(Kept(), second, "t", HERE).refused == "gap: seq 2 comes after seq 0; 1 of its effect calls do not run"
    wrong = "wrong key: the entry is of thread t"  # it asks for nothing
    assert take(Kept(), first, "u", HERE) == Taken(Kept(), refused=wrong)


EFFECTS = {
    "no JSON": lambda text: "nonsense",
    "no list": lambda text: "{}",
    "a list of others": lambda text: "[1]",
    "deep": lambda text: "[" * 100_000,
    "no call id": lambda text: text.replace('"call_id"', '"call"'),
    "a number that is none": lambda text: text.replace('"ask":1', '"ask":"1"'),
    "a number too large": lambda text: text.replace('"ask":1', '"ask":99999999999'),
    "another thread": lambda text: text.replace('"thread":"t"', '"thread":"u"'),
    "no UTF-8": lambda text: text.replace('"pay"', '"\\ud800"'),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_gate_refuses_asks_that_are_none(name: str) -> None:
    """The right hash over garbage: nothing is passed on or raised, the thread goes on behind it."""
    first, second = paying()
    broken = replace(second, effects=EFFECTS[name](second.effects)).sealed()
    assert broken != second
    taken = take(take(Kept(), first, "t", HERE).kept, broken, "t", HERE)
    assert taken == Taken(Kept(Head(2, broken.hash)), [], "wrong effects: what seq 2 asks for cannot be read")


@pytest.mark.parametrize("time_ms", [-1, 10**15])
def test_gate_refuses_asks_at_no_time(time_ms: int) -> None:
    """No header can say it."""
    first, second = paying()
    taken = take(take(Kept(), first, "t", HERE).kept, replace(second, time_ms=time_ms).sealed(), "t", HERE)
    assert (taken.asks, taken.refused[:13]) == ([], "wrong effects")


def test_gate_holds_on_over_a_patch_that_is_none() -> None:
    """What a garbled patch closes cannot be known; what is held stays."""
    first, second = paying()
    kept = take(take(Kept(), first, "t", HERE).kept, second, "t", HERE, past=True).kept
    third = replace(second, seq=3, prev=second.hash, effects="[]", patch="nonsense").sealed()
    assert len(take(kept, third, "t", HERE).asks) == 1


async def many(thread: Thread, event: Event) -> None:
    await gather(*[pay(n) for n in range(5)])


def test_gate_begins_at_a_snapshot_with_open_calls_in_order() -> None:
    """As they were asked, not by their ids."""
    thread = desk(many, limits=LIMITS)
    for _ in range(4):
        thread.send()
    assert thread.journal[3].snapshot
    taken = take(Kept(), thread.journal[3], "t", HERE, is_cut=True)
    assert [(asked.ask.call_id, asked.ask.ask) for asked in taken.asks] == asks(thread.journal[0])


def test_gate_refuses_what_lies_before_a_snapshot() -> None:
    """As ever: the snapshot says what of it is still open. It is known what that has to continue."""
    first, second = paying()
    taken = take(Kept(), second, "t", HERE, is_cut=True)
    assert taken.refused == "gap: seq 2 comes after seq 0; 1 of its effect calls do not run"
    assert taken.kept == release(taken.kept).kept == Kept(Head(2, second.hash), is_waiting=True)
    assert take(taken.kept, second, "t", HERE, is_cut=True) == Taken(taken.kept)
    told = "fork: seq 1 was told before"  # what comes late is void, whether the thread has begun or not
    assert take(taken.kept, first, "t", HERE, is_cut=True) == Taken(taken.kept, refused=told)


def test_gate_says_nothing_of_what_lies_before_a_snapshot_and_asks_for_nothing() -> None:
    """It is no void entry: it stands, and the snapshot will say what of it is open."""
    _, second = paying()
    third = replace(second, seq=3, prev=second.hash, effects="[]").sealed()
    taken = take(Kept(), third, "t", HERE, is_cut=True)
    assert taken == Taken(Kept(Head(3, third.hash), is_waiting=True))


def test_gate_reads_what_was_kept_before_threads_waited() -> None:
    """A savepoint of then says no more than the head and what is held."""
    assert msgspec.json.decode(b'[[3,"abc"],{}]', type=Kept) == Kept(Head(3, "abc"))


@pytest.mark.parametrize("calls", [None, [], {"x": {}}, {"x": {"effect": "keyed"}}])
def test_gate_does_not_begin_at_a_snapshot_that_is_none(calls: Any) -> None:
    """Its digest is right and its calls cannot be read: then the thread has not begun."""
    _, second = paying()
    state = {"core": {"thread": "t", "seq": 1, "head": second.prev}, "asks": calls, "seen": "", "window": {}}
    snapshot = gate_snapshot(state)
    assert take(Kept(), replace(second, snapshot=snapshot).sealed(), "t", HERE, is_cut=True).asks == []
    good = gate_snapshot({**state, "asks": {}})
    assert len(take(Kept(), replace(second, snapshot=good).sealed(), "t", HERE, is_cut=True).asks) == 1


def gate_snapshot(state: dict[str, Any]) -> str:
    return text({"state": state, "hash": digest(state)})
