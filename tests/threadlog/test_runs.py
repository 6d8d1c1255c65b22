# SPDX-License-Identifier: Apache-2.0
"""What runs make of events and results, told as short stories. Tools come from the app around the handler."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.threadlog.desk import Desk, desk, look, pay, refund
from threadlog import CallRejected, Event, InDoubt, Thread, ToolFailed, WaitTimeout, gather, sleep


def test_run_goes_from_event_over_calls_to_reply() -> None:
    """One message with two calls is three turns: the event and two results."""
    thread = desk(refund)
    thread.send(order="o-1")
    thread.answer({"total": 7})
    thread.answer(99)
    assert thread.replies() == ["paid 99"]
    assert thread.verdicts() == ["began", "resumed", "resumed"]
    assert thread.ends() == ["finished"]
    assert [(c["tool"], c["effect"], c["outbox_seq"]) for c in thread.effects("call")] == [
        ("look", "read", 0),
        ("pay", "keyed", 1),
    ]


def test_gather_ordinals_follow_the_branch_not_the_arrival() -> None:
    """Whichever answer comes first, calls and results are the same."""

    async def both(thread: Thread, event: Event) -> None:
        async def second() -> Any:
            return await look((await look("b"))["next"])

        a, b = await gather(look("a"), second())
        await thread.reply(f"{a} {b}")

    orders = []
    for first in (0, 1):
        thread = desk(both)
        thread.send()
        thread.answer({"next": "c"} if first else "A", index=first)
        thread.answer("A" if first else {"next": "c"}, index=0)
        thread.answer("C")
        orders.append((thread.replies(), sorted((c["ordinal"], c["call_id"]) for c in thread.effects("call"))))
    assert orders[0] == orders[1]
    assert orders[0][0] == ["A C"]
    assert [ordinal for ordinal, _ in orders[0][1]] == ["0.0.0", "0.1.0", "0.1.1"]


def test_call_errors_are_typed_and_catchable() -> None:
    """Each way a call can end without a value has its own class."""
    caught: list[type[Exception]] = []

    async def careful(thread: Thread, event: Event) -> None:
        try:
            await pay(1)
        except (ToolFailed, InDoubt, CallRejected) as error:
            caught.append(type(error))

    for status in ("failed", "in_doubt", "rejected"):
        thread = desk(careful)
        thread.send()
        thread.answer(status=status)
        assert thread.ends() == ["finished"]
    assert set(caught) == {ToolFailed, InDoubt, CallRejected}


def test_uncaught_error_fails_the_run_and_the_thread_goes_on() -> None:
    """A bug in a handler costs its run, not the job, not the thread."""

    async def broken(thread: Thread, event: Event) -> None:
        raise KeyError(event.get("n"))

    thread = desk(broken)
    thread.send(n=1)
    thread.send(n=2)
    assert thread.ends() == ["failed", "failed"]
    assert thread.effects("end_run")[0]["error"] == {"type": "KeyError", "message": "1"}


def test_awaiting_io_is_refused_with_a_sentence() -> None:
    """An event loop's future is not durable."""

    async def io(thread: Thread, event: Event) -> None:
        await asyncio.sleep(0)

    thread = desk(io)
    thread.send()
    assert "put I/O in a tool" in thread.effects("end_run")[0]["error"]["message"]


def test_sleep_and_wait_for_meet_timers_and_events() -> None:
    """Time passes by timers; an awaited event resumes the run; its absence is a typed error."""

    async def patient(thread: Thread, event: Event) -> None:
        await sleep(5)
        more = await thread.wait_for("t.More", timeout_s=10)
        try:
            await thread.wait_for("t.More", timeout_s=10)
        except WaitTimeout as error:
            await thread.reply(f"{more['n']} {error}")

    thread = desk(patient)
    began = thread.send().entry.time_ms
    assert thread.fire().entry.time_ms == began + 5_000
    thread.send("t.More", n=1)
    thread.fire()
    assert thread.replies() == ["1 no t.More within 10 s"]
    assert thread.state.small["timers"] == {}


def test_event_before_its_wait_is_kept() -> None:
    """A confirmation may overtake the question."""

    async def asks_late(thread: Thread, event: Event) -> None:
        await look("x")
        await thread.reply((await thread.wait_for("t.More"))["word"])

    thread = desk(asks_late)
    thread.send()
    thread.send("t.More", word="early")
    thread.answer()
    assert thread.replies() == ["early"]
    assert thread.verdicts() == ["began", "buffered", "resumed"]


def test_variables_and_history_survive_between_runs() -> None:
    """A run sees them as they were when it began, plus its own changes, also when executed again."""

    async def counting(thread: Thread, event: Event) -> None:
        thread.vars["n"] = thread.vars.get("n", 0) + 1
        await look("x")
        thread.vars["n"] += 10
        await thread.reply(f"{thread.vars['n']} after {len(thread.history())}")

    thread = desk(counting)
    for _ in range(3):
        thread.send()
        thread.answer()
    assert thread.replies() == ["11 after 0", "22 after 2", "33 after 4"]


def test_spawn_reaches_another_thread_as_its_event() -> None:
    """A signal on the target's thread begins a run there."""

    async def parent(thread: Thread, event: Event) -> None:
        if event.get("spawn"):
            await thread.spawn("child", "t.Go", {"spawn": False})
        else:
            await thread.reply(f"from {event.source}")

    thread = desk(parent)
    signal = thread.send(spawn=True).effects[1]
    assert (signal["do"], signal["thread"]) == ("signal", "child")
    child = Desk(thread.app)
    child.take(
        child.input(
            "event",
            "agent-signals",
            source="/threadlog/conversation",
            id=signal["signal_id"],
            type="threadlog.Signal",
            data=signal,
        )
    )
    assert child.replies() == ["from /threadlog/threads/t"]


def test_unanswered_effect_is_asked_again_then_in_doubt_then_late_success_is_news() -> None:
    """Same key every time; never called failed; a success that comes after all is journaled as such."""
    ended: list[str] = []

    async def paying(thread: Thread, event: Event) -> None:
        try:
            await pay(5)
        except InDoubt as error:
            ended.append(error.error_type)

    thread = desk(paying)
    thread.send()
    call = thread.calls()[0]
    while thread.calls():
        thread.fire()
    asks = thread.effects("call")
    assert [ask["ask"] for ask in asks] == [1, 2, 3, 4, 5]
    assert {ask["call_id"] for ask in asks} == {call["call_id"]} and {ask["outbox_hash"] for ask in asks} == {
        call["outbox_hash"]
    }
    assert ended == ["NoAnswer"]
    thread.take(thread.result(call, 1))
    assert thread.verdicts()[-2:] == ["gave_up", "late_success"]
