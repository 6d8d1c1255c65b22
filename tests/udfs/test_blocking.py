# SPDX-License-Identifier: Apache-2.0
"""Threads of tools that block: what times out keeps its own, and when all are kept nothing waits for one in vain."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.udfs.acting import NOW_MS, app_with, ask, clock
from threadlog import Retry, Retryable, ToolCall
from udfs.attempts import CallRun, Gate
from udfs.blocking import BlockingThreads

THREADS = 2
PATIENCE_S = 10.0  # a broken pool must not hang the suite


class Held:
    """Functions that block until they are released, and what the pool said."""

    def __init__(self) -> None:
        self.go, self.said = threading.Event(), list[str]()
        self.began = [threading.Event() for _ in range(THREADS)]
        self.pool = BlockingThreads(THREADS, self.said.append)

    async def abandon(self, number: int) -> None:
        """Run one that does not return, and wait for it no longer."""

        def function() -> None:
            self.began[number].set()
            self.go.wait()

        task = asyncio.ensure_future(self.pool.run(function))
        await asyncio.to_thread(self.began[number].wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def settled(self) -> None:
        """All have returned."""

        def all_free() -> None:
            until = time.monotonic() + PATIENCE_S
            while self.pool.stuck and time.monotonic() < until:
                time.sleep(0.001)

        self.go.set()
        await asyncio.to_thread(all_free)


def trial(story: Callable[[Held], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        held = Held()
        try:
            return await asyncio.wait_for(story(held), PATIENCE_S)
        finally:
            held.go.set()
            held.pool.close()

    return asyncio.run(run())


def test_blocking_attempts_that_timed_out_are_told_when_they_hold_all_threads() -> None:
    """Once, with what to do; and again when it happens again."""

    async def story(held: Held) -> list[int]:
        counts = []
        for number in range(THREADS):
            await held.abandon(number)
            counts.append(len(held.said))
        await held.settled()
        held.go, held.began = threading.Event(), [threading.Event() for _ in range(THREADS)]
        for number in range(THREADS):
            await held.abandon(number)
        assert all(line.startswith("all 2 threads") and "timeout_s" in line for line in held.said)
        return [*counts, len(held.said)]

    assert trial(story) == [0, 1, 2]


def test_blocking_attempt_without_a_thread_is_refused_and_later_ones_are_not() -> None:
    """Refused is proof that it did not run: no call ends in doubt for want of a thread."""

    async def story(held: Held) -> None:
        await held.abandon(0)
        assert await held.pool.run(lambda: 7) == 7  # one is left
        await held.abandon(1)
        ran = list[int]()
        with pytest.raises(Retryable, match="all 2 threads"):
            await held.pool.run(lambda: ran.append(1))
        await held.settled()
        assert (await held.pool.run(lambda: 8), ran) == (8, [])

    trial(story)


def test_blocking_attempt_that_never_began_holds_no_thread() -> None:
    """One that was cancelled while it waited is not run afterwards either."""

    async def story(held: Held) -> None:
        ran = list[int]()
        await held.abandon(0)
        running = asyncio.ensure_future(held.pool.run(held.go.wait))
        waiting = asyncio.ensure_future(held.pool.run(lambda: ran.append(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (held.pool.stuck, held.said) == (1, [])
        held.go.set()
        await running
        assert (await held.pool.run(lambda: 9), ran) == (9, [])

    trial(story)


def test_keyed_call_without_a_thread_ends_as_refused() -> None:
    """The agent hears that nothing ran, not that nobody knows."""

    async def story(held: Held) -> dict[str, Any]:
        for number in range(THREADS):
            await held.abandon(number)

        def act(call: ToolCall) -> None:
            raise AssertionError("it must not run")

        async def sleep(seconds: float) -> None: ...

        tool = app_with(act, retry=Retry(attempts=3)).tools["act"]
        return await CallRun(tool, ask(), Gate(None, clock, sleep), clock, sleep, held.pool.run).run()

    result = trial(story)
    assert (result["status"], [attempt["outcome"] for attempt in result["attempts"]]) == ("refused", ["refused"] * 3)


def test_keyed_calls_that_wait_too_long_for_a_thread_did_not_run() -> None:
    """Two threads, six calls, one time-out each: what got no thread is refused, and is not run afterwards."""
    ran = list[str]()

    async def story(held: Held) -> list[dict[str, Any]]:
        def act(call: ToolCall) -> None:
            ran.append(call.idempotency_key)
            held.go.wait(30)

        tool = app_with(act, retry=Retry(attempts=1), timeout_s=2.0).tools["act"]
        calls = [
            CallRun(tool, ask(call_id=f"{n}" * 40), Gate(None, clock, _no_pause), clock, _no_pause, held.pool.run)
            for n in range(6)
        ]
        results = await asyncio.gather(*(call.run() for call in calls))
        held.go.set()
        await held.settled()
        return results

    ended = {result["call_id"]: result["status"] for result in trial(story)}
    assert {key for key, status in ended.items() if status == "in_doubt"} == set(ran) and len(ran) == 2
    assert sorted(ended.values()) == ["in_doubt"] * 2 + ["refused"] * 4


def test_time_of_a_call_begins_with_its_thread() -> None:
    """It waits for most of its time, then has all of it: more than that together, and far from it each."""

    async def story(held: Held) -> list[dict[str, Any]]:
        def act(call: ToolCall) -> str:
            time.sleep(1.6)
            return "done"

        tool = app_with(act, retry=Retry(attempts=1), timeout_s=3.0).tools["act"]
        calls = [
            CallRun(tool, ask(call_id=f"{n}" * 40), Gate(None, clock, _no_pause), clock, _no_pause, held.pool.run)
            for n in range(2 * THREADS)
        ]
        return list(await asyncio.gather(*(call.run() for call in calls)))

    assert [result["status"] for result in trial(story)] == ["done"] * 2 * THREADS


def test_key_that_ends_while_its_call_waits_for_a_thread_is_not_used() -> None:
    """The callee may have forgotten it by then, and would have the effect once more."""
    now = [NOW_MS]

    async def story(held: Held) -> dict[str, Any]:
        def act(call: ToolCall) -> None:
            raise AssertionError("it must not run")

        async def late(function: Callable[[], Any]) -> Any:
            now[0] += 24 * 3_600_000
            return await held.pool.run(function)

        tool = app_with(act, retry=Retry(attempts=1)).tools["act"]
        pace = Gate(None, clock, _no_pause)
        return await CallRun(tool, ask(), pace, lambda: now[0], _no_pause, late).run()

    assert trial(story)["status"] == "refused"


async def _no_pause(seconds: float) -> None: ...
