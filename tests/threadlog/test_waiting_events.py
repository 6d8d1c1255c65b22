# SPDX-License-Identifier: Apache-2.0
"""What becomes of events that come while a run is open."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.threadlog.desk import desk, look, pay
from threadlog import Event, Thread
from threadlog.limits import Limits


@pytest.mark.parametrize(
    ("mode", "verdict", "replies"),
    [("enqueue", "queued", ["1", "2"]), ("reject", "rejected", ["1"]), ("interrupt", "interrupts", ["2"])],
)
def test_second_message_while_a_run_waits(mode: str, verdict: str, replies: list[str]) -> None:
    """enqueue waits its turn, reject says so in the journal, interrupt ends the run at its read."""

    async def slow(thread: Thread, event: Event) -> None:
        await look("x")
        await thread.reply(str(event["n"]))

    thread = desk(slow, while_running=mode)
    thread.send(n=1)
    assert thread.send(n=2).entry.verdict == verdict
    while thread.calls():
        thread.answer()
    assert thread.replies() == replies


def test_interrupt_waits_for_an_open_effect_and_shows_it() -> None:
    """Money under way is never abandoned: the interruption takes effect when the payment's result is in the journal."""
    seen: list[Any] = []

    async def paying(thread: Thread, event: Event) -> None:
        seen.append(thread.open_effects)
        if event["n"] == 1:
            await pay(1)
            await thread.reply("never said")

    thread = desk(paying, while_running="interrupt")
    thread.send(n=1)
    thread.send(n=2)
    assert thread.ends() == []
    thread.answer(42)
    assert thread.ends() == ["interrupted", "finished"]
    assert [(o["tool"], o["status"], o["value"]) for o in seen[-1]] == [("pay", "done", 42)]
    assert thread.replies() == []


def test_queue_is_worked_off_in_chains_and_by_a_self_timer() -> None:
    """One input begins at most so many runs; a timer goes on with the rest."""

    async def first_waits(thread: Thread, event: Event) -> None:
        if event["n"] == 0:
            await look("x")
        await thread.reply(str(event["n"]))

    thread = desk(first_waits, limits=Limits(chain_runs_max=2))
    for n in range(6):
        thread.send(n=n)
    thread.answer()
    assert thread.replies() == ["0", "1", "2"]
    while thread.state.small["timers"]:
        thread.fire()
    assert thread.replies() == ["0", "1", "2", "3", "4", "5"]


def test_clock_that_was_ahead_holds_up_nothing_that_waits() -> None:
    """A machine whose clock was a day ahead has decided once; by the clock of today the rest is begun now."""

    async def first_waits(thread: Thread, event: Event) -> None:
        if event["n"] == 0:
            await look("x")

    thread = desk(first_waits, limits=Limits(chain_runs_max=1))
    ahead = thread.input("event", "agent-events", source="/s", id="0", type="t.Go", data={"n": 0}, value=b"v")
    thread.take(replace(ahead, clock_ms=ahead.clock_ms + 24 * 3_600_000))
    for n in range(1, 4):
        thread.send(n=n)
    thread.answer()
    assert thread.state.small["timers"]["chain"] == thread.now < thread.state.small["core"]["now"]


def test_finally_of_an_interrupted_run_can_ask_for_nothing() -> None:
    """A dead handler's last words reach nobody."""

    async def stubborn(thread: Thread, event: Event) -> None:
        try:
            await look("x")
        finally:
            await thread.reply("dead words")

    thread = desk(stubborn, cache_runs=10, while_running="interrupt")
    thread.send()
    thread.send("t.Go")
    thread.cache.clear()
    assert thread.replies() == []
