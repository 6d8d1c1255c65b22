# SPDX-License-Identifier: Apache-2.0
"""Calls closed in doubt: a thread remembers the newest of them, and what it forgot cannot be mistaken for anything."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tests.threadlog.desk import Desk, desk, pay
from threadlog import CallError, Event, InDoubt, Thread
from threadlog.limits import Limits
from threadlog.replay import Replay
from threadlog.state import dump


async def paying(thread: Thread, event: Event) -> None:
    with contextlib.suppress(InDoubt):
        await pay(event["n"])


def doubtful(runs: int, **limits: int) -> tuple[Desk, list[dict[str, Any]]]:
    """A thread in which every call ended in doubt, and the calls as they were asked."""
    thread, asked = desk(paying, limits=Limits(**limits)), []
    for n in range(runs):
        thread.send(n=n)
        asked += thread.calls()
        thread.answer(status="in_doubt")
    return thread, asked


def doubts(thread: Desk) -> list[str]:
    return [call_id for call_id, _ in thread.state.maps.items("doubts")]


def test_doubts_are_bounded_and_the_newest_are_kept() -> None:
    """Each entry with a snapshot forgets what is too much, so there are never more than those and one period's."""
    thread, asked = doubtful(0, snapshot_every_entries=6, doubts_max=2)
    for n in range(24):
        thread.send(n=n)
        asked += thread.calls()
        thread.answer(status="in_doubt")
        assert len(doubts(thread)) <= 2 + 6 // 2
    kept = doubts(thread)
    assert set(kept) == {call["call_id"] for call in asked[-len(kept) :]}
    assert dump(thread.rebuilt()) == dump(thread.state)


def test_doubts_that_are_few_stay_for_ever() -> None:
    """However many snapshots the thread has."""
    thread, asked = doubtful(20, snapshot_every_entries=2, doubts_max=20)
    assert sorted(doubts(thread)) == sorted(call["call_id"] for call in asked)


def test_doubt_that_is_forgotten_stays_closed() -> None:
    """A success that comes then is a dead letter, told in the journal; nothing is asked again. One that is not
    forgotten is news."""
    thread, asked = doubtful(10, snapshot_every_entries=2, doubts_max=3)
    calls = len(thread.effects("call"))
    letter = thread.take(thread.result(asked[0], 1))
    assert (letter.entry.verdict, letter.entry.patch, letter.effects[0]["do"]) == (
        "late", '{"del":{},"put":{}}', "dead_letter",
    )  # fmt: skip
    assert thread.take(thread.result(asked[-1], 1)).entry.verdict == "late_success"
    assert len(thread.effects("call")) == calls


def test_refusal_forgets_no_doubt() -> None:
    """An entry that moves nothing moves nothing, a snapshot in it or not."""
    thread, _ = doubtful(3, snapshot_every_entries=7, doubts_max=1)
    before = doubts(thread)
    refused = thread.send("t.Nobodys")
    assert (refused.entry.snapshot is not None, doubts(thread), len(before)) == (True, before, 3)
    assert refused.entry.patch == '{"del":{},"put":{}}'


def test_replay_under_other_limits_forgets_none_that_the_log_keeps() -> None:
    """What an older version remembered without bound was right then, and its thread goes on with it."""
    thread, _ = doubtful(12, snapshot_every_entries=5, doubts_max=1_000)
    replay = Replay(thread.app, Limits(snapshot_every_entries=5, doubts_max=2))
    told = [replay.check(entry, input) for entry, input in zip(thread.journal, thread.inputs, strict=True)]
    assert {one.standing for one in told} == {"equal"}


def test_replay_forgets_the_same_doubts() -> None:
    """To the bit."""
    thread, _ = doubtful(12, snapshot_every_entries=5, doubts_max=2)
    replay = Replay(thread.app, thread.limits)
    told = [replay.check(entry, input) for entry, input in zip(thread.journal, thread.inputs, strict=True)]
    assert {one.standing for one in told} == {"equal"}
    assert dump(replay.states["t"]) == dump(thread.state)


@pytest.mark.parametrize("status", ["failed", "refused", "rejected"])
def test_no_to_an_effect_that_was_asked_for_again_is_a_doubt(status: str) -> None:
    """The second ask may be tried behind the answer to the first, under the same key: the agent must not take a new
    one. What then happens is news for the thread."""
    heard = list[str]()

    async def paying(thread: Thread, event: Event) -> None:
        try:
            await pay(5)
        except CallError as error:
            heard.append(type(error).__name__)

    thread = desk(paying)
    thread.send()
    [call] = thread.calls()
    thread.fire()
    thread.take(thread.result(call, status=status))
    assert (thread.verdicts()[-2:], heard) == (["asked_again", "resumed"], ["InDoubt"])
    thread.take(thread.result(call, 1))
    assert thread.verdicts()[-1] == "late_success"
