# SPDX-License-Identifier: Apache-2.0
"""Journals that were forked, gapped and repeated, and the laws of what they may ask for.

A case is two histories of one thread that part somewhere; the log holds the entries of both, in any order in which
each keeps its own, some of them twice in a row and some of them not at all. What of it is valid, and what is open in
the end, is found here by other means than the product's."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.threadlog.histories import LIMITS, MODES, MOVES, NUMBERS, History, play
from threadlog import gate
from threadlog.engine import apply
from threadlog.entry import Entry
from threadlog.following import Head
from threadlog.gate import Kept
from threadlog.state import State, new_state

Calls = list[tuple[str, int]]  # call id, number of the ask


@dataclass(frozen=True)
class Case:
    """`picks`: which of the two goes on, step by step. `twice`, `lost`: places in the log, modulo its length."""

    history: History
    mode: str
    other: History
    at: int
    picks: tuple[bool, ...]
    twice: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()

    def whole(self) -> list[Entry]:
        """The one history alone."""
        return play(self.history, self.mode).journal

    def others(self) -> list[Entry]:
        """What the other history has beside it."""
        one = self.whole()
        return [entry for entry in play([*self.history[: self.at], *self.other], self.mode).journal if entry not in one]

    def log(self) -> list[Entry]:
        """The entries as the log holds them."""
        one, two = self.whole(), self.others()
        first = max((entry.seq for entry in one if two and entry.seq < two[0].seq), default=len(one) if not two else 0)
        common, rest = one[:first], (one[first:], two)
        merged = list(common)
        for pick in (*self.picks, *(False,) * len(two), *(True,) * len(one)):
            side = rest[0] if pick else rest[1]
            merged += [side.pop(0)] if side else []
        size = len(merged) or 1
        lost, twice = {n % size for n in self.lost}, {n % size for n in self.twice}
        return [e for n, e in enumerate(merged) if n not in lost for _ in range(1 + (n in twice))]


def cases(count: int) -> list[Case]:
    """The same cases every time; every third has lost entries."""
    draw = random.Random(7)

    def moves(length: int) -> History:
        return [(draw.randrange(MOVES), draw.randrange(NUMBERS)) for _ in range(length)]

    def places(most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(1_000) for _ in range(draw.randrange(most + 1)))

    return [
        Case(
            moves(30), MODES[n % 3], moves(15), draw.randrange(30), tuple(draw.random() < 0.5 for _ in range(30)),
            places(4), places(2) if n % 3 == 0 else (),
        )
        for n in range(count)
    ]  # fmt: skip


def valid(log: list[Entry]) -> list[Entry]:
    """The entries that continue one another from the first on, in the order of the log."""
    found, seq, head = list[Entry](), 0, ""
    for entry in log:
        if (entry.seq, entry.prev) == (seq + 1, head):
            found.append(entry)
            seq, head = entry.seq, entry.hash
    return found


def asks(entry: Entry) -> Calls:
    """The effect calls that an entry asks for."""
    effects: list[dict[str, Any]] = json.loads(entry.effects)
    return [(e["call_id"], e["ask"]) for e in effects if e["do"] == "call" and e["effect"] != "read"]


def state_after(entries: list[Entry]) -> State:
    """The thread's state after valid entries."""
    state = new_state(entries[0].thread if entries else "t")
    for entry in entries:
        _, state = apply(state, entry, LIMITS)
    return state


def still_open(entries: list[Entry]) -> set[tuple[str, int]]:
    """The effect calls that are open after valid entries, each with its last ask."""
    calls = state_after(entries).small["calls"]
    return {(call_id, call["ask"]) for call_id, call in calls.items() if call["effect"] != "read"}


@dataclass
class Reader:
    """A gate's hand over one thread; what it keeps goes through bytes after every entry, as in Flink's state."""

    kept: Kept = field(default_factory=Kept)
    refused: int = 0

    def read(self, log: list[Entry], past: bool = False, is_cut: bool = False) -> Calls:
        """What is passed on of these entries."""
        passed: Calls = []
        for offset, entry in enumerate(log):
            taken = gate.take(self.kept, entry, "t", (0, offset, 0), past, is_cut)
            passed += self._passed(taken)
            self.refused += bool(taken.refused)
        return passed

    def release(self) -> Calls:
        """What was held."""
        return self._passed(gate.release(self.kept))

    def _passed(self, taken: gate.Taken) -> Calls:
        self.kept = msgspec.json.decode(msgspec.json.encode(taken.kept), type=Kept)
        return [(asked.ask.call_id, asked.ask.ask) for asked in taken.asks]


def asks_of_valid_entries_pass_once_in_order(case: Case) -> None:
    """No more and no less than what valid entries ask for, whatever else the log holds."""
    log = case.log()
    assert Reader().read(log) == [ask for entry in valid(log) for ask in asks(entry)]


def void_entries_are_refused(case: Case) -> None:
    """Each of them is told of once; a repeat of the last valid entry is none."""
    log, head, expected, reader = case.log(), "", 0, Reader()
    for entry in log:
        is_valid = entry in valid(log) and entry.prev == head
        expected += not is_valid and entry.hash != head
        head = entry.hash if is_valid else head
    reader.read(log)
    assert reader.refused == expected


def of_the_past_passes_what_is_open(case: Case) -> None:
    """A reader that begins with nothing repeats no call that has ended, and misses none that has not."""
    log, reader = case.log(), Reader()
    assert reader.read(log, past=True) == []
    passed = reader.release()
    assert len(passed) == len(set(passed)) and set(passed) == still_open(valid(log))
    order = [call_id for entry in valid(log) for call_id, _ in asks(entry)]
    assert [call_id for call_id, _ in passed] == sorted((c for c, _ in passed), key=order.index)
    assert reader.kept.held == {} and reader.release() == []


def past_ends_with_the_first_other_entry(case: Case) -> None:
    """What is open of the past goes before what that entry asks for; later ones pass as they come."""
    entries = case.whole()
    for at in range(len(entries)):
        reader = Reader()
        assert reader.read(entries[:at], past=True) == []
        first = reader.read(entries[at : at + 1])
        assert set(first) == still_open(entries[:at]) - closed_at(entries, at) | set(asks(entries[at]))
        assert first[len(first) - len(asks(entries[at])) :] == asks(entries[at]) or asked_again(entries[at])
        assert reader.read(entries[at + 1 :]) == [ask for entry in entries[at + 1 :] for ask in asks(entry)]


def closed_at(entries: list[Entry], at: int) -> set[tuple[str, int]]:
    """The calls that the entry at this place has closed or asked again."""
    return still_open(entries[:at]) - still_open(entries[: at + 1])


def asked_again(entry: Entry) -> bool:
    """Whether an entry asks for a call that is open already; that keeps its place before younger ones."""
    return any(number > 1 for _, number in asks(entry))


def cut_history_begins_at_a_snapshot(case: Case) -> None:
    """With what is open there; what comes before it asks for nothing."""
    entries = case.whole()
    for at in range(1, len(entries)):
        begins = next((n for n in range(at, len(entries)) if entries[n].snapshot), len(entries))
        reader = Reader()
        assert reader.read(entries[at:begins], is_cut=True) == []
        left = entries[at:begins]
        assert reader.kept == (Kept(Head(left[-1].seq, left[-1].hash), is_waiting=True) if left else Kept())
        passed = reader.read(entries[begins:], is_cut=True)
        if begins < len(entries):
            held = {call_id for call_id, _ in still_open(entries[:begins]) - closed_at(entries, begins)}
            later = [ask for entry in entries[begins:] for ask in asks(entry)]
            assert {call_id for call_id, _ in passed} == held | {call_id for call_id, _ in later}
            assert passed[len(passed) - len(later) :] == later or asked_again(entries[begins])


def fork_does_not_begin_a_cut_history(case: Case) -> None:
    """Whatever snapshots it has: what is left of the history before came first."""
    one, other = case.whole(), case.others()
    for at in range(1, len(one)):
        begins = next((n for n in range(at, len(one)) if one[n].snapshot), at)
        head = one[begins - 1].hash
        forked = [entry for entry in other if entry.snapshot and entry.prev != head]
        if begins > at:
            straight, reader = Reader(), Reader()
            log = [*one[at:begins], *forked, *one[begins:]]
            assert reader.read(log, is_cut=True) == straight.read(one[at:], is_cut=True)


def lost_beginning_asks_for_nothing(case: Case) -> None:
    """Where the log is whole and a thread's first entry is missing, all of the thread is a gap, snapshots or not."""
    assert Reader().read(case.whole()[1:]) == []


LAWS = [
    asks_of_valid_entries_pass_once_in_order, void_entries_are_refused, of_the_past_passes_what_is_open,
    past_ends_with_the_first_other_entry, cut_history_begins_at_a_snapshot, fork_does_not_begin_a_cut_history,
    lost_beginning_asks_for_nothing,
]  # fmt: skip
