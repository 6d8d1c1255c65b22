# SPDX-License-Identifier: Apache-2.0
"""The cache of live executions is never truth."""

from __future__ import annotations

from msgspec.structs import replace

from tests.threadlog.desk import Desk, app_of, desk, look
from threadlog import Event, Thread
from threadlog.engine import step
from threadlog.live import LiveRuns
from threadlog.state import new_state


async def counting(thread: Thread, event: Event) -> None:
    for n in range(3):
        thread.vars["n"] = n
        await look(str(n))
    await thread.reply("done")


def test_live_execution_of_another_head_is_not_used() -> None:
    """A state that went on elsewhere, or was rolled back, is executed again from its log; the stale one is closed."""
    cache = LiveRuns(10)
    ahead = desk(counting)
    ahead.cache = cache
    ahead.send()
    ahead.answer()
    behind = Desk(ahead.app, ahead.limits, cache, now=ahead.now, offsets=dict(ahead.offsets))
    behind.take(ahead.inputs[0])
    behind.take(ahead.inputs[1])
    ahead.answer()
    behind.answer()
    ahead.answer()
    assert (ahead.replies(), ahead.ends(), ahead.parked()) == (["done"], ["finished"], [])
    behind.answer()
    assert (behind.replies(), behind.ends(), behind.parked()) == (["done"], ["finished"], [])


def test_live_executions_are_bounded() -> None:
    """The least recently used leaves first, closed; a bound of none keeps nothing."""
    closed: list[str] = []

    async def handler(thread: Thread, event: Event) -> None:
        try:
            await look("x")
        finally:
            closed.append(thread.run_id)

    cache = LiveRuns(1)
    for name in ("a", "b"):
        thread = desk(handler)
        input = thread.input("event", "agent-events", source="/s", id="1", type="t.Go", data={}, value=b"v")
        step(new_state(name), replace(input, thread=name), thread.app, thread.limits, cache)
    assert len(closed) == 1
    cache.clear()
    assert len(closed) == 2


def test_live_executions_are_bounded_by_what_their_events_hold() -> None:
    """A few large ones are let go as many small ones would be; the one in hand stays, whatever its size."""
    cache, closed = LiveRuns(bytes_max=2_500), list[str]()

    async def large(thread: Thread, event: Event) -> None:
        try:
            await look("x")
        finally:
            closed.append(thread.id)

    for name in ("a", "b", "c"):
        Desk(app_of(large), cache=cache, name=name).send(text="x" * 1_000)
    assert (closed, list(cache._runs)) == (["a"], ["b", "c"])
    Desk(app_of(large), cache=cache, name="d").send(text="x" * 5_000)
    assert (closed, list(cache._runs)) == (["a", "b", "c"], ["d"])
    cache.clear()
    assert (closed[-1], cache._bytes) == ("d", 0)
