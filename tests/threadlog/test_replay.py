# SPDX-License-Identifier: Apache-2.0
"""The journal decided again: equal to the bit where nothing changed, and every planted change named where it is."""

from __future__ import annotations

from dataclasses import replace as changed
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.errors import Unreadable
from tests.threadlog.desk import Desk, app_of, desk
from tests.threadlog.histories import LIMITS, MODES, MOVES, NUMBERS, History, play, some
from tests.threadlog.replays import divergences, story, then
from threadlog.entry import Entry
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.replay import Replay, input_of
from threadlog.snapshots import state_before
from threadlog.state import dump

moves = st.lists(st.tuples(st.integers(0, MOVES - 1), st.integers(0, NUMBERS - 1)), max_size=30)


def replayed(thread: Desk, live_runs: int, first: int = 0) -> Replay:
    """A replay of the desk's journal from an entry on, all of it equal."""
    replay = Replay(thread.app, thread.limits, LiveRuns(live_runs))
    pairs = list(zip(thread.journal, thread.inputs, strict=True))[first:]
    assert [replay.check(entry, input).standing for entry, input in pairs] == ["equal"] * len(pairs)
    return replay


@settings(deadline=None, max_examples=60)
@given(history=moves, mode=st.sampled_from(MODES))
def test_replay_of_any_history_is_equal_to_the_bit(history: History, mode: str) -> None:
    """With executions kept, with few, with none: each decision is made again as it was, and so is the state."""
    thread = play(history, mode)
    for live_runs in (0, 1, 100):
        replay = replayed(thread, live_runs)
        if thread.journal:
            assert dump(replay.states["t"]) == dump(thread.state)


@settings(deadline=None, max_examples=40)
@given(history=moves, mode=st.sampled_from(MODES))
def test_replay_begins_at_any_snapshot(history: History, mode: str) -> None:
    """Where the history before is cut, the rest is equal all the same."""
    thread = play(history, mode)
    for place, entry in enumerate(thread.journal):
        if entry.snapshot is not None:
            replay = replayed(thread, 0, place)
            assert dump(replay.states["t"]) == dump(thread.state)
            assert replay.cut == {"t": place + 1}


def test_replay_histories_have_snapshots_and_versions() -> None:
    """The laws above are put to the test: there are snapshots to begin at, and runs of more than one version."""
    journals = [play(history, mode).journal for history, mode in some(40)]
    assert sum(entry.snapshot is not None for journal in journals for entry in journal) > 20
    assert {entry.version for journal in journals for entry in journal} >= {1, 2, 3}


def test_replay_refuses_a_snapshot_that_was_changed() -> None:
    """Its digest and the entry's `prev` vouch for it; without them the entry continues nothing."""
    threads = [play(history, mode) for history, mode in some(40)]
    thread = next(thread for thread in threads if any(entry.snapshot for entry in thread.journal))
    entry = next(entry for entry in thread.journal if entry.snapshot)
    assert state_before(entry) is not None
    other = entry.snapshot.replace('"now":1', '"now":2') if entry.snapshot else ""
    for broken in (replace(entry, snapshot=other), replace(entry, prev="0" * 64), replace(entry, snapshot="{}")):
        assert state_before(broken) is None
        assert Replay(thread.app, LIMITS).follow(broken) == "void"


def test_replay_tells_of_other_limits_and_compares_all_the_same() -> None:
    """Their digest is in every entry; it alone makes no decision another one."""
    thread = story()
    replay = Replay(thread.app, Limits(chain_runs_max=7))
    standings = [replay.check(e, i).standing for e, i in zip(thread.journal, thread.inputs, strict=True)]
    assert (standings, replay.other_limits) == (["equal"] * 4, {Limits().digest: 4})


@pytest.mark.parametrize(("then_every", "now_every"), [(2, 3), (500, 2), (2, 500)])
def test_replay_takes_no_snapshot_of_other_limits_for_a_difference(then_every: int, now_every: int) -> None:
    """When there is one follows from the limits; a decision is none. What is in one is compared all the same."""
    made = desk(then, limits=Limits(snapshot_every_entries=then_every))
    for n in range(4):
        made.send(order=str(n))
        while made.calls():
            made.answer({"total": n})
    pairs = list(zip(made.journal, made.inputs, strict=True))
    replay = Replay(made.app, Limits(snapshot_every_entries=now_every))
    assert {replay.check(*pair).standing for pair in pairs} == {"equal"}
    assert dump(replay.states["t"]) == dump(made.state)


def test_replay_compares_a_snapshot_that_both_limits_make() -> None:
    """A false one is told of."""
    made = desk(then, limits=Limits(snapshot_every_entries=2))
    made.send(order="o")
    made.answer({"total": 1})
    false = replace(made.journal[1], snapshot="{}").sealed()
    replay = Replay(made.app, Limits(snapshot_every_entries=2, chain_runs_max=7))
    replay.check(made.journal[0], made.inputs[0])
    [found] = [replay.check(false, made.inputs[1]).divergence]
    assert found is not None and found.differences.kind == "snapshot"


def test_replay_does_not_take_another_digest_of_the_code_for_a_difference() -> None:
    """New code that decides the same is equal, hash included."""
    thread = desk(then)
    thread.app.digest = "a" * 64
    thread.send(order="o")
    other = app_of(then)
    other.digest = "b" * 64
    assert divergences(thread, other) == []
    assert other.digest == "b" * 64


def flipped(entry: Entry) -> list[Entry]:
    return [
        replace(entry, effects=entry.effects.replace("pay", "PAY")),
        replace(entry, reason="because"),
        replace(entry, hash="0" * 64),
        replace(entry, seq=7),
        replace(entry, prev="0" * 64),
        replace(entry, state_hash="0" * 64),
        replace(entry, input=replace(entry.input, offset=9)),
    ]


def test_replay_leaves_out_what_does_not_continue_the_chain() -> None:
    """A changed entry is void, the one after the next a gap, the head again a repeat; none is a divergence."""
    thread = story()
    pairs = list(zip(thread.journal, thread.inputs, strict=True))
    for broken in flipped(thread.journal[2]):
        replay = Replay(thread.app)
        stand = [replay.check(*pairs[0]), replay.check(*pairs[1]), replay.check(*pairs[1])]
        stand += [replay.check(broken, pairs[2][1]), replay.check(*pairs[3]), replay.check(*pairs[2])]
        assert [one.standing for one in stand] == ["equal", "equal", "repeat", "void", "void", "equal"]


def test_replay_asks_no_tool() -> None:
    """The tools of the desk fail when they are run; a replay of their calls is equal."""
    thread = story()
    for name, args in (("look", {"what": "x"}), ("pay", {"amount": 1})):
        running: Any = thread.app.tools[name].invoke(Any, args)  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="must not run tools"):
            running.send(None)
    assert divergences(thread, thread.app) == []


def test_replay_follows_an_input_that_the_journal_holds_by_reference() -> None:
    """It cannot be decided again, and says so; what comes after it can."""
    thread = story()
    thread.limits = changed(thread.limits, event_bytes=10)
    thread.take(
        replace(thread.input("event", "agent-events", source="/s", id="big", type="t.Go", data={}), value=b"v" * 11)
    )
    thread.send(order="o", id="next")
    replay = Replay(thread.app, thread.limits)
    pairs = zip(thread.journal, [*thread.inputs[:4], None, thread.inputs[5]], strict=True)
    assert [replay.check(entry, input).standing for entry, input in pairs][3:] == ["equal", "unchecked", "equal"]


def test_input_of_an_entry_is_the_input_that_was_decided() -> None:
    """Read from its bytes; a type that they no longer stand for is unreadable, and no bytes are no input."""
    thread = desk(then)
    came = thread.input("event", "agent-events", source="/s", id="e", type="t.Go", data={"order": "o"}, schema_id=3)
    thread.take(replace(came, value=b"bytes"))
    [entry] = thread.journal
    assert input_of(entry, lambda value: ("t.Go", 3, {"order": "o"})) == thread.inputs[0]
    with pytest.raises(Unreadable, match=r"holds a 't\.Go', its bytes are now read as a 't\.Other'"):
        input_of(entry, lambda value: ("t.Other", 3, {}))
    by_reference = replace(entry, input=replace(entry.input, value=b""))
    assert input_of(by_reference, lambda value: ("t.Go", 3, {})) is None
