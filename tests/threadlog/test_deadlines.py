# SPDX-License-Identifier: Apache-2.0
"""Deadlines of calls, and which clock they are counted by."""

from __future__ import annotations

import msgspec

from tests.threadlog.desk import Desk, desk, pay
from threadlog import CallError, Event, Thread, sleep
from threadlog.engine import Decision
from threadlog.inputs import timer

HOUR_MS, DAY_MS = 3_600_000, 24 * 3_600_000


async def paying(thread: Thread, event: Event) -> None:
    try:
        await sleep(event.get("sleep", 0))
        await pay(1)
    except CallError as error:
        await thread.reply(type(error).__name__)


def asked() -> Desk:
    """A thread with one open call."""
    thread = desk(paying)
    thread.send()
    thread.fire()
    return thread


def fire_late(thread: Desk, late_ms: int) -> Decision:
    """The earliest timer, by an operator that was away for a while."""
    due, id = min((due, id) for id, due in thread.state.small["timers"].items())
    thread.now = due + late_ms
    return thread.take(timer("t", id, due, thread.now))


def timers(thread: Desk) -> list[int]:
    return list(thread.state.small["timers"].values())


def test_deadline_after_an_outage_is_one_ask_and_a_whole_budget() -> None:
    """An hour late, a call is asked again once; what is left of its asks waits for its turn."""
    thread = asked()
    call = fire_late(thread, HOUR_MS).effects[0]
    assert (call["do"], call["ask"]) == ("call", 2)
    assert timers(thread) == [call["deadline_ms"]] and call["deadline_ms"] > thread.now + 30_000
    assert thread.replies() == []


def test_deadline_of_a_call_made_by_a_late_timer_lies_ahead() -> None:
    """A sleep that ends late asks for its call now, not an hour ago."""
    thread = desk(paying)
    thread.send(sleep=5)
    fire_late(thread, HOUR_MS)
    [call] = thread.calls()
    assert timers(thread) == [call["deadline_ms"]] and call["deadline_ms"] > thread.now + 30_000
    assert call["clock_ms"] == thread.now


def test_deadline_past_the_life_of_the_key_asks_no_more() -> None:
    """A key that may be dead is never sent again: its callee would pay a second time."""
    thread = asked()
    fire_late(thread, DAY_MS)
    assert (thread.verdicts()[-1], thread.replies()) == ("gave_up", ["InDoubt"])
    assert [call["ask"] for call in thread.effects("call")] == [1]


def test_deadline_of_a_thread_whose_time_is_ahead_counts_by_the_clock() -> None:
    """One reading was 30 days ahead, so the thread's time stands still; the key grows old all the same."""
    thread = desk(paying)
    ahead = thread.input("event", "agent-events", source="/s", id="1", type="t.Other", data={}, value=b"v")
    thread.take(msgspec.structs.replace(ahead, clock_ms=ahead.clock_ms + 30 * DAY_MS))
    thread.send()
    due, id = min((due, id) for id, due in thread.state.small["timers"].items())
    thread.take(timer("t", id, due, thread.now))
    [(id, due)] = thread.state.small["timers"].items()
    thread.take(timer("t", id, due, thread.now + DAY_MS))
    assert (thread.verdicts()[-1], thread.replies()) == ("gave_up", ["InDoubt"])


def test_deadline_asks_again_under_the_same_ask() -> None:
    """Key, chain and first moment stay; only number and deadline move on."""
    thread = asked()
    first = thread.calls()[0]
    again = fire_late(thread, 0).effects[0]
    assert {name for name in first if first[name] != again[name]} == {"ask", "deadline_ms"}


def test_ask_carries_the_clock_beside_the_threads_time() -> None:
    """Who asks whether a call was made before a process began compares clocks, not a thread's time."""
    thread = desk(paying)
    ahead = thread.input("event", "agent-events", source="/s", id="1", type="t.Other", data={}, value=b"v")
    thread.take(msgspec.structs.replace(ahead, clock_ms=ahead.clock_ms + HOUR_MS))
    thread.send()
    thread.fire()
    [call] = thread.calls()
    assert call["asked_ms"] >= ahead.clock_ms + HOUR_MS
    assert call["clock_ms"] == thread.journal[-1].input.clock_ms


def test_timer_that_fires_at_another_time_than_it_is_armed_for_is_stale() -> None:
    """Early, or armed anew since: nothing wakes, and the timer stays armed."""
    thread = desk(paying)
    thread.send(sleep=1000)
    [(id, due)] = thread.state.small["timers"].items()
    for wrong in (5, due - 1, due + 1):
        assert thread.take(timer("t", id, wrong, thread.now)).entry.verdict == "stale"
    assert timers(thread) == [due]
