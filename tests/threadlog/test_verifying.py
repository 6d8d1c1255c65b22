# SPDX-License-Identifier: Apache-2.0
"""A partition of the journal verified record by record, states written down and read again at any moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.errors import Unreadable
from tests.threadlog.desk import Desk, app_of, desk
from tests.threadlog.histories import MODES, MOVES, NUMBERS, History, play, some
from tests.threadlog.replays import divergences, story, then
from tests.threadlog.test_replay_planted import arguments
from tests.threadlog.test_upcasting import release
from threadlog import App
from threadlog.entry import Entry
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.replay import Divergence
from threadlog.verifying import CHARS_MAX, LINES_MAX, Checked, Finding, Read, Verifier, _divergence

moves = st.lists(st.tuples(st.integers(0, MOVES - 1), st.integers(0, NUMBERS - 1)), max_size=30)


class Stored(dict[str, str]):
    """States as they are written down; `written` says how often."""

    written = 0

    def put(self, thread: str, state: str) -> None:
        self[thread] = state
        self.written += 1


@dataclass
class Partition:
    """A partition that is read: `restart` goes on from what was written down, as after a crash.

    `low`: its first offset that retention has left; `first`: that of its first record, if it is above."""

    app: App
    limits: Limits = field(default_factory=Limits)
    kept_max: int = 100
    low: int = 0
    first: int = 0
    threads: Stored = field(default_factory=Stored)
    checked: Checked = field(default_factory=Checked)
    found: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checked.low = self.low
        self.verifier = Verifier(self.app, self.threads, self.checked, limits=self.limits, kept_max=self.kept_max)

    def take(self, entry: Entry | None, input: Input | None = None, key: str = "", error: Any = None) -> Finding | None:
        """Give it the next record."""
        offset = max(self.checked.last + 1, self.first, self.low)
        thread = key or (entry.thread if entry else "t")
        found = self.verifier.take(Read(offset, 1_000 + offset, thread, entry, input, error))
        self.found += [found] if found else []
        if self.verifier.is_full:
            self.verifier.store()
        return found

    def restart(self) -> None:
        """Write everything down, and begin anew from that."""
        self.verifier.store()
        self.__post_init__()


def pairs(thread: Desk) -> list[tuple[Entry, Input]]:
    return list(zip(thread.journal, thread.inputs, strict=True))


@settings(deadline=None, max_examples=60)
@given(history=moves, mode=st.sampled_from(MODES), restarts=st.booleans())
def test_verifier_finds_any_history_equal(history: History, mode: str, restarts: bool) -> None:
    """Also with a restart after each record: what is written down is the whole state, live executions are not."""
    thread = play(history, mode)
    partition = Partition(thread.app, thread.limits)
    for entry, input in pairs(thread):
        assert partition.take(entry, input) is None
        if restarts:
            partition.restart()
    count = len(thread.journal)
    assert (partition.checked.records, partition.checked.standings) == (count, {"equal": count} if count else {})
    assert partition.checked.threads == min(count, 1)


def test_verifier_keeps_few_threads_and_forgets_none() -> None:
    """A thread that made room for others is read again; all are equal, and each is counted once."""
    threads = [story(name=f"t-{n}") for n in range(7)]
    partition = Partition(threads[0].app, kept_max=3)
    for turn in zip(*map(pairs, threads), strict=True):
        for entry, input in turn:
            assert partition.take(entry, input) is None
    assert (partition.checked.threads, partition.checked.standings) == (7, {"equal": 28})
    assert set(partition.threads) == {thread.name for thread in threads}


def test_verifier_writes_a_state_down_once_for_many_decisions() -> None:
    """That is what makes it fast: to store costs what has changed, a decision nothing."""
    thread = story()
    partition = Partition(thread.app)
    for entry, input in pairs(thread):
        partition.take(entry, input)
    assert partition.threads.written == 0
    partition.verifier.store()
    partition.verifier.store()
    assert partition.threads.written == 1


def test_verifier_tells_of_a_divergence_once_and_counts_what_follows() -> None:
    """The same that a local replay finds, over restarts too: that a run went its own way is written down."""
    thread = story()
    wanted = divergences(thread, app_of(arguments))
    for restarts in (False, True):
        partition = Partition(app_of(arguments))
        for entry, input in pairs(thread):
            partition.take(entry, input)
            if restarts:
                partition.restart()
        assert [one.divergence for one in partition.found] == wanted
        assert [(one.what, one.seq, one.offset, one.reason) for one in partition.found] == [
            ("divergence", 3, 2, "arguments: pay")
        ]
        assert partition.checked.standings == {"equal": 2, "diverged": 1, "consequence": 1}


def test_verifier_leaves_out_what_is_void() -> None:
    """A changed entry, what follows it, a foreign key, no entry at all, the head again but changed; as it was it is
    harmless."""
    thread = story()
    one, two, three, four = pairs(thread)
    partition = Partition(thread.app)
    assert partition.take(*one) is None
    partition.take(replace(two[0], reason="because"), two[1])
    partition.take(*three)
    partition.take(*two, key="u")
    partition.take(None, error=Unreadable("magic", "the first byte is 63"))
    partition.take(replace(one[0], effects="[]"), one[1])
    assert partition.take(*one) is None
    assert [(found.what, found.seq, found.offset) for found in partition.found] == [
        ("void", 2, 1), ("void", 3, 2), ("void", 2, 3), ("void", 0, 4), ("void", 1, 5),
    ]  # fmt: skip
    reasons = [found.reason.partition(":")[0] for found in partition.found]
    assert reasons == ["wrong hash", "gap", "wrong key", "magic", "wrong hash"]
    assert partition.checked.standings == {"equal": 1, "void": 5, "repeat": 1}
    assert [partition.take(*pair) for pair in (two, three, four)] == [None] * 3


def test_verifier_counts_no_thread_of_which_nothing_is_valid() -> None:
    """Nor does what was void stand in the way of its first valid entry."""
    thread = story()
    partition = Partition(thread.app)
    partition.take(*pairs(thread)[1])
    assert (partition.checked.threads, partition.checked.standings) == (0, {"void": 1})
    for pair in pairs(thread):
        assert partition.take(*pair) is None
    assert partition.checked.threads == 1


def test_verifier_begins_at_a_snapshot_where_the_partition_is_cut() -> None:
    """What stands before it is lost, which is no fault."""
    thread = next(t for t in (play(h, m) for h, m in some(40)) if any(e.snapshot for e in t.journal[1:]))
    first = next(n for n, entry in enumerate(thread.journal) if entry.snapshot)
    count = len(thread.journal)
    cut = Partition(thread.app, thread.limits, low=7)
    for pair in pairs(thread)[1:]:
        assert cut.take(*pair) is None
    told = cut.checked
    assert (told.first, told.cut, told.lost, told.standings) == (7, 1, first - 1, {"equal": count - first})


def cut_and_forked() -> tuple[Desk, list[Entry]]:
    """What is left of a thread with a snapshot in its fifth entry, and its fourth and fifth of another history."""
    limits = Limits(snapshot_every_entries=5)
    one, other = (desk(then, name="t", limits=limits) for _ in range(2))
    for number in range(7):
        one.send(order=f"o-{number}")
        other.send(order=f"o-{number if number < 3 else 'x'}")
    assert [entry.seq for entry in one.journal if entry.snapshot] == [5]
    return one, other.journal[3:5]


@pytest.mark.parametrize("kept_max", [0, 100])
def test_verifier_follows_the_chain_before_a_snapshot(kept_max: int) -> None:
    """Over restarts too: a fork with a snapshot does not become the history, nor does what comes behind a gap."""
    one, [four, five] = cut_and_forked()
    of = one.journal
    for log, voids, standings in (
        ([*of[1:4], four, five, of[3], *of[4:]], {4: "fork", 5: "fork"}, {"void": 2, "repeat": 1, "unchecked": 3}),
        ([*of[1:3], *of[4:]], {5: "gap", 6: "gap", 7: "gap"}, {"void": 3}),
        (
            [of[1], replace(of[2], reason="x"), of[0], *of[2:]],
            {3: "wrong hash", 1: "fork"},
            {"void": 2, "unchecked": 3},
        ),
    ):
        partition = Partition(one.app, one.limits, kept_max, low=9)
        others = (story(name=f"u-{n}").journal[1] for n in range(9))
        for entry in log:
            partition.take(entry)
            partition.take(next(others))
            partition.restart()
        told = {found.seq: found.reason.partition(":")[0] for found in partition.found}
        lost = len(log) - sum(standings.values()) + len(log)
        assert (told, partition.checked.standings, partition.checked.lost) == (voids, standings, lost)


def test_verifier_keeps_few_threads_that_wait_for_a_snapshot() -> None:
    """A snapshot that is none ends no waiting."""
    partition = Partition(app_of(then), kept_max=3, low=9)
    for number in range(7):
        entry = story(name=f"t-{number}").journal[1]
        partition.take(replace(entry, snapshot="{}").sealed() if number % 2 else entry)
        assert not partition.verifier.is_full
    assert (partition.checked.lost, len(partition.threads) >= 4) == (7, True)


@pytest.mark.parametrize("first", [0, 7])
def test_verifier_begins_at_no_snapshot_where_the_partition_is_whole(first: int) -> None:
    """A thread that lacks its first entry is a gap to its end, also where what lies before it was aborted."""
    thread = next(t for t in (play(h, m) for h, m in some(40)) if any(e.snapshot for e in t.journal[1:]))
    whole = Partition(thread.app, thread.limits, first=first)
    for pair in pairs(thread)[1:]:
        whole.take(*pair)
    told, count = whole.checked, len(thread.journal) - 1
    assert (told.first, told.cut, told.lost, told.threads, told.standings) == (first, 0, 0, 0, {"void": count})
    assert [found.reason for found in whole.found] == [
        f"gap: seq {entry.seq} comes after seq 0" for entry in thread.journal[1:]
    ]


def test_verifier_counts_what_other_limits_decided() -> None:
    """By their digest, over restarts."""
    thread = story()
    partition = Partition(thread.app, Limits(chain_runs_max=7))
    for pair in pairs(thread):
        partition.take(*pair)
        partition.restart()
    partition.take(*pair)  # once more: that is no decision
    assert partition.checked.other_limits == {Limits().digest: 4}


def test_verifier_counts_what_older_states_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are equal but for their patches; over restarts, and each once. What the newer code has decided is not."""
    thread = story()
    older = pairs(thread)
    release(monkeypatch)
    thread.send(order="p")
    partition = Partition(thread.app)
    for pair in (*older, older[-1], pairs(thread)[-1]):
        partition.take(*pair)
        partition.restart()
    told = partition.checked
    assert (told.standings, told.older_states) == ({"equal": 5, "repeat": 1}, 4)


def test_verifier_tells_of_an_input_that_cannot_be_read() -> None:
    """The entry counts all the same."""
    thread = story()
    partition = Partition(thread.app)
    found = partition.take(thread.journal[0], error=Unreadable("unknown_schema", "no schema has id 9"))
    assert found is not None and found.divergence is not None
    assert (found.reason, found.divergence.note) == ("input: unknown_schema", "unknown_schema: no schema has id 9")
    assert partition.take(*pairs(thread)[1]) is None


def test_finding_fits_a_record_whatever_differs() -> None:
    """Of a thousand long effects some are shown, those around the first that differs; a finding must not stop a job."""
    found: Divergence = divergences(story(), app_of(arguments))[0]
    of = found.differences
    lines = [*(f"{n} " + "x" * 2 * CHARS_MAX for n in range(1_000))]
    long = replace(found, differences=replace(of, recorded=lines, now=lines, at=500, fields=of.fields * 9))
    shown = _divergence(Read(1, 2, "t"), long).divergence
    assert shown is not None
    kept = [int(line.partition(" ")[0]) for line in shown.differences.recorded]
    assert (len(kept), 500 in kept, {len(line) for line in shown.differences.now}) == (LINES_MAX, True, {CHARS_MAX})


def test_verifier_counts_every_record() -> None:
    """Whatever it is: standings and what was lost add up to the records."""
    thread = story()
    partition = Partition(thread.app, low=5)
    for pair in (pairs(thread)[1], *pairs(thread), pairs(thread)[3], pairs(thread)[0]):
        partition.take(*pair)
    told = partition.checked
    assert told.records == told.last - told.first + 1 == sum(Counter(told.standings).values()) + told.lost == 7
