# SPDX-License-Identifier: Apache-2.0
"""Resends and replays: what was handled before is recognised, by the log's time and place, never by a clock."""

from __future__ import annotations

import msgspec

from tests.threadlog.desk import Desk, desk, pay
from threadlog import Event, Thread
from threadlog.engine import step

DAY_MS = 24 * 3_600_000


async def paying(thread: Thread, event: Event) -> None:
    await pay(1)


def at(thread: Desk, id: str, days: float, lag_days: float = 0, topic: str = "agent-events", partition: int = 0) -> str:
    """The verdict on an event that the log took so many days in, read later; its call is answered at once."""
    input = thread.input("event", topic, source="/s", id=id, type="t.Go", data={}, value=b"v")
    log_ms = 1_700_000_000_000 + int(days * DAY_MS)
    changed = {"log_time_ms": log_ms, "clock_ms": log_ms + int(lag_days * DAY_MS), "partition": partition}
    verdict = thread.take(msgspec.structs.replace(input, **changed)).entry.verdict
    if thread.calls():
        thread.now = max(thread.now, log_ms)
        thread.answer()
    return verdict


def keys(thread: Desk) -> tuple[int, int]:
    asks = [call["call_id"] for call in thread.effects("call")]
    return len(asks), len(set(asks))


def test_resend_that_is_read_late_is_recognised() -> None:
    """Six days after the first by the log, whatever the clock of a reader that lags says: one key, one payment."""
    thread = desk(paying)
    assert at(thread, "dup", 0) == "began"
    assert at(thread, "x", 5.9, lag_days=2.1) == "began"
    assert at(thread, "dup", 6, lag_days=2) == "duplicate"
    assert keys(thread) == (2, 2)


def test_resend_by_a_topic_that_lags_is_recognised() -> None:
    """Topics are read at different paces; the last event still taken may repeat one that is a window older."""
    thread = desk(paying)
    assert at(thread, "dup", 0) == "began"
    for day in (1, 3, 5, 7, 8, 9, 10, 11, 12, 12.9):
        at(thread, f"x{day}", day)
    assert at(thread, "dup", 6, lag_days=7, topic="agent-signals") == "duplicate"


def test_event_older_than_the_window_is_not_trusted() -> None:
    """Whether it is a resend can no longer be known: a dead letter, not a second payment."""
    thread = desk(paying)
    at(thread, "dup", 0)
    at(thread, "x", 8)
    assert at(thread, "dup2", 0.5, topic="agent-signals") == "too_old"
    assert at(thread, "y", 1.5, topic="agent-signals") == "began"
    assert len(thread.effects("dead_letter")) == 1


def test_identities_leave_when_no_resend_can_come_any_more() -> None:
    """The ring shrinks with the log's time, a few at a time."""
    thread = desk(paying)
    for n in range(6):
        at(thread, f"e{n}", n / 10)
    for n in range(3):
        at(thread, f"late{n}", 20 + n)
    window = thread.state.small["window"]
    assert (window["first"], window["next"]) == (6, 9)
    assert len(dict(thread.state.maps.items("seen"))) == 2 * 3


def test_one_clock_that_is_ahead_makes_no_event_too_old() -> None:
    """A reading 30 days ahead moves the thread's time, and nothing else."""
    thread = desk(paying)
    assert at(thread, "1", 0, lag_days=30) == "began"
    assert at(thread, "2", 0.1) == "began"
    assert thread.journal[-1].time_ms >= 1_700_000_000_000 + 30 * DAY_MS


def test_log_time_that_is_ahead_makes_no_event_too_old() -> None:
    """Nor does a broker's, as long as the operator's clock is right."""
    thread = desk(paying)
    assert at(thread, "1", 30, lag_days=-30) == "began"
    assert at(thread, "2", 0.1) == "began"


def test_time_of_a_thread_never_goes_back() -> None:
    """Two machines' clocks differ; an entry is never older than the one before it."""
    thread = desk(paying)
    for n, ahead in enumerate((0, 0.5, 0.2, 0.6, 0)):
        at(thread, str(n), n / 100, lag_days=ahead)
    times = [entry.time_ms for entry in thread.journal]
    assert times == sorted(times)


def test_positions_are_kept_per_partition() -> None:
    """A producer with another partitioner puts the thread into a second partition: both are exact."""
    thread = desk(paying)
    first = thread.input("event", "agent-events", source="/s", id="1", type="t.Go", data={}, value=b"v")
    other = msgspec.structs.replace(first, id="2", partition=1)
    thread.take(first)
    assert step(thread.state, first, thread.app, thread.limits) is None
    thread.take(other)
    assert step(thread.state, other, thread.app, thread.limits) is None
    assert thread.state.small["positions"] == {"agent-events/0": 0, "agent-events/1": 0}


def test_resend_of_a_spawned_event_under_its_own_name_is_a_duplicate() -> None:
    """A run is named after the thread that spawned it; whoever uses that name again does not pay again."""
    thread = desk(paying)
    data = {"name": "spawn", "from_thread": "p", "data": '{"type":"t.Go","data":{}}'}
    signal = {"source": "/threadlog/conversation", "id": "S", "type": "threadlog.Signal", "data": data}
    thread.take(thread.input("event", "agent-signals", value=b"v", **signal))
    thread.answer()
    named = {"source": "/threadlog/threads/p", "id": "S", "type": "t.Go", "data": {}}
    thread.take(thread.input("event", "agent-events", value=b"v", **named))
    thread.take(thread.input("event", "agent-signals", value=b"v", **signal))
    assert thread.verdicts() == ["began", "resumed", "duplicate", "duplicate"]
    assert keys(thread) == (1, 1)
