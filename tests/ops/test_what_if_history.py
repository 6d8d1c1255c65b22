# SPDX-License-Identifier: Apache-2.0
"""A thread that new code takes otherwise has a history of its own: which inputs it is given, when, and who answers."""

from __future__ import annotations

import socket
from typing import Any

from ops.replay.whatif import WhatIf
from tests.threadlog.desk import Desk, app_of, desk, look, pay
from threadlog import CallError, Event, Retryable, Thread, ToolCall, WaitTimeout, sleep
from threadlog.app import Handler
from threadlog.live import LiveRuns


class Asked(list[str]):
    """Answers every call with 7, or does what `instead` does, and remembers which tools were asked."""

    instead: BaseException | None = None

    def __call__(self, call: ToolCall, args: dict[str, Any]) -> int:
        self.append(call.tool)
        if self.instead is not None:
            raise self.instead
        return 7


def what_if(made: Desk, handler: Handler, asked: Asked, equal: int = 0, **options: Any) -> list[tuple[str, list[str]]]:
    """How each run ends where this handler decides a thread's inputs, and what it comes to where that is other.

    equal: how many decisions are the same before the first that is not."""
    found = []
    for kept in (0, 10):  # executed again at each step, and kept live: no difference
        asked.clear()
        new = WhatIf(app_of(handler, **options), asked, LiveRuns(kept))
        standings = [new.check(*one).standing for one in zip(made.journal, made.inputs, strict=True)]
        assert standings == ["equal"] * equal + ["tried"] * (len(standings) - equal)
        found.append([(how, other.differences.now if other else []) for how, other in new.ends()])
    assert found[0] == found[1]
    return found[0]


async def confirmed(thread: Thread, event: Event) -> None:
    """Asks a person before it pays."""
    await thread.reply("sure?")
    await thread.wait_for("t.More", timeout_s=10)
    await thread.reply(f"paid {await pay(5)}")


async def unasked(thread: Thread, event: Event) -> None:
    """Pays."""
    await thread.reply(f"paid {await pay(5)}")


def test_an_effect_that_comes_earlier_has_the_result_that_the_log_has_later() -> None:
    """Nobody else is asked, as long as the run is under way there."""
    made, asked = desk(confirmed), Asked()
    made.send()
    made.send("t.More")
    made.answer(3)
    [(how, now)] = what_if(made, unasked, asked)
    assert (how, now, asked) == ("other", ['call pay({"amount":5})', 'reply "paid 3"', "end run finished"], [])


def test_an_effect_that_the_log_never_had_is_asked_for_when_its_run_is_over() -> None:
    """Then no result of it can come any more."""

    async def given_up(thread: Thread, event: Event) -> None:
        await thread.reply("sure?")
        try:
            await thread.wait_for("t.More", timeout_s=10)
        except WaitTimeout:
            return

    made, asked = desk(given_up), Asked()
    made.send()
    made.fire()
    assert what_if(made, unasked, asked)[0][1][-2:] == ['reply "paid 7"', "end run finished"]
    assert asked == ["pay"]


def waiting(number: int) -> Handler:
    """Two that differ in a variable alone, from their first decision on."""

    async def handler(thread: Thread, event: Event) -> None:
        thread.vars["n"] = number
        try:
            await thread.reply((await thread.wait_for("t.More", timeout_s=10)).id)
        except WaitTimeout:
            await thread.reply("too late")

    return handler


def test_a_timer_that_the_log_has_too_fires_when_it_does_there() -> None:
    """It was held until what may answer it had been read: an answer that came after it was due is one."""
    made, asked = desk(waiting(1)), Asked()
    made.send()
    made.now += 60_000
    made.send("t.More", id="answer")
    assert (what_if(made, waiting(2), asked), asked) == ([("same", [])], [])


def test_timers_of_its_own_fire_in_their_time() -> None:
    """Before what came later in the log, and after its end."""

    async def slower(thread: Thread, event: Event) -> None:
        await sleep(5)
        await unasked(thread, event)

    made, asked = desk(unasked), Asked()
    made.send()
    made.answer(3)
    made.now += 60_000
    made.send(id="later")
    made.answer(4)
    assert (what_if(made, slower, asked), asked) == ([("same", []), ("same", [])], [])


def looking(number: int, **what: Any) -> Handler:
    """They differ in a variable and, if so told, in what they ask and do behind it."""

    async def handler(thread: Thread, event: Event) -> None:
        thread.vars["n"] = number
        try:
            if what.get("naps"):
                await sleep(1)
            found = await look(what.get("ask", "it"))
            if what.get("connects"):
                socket.getaddrinfo("127.0.0.1", 1)
            await sleep(5)
            if what.get("twice"):
                found += f" and {await look('it')}"
            await thread.reply(f"found {found}")
        except CallError as error:
            await thread.reply(f"no: {error.message}")

    return handler


def test_a_call_that_timed_out_in_the_log_does_so_here() -> None:
    """The log has its end."""
    made, asked = desk(looking(1)), Asked()
    made.send()
    while not made.ends():
        made.fire()
    assert made.replies()[0].startswith("no: ")
    assert (what_if(made, looking(2), asked), asked) == ([("same", [])], [])


def test_a_run_of_an_older_version_is_that_of_the_newest() -> None:
    """Also where it goes on at an entry that says nothing of versions, for the log's run has ended."""
    made, asked = desk(looking(1), version=1), Asked()
    made.send(id="e")
    made.answer("it")
    made.fire()
    made.now += 60_000
    made.send(id="e")
    assert (made.verdicts(), made.journal[-1].agent) == (["began", "resumed", "resumed", "duplicate"], "")
    assert (what_if(made, looking(1, naps=True), asked, version=2), asked) == ([("same", [])], [])


def test_a_result_that_the_log_refused_is_none() -> None:
    """It came to a call that was closed."""
    made, asked = desk(looking(1)), Asked()
    made.send()
    late = made.result(made.calls()[0], "something else")
    made.answer("it")
    made.take(made.input("result", "tool-results", id=late.id, type=late.type, data=late.data))
    made.fire()
    assert made.verdicts() == ["began", "resumed", "late", "resumed"]
    told = what_if(made, looking(2, twice=True), asked)
    assert (told, asked) == ([("other", ['reply "found it and 7"', "end run finished"])], ["look"])


def test_no_time_passes_where_the_log_ends_in_a_run() -> None:
    """What comes of it is not known there either, and nobody is asked."""
    made, asked = desk(looking(1)), Asked()
    made.send()
    assert (what_if(made, looking(1, naps=True, ask="else"), asked), asked) == ([("open", [])], [])


def test_who_answers_is_not_asked_again() -> None:
    """That it is too busy is how the call ends."""
    made, asked = desk(looking(1)), Asked()
    asked.instead = Retryable("busy")
    made.send()
    made.answer("it")
    made.fire()
    told = what_if(made, looking(1, ask="else"), asked)
    assert (told, asked) == ([("other", ['reply "no: busy"', "end run finished"])], ["look"])


def test_a_handler_of_another_history_reaches_nothing() -> None:
    """Only who answers does."""
    made, asked = desk(looking(1)), Asked()
    made.send()
    made.answer("it")
    made.fire()
    [(how, now)] = what_if(made, looking(2, connects=True), asked)
    assert (how, now[-1].startswith("end run failed: Sealed")) == ("other", True), now


def test_what_no_one_can_answer_waits_with_all_that_comes_behind_it() -> None:
    """The runs that the log began later have not begun here."""
    made, asked = desk(looking(1)), Asked()
    asked.instead = NotImplementedError()
    for _ in range(2):
        made.send()
        made.answer("it")
        made.fire()
    told = what_if(made, looking(1, ask="else"), asked)
    assert (told, asked) == ([("unanswered", []), ("unanswered", [])], ["look"])


def test_an_input_that_the_journal_does_not_hold_is_left_out() -> None:
    """What came of it in the log is followed; here nothing came of it."""
    made = desk(unasked)
    made.send()
    made.answer(3)
    made.send()
    new = WhatIf(app_of(looking(1)), Asked(), LiveRuns(10))
    inputs = [*made.inputs[:2], None]
    standings = [new.check(*one).standing for one in zip(made.journal, inputs, strict=True)]
    assert standings == ["tried", "tried", "unchecked"]
    assert [how for how, _ in new.ends()] == ["open", "unknown"]
