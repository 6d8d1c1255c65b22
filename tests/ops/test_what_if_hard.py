# SPDX-License-Identifier: Apache-2.0
"""What-if where logs are not simple: equal calls, calls that were asked again, old versions, ends in the middle."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from ops.replay import report
from ops.replay.tally import Tally
from ops.replay.whatif import WhatIf
from tests.ops.test_what_if_history import Asked, confirmed, looking, unasked, what_if
from tests.threadlog.desk import App, Desk, app_of, desk, look, pay
from threadlog import CallError, Event, Thread, ToolCall, gather, sleep
from threadlog.app import Handler
from threadlog.differences import outside_differs
from threadlog.live import LiveRuns


def play(made: Desk, new: WhatIf) -> None:
    """Give a thread's journal to a what-if."""
    for entry, input in zip(made.journal, made.inputs, strict=True):
        new.check(entry, input)


def numbered(number: int, body: Handler) -> Handler:
    """The same but for a variable, from the first decision on."""

    async def handler(thread: Thread, event: Event) -> None:
        thread.vars["n"] = number
        await body(thread, event)

    return handler


def test_equal_calls_have_each_its_own_result() -> None:
    """In whatever order they were answered, and however many there are."""

    async def many(thread: Thread, event: Event) -> None:
        await thread.reply(" ".join(await gather(*[look("it") for _ in range(12)])))

    made, asked = desk(numbered(1, many)), Asked()
    made.send()
    for number in range(12, 0, -1):
        made.answer(f"v{number}", index=number - 1)
    assert (what_if(made, numbered(2, many), asked), asked) == ([("same", [])], [])


def test_an_effect_that_was_asked_again_counts_once_and_is_what_the_log_took_it_for() -> None:
    """Its first asking was lost, so that a failure of the second leaves in doubt what became of the first."""

    async def paying(thread: Thread, event: Event) -> None:
        try:
            await pay(5)
        except CallError as error:
            await thread.reply(type(error).__name__)

    async def looks_first(thread: Thread, event: Event) -> None:
        await look("first")
        await paying(thread, event)

    made, asked = desk(paying), Asked()
    made.send()
    made.fire()
    made.answer(None, status="failed")
    assert (made.verdicts()[:2], made.calls()) == (["began", "asked_again"], [])
    assert made.replies() != ["ToolFailed"]
    assert (what_if(made, looks_first, asked), asked) == ([("same", [])], ["look"])


def test_the_newest_version_decides_also_where_the_old_one_is_still_there() -> None:
    """As it is after an ordinary upgrade."""

    def both() -> App:
        app = app_of(looking(1), version=1)
        app.agent(on="t.Go", name="go", awaits=("t.More",), version=2)(looking(1, naps=True))
        return app

    made = desk(looking(1), version=1)
    made.send(id="e")
    made.answer("it")
    made.fire()
    made.now += 60_000
    made.send(id="e")
    for kept in (0, 10):
        new = WhatIf(both(), Asked(), LiveRuns(kept))
        play(made, new)
        assert [how for how, _ in new.ends()] == ["same"]


def test_a_run_that_other_code_began_is_told_and_those_behind_it_go_on() -> None:
    """Where a history begins at a snapshot, or only later decisions are asked for."""
    made = desk(looking(1))
    for _ in range(2):
        made.send()
        made.answer("it")
        made.fire()
    new = WhatIf(app_of(looking(1, ask="else")), Asked(), LiveRuns(10))
    new.replay.follow(made.journal[0])
    standings = [new.check(*one).standing for one in list(zip(made.journal, made.inputs, strict=True))[1:]]
    assert standings == ["diverged", "consequence", "tried", "tried", "tried"]
    assert [how for how, _ in new.ends()] == ["other"]


def test_what_waits_where_the_log_ends_is_open() -> None:
    """One that has begun here and not there, and one that sleeps here while the log has another one under way."""
    made, asked = desk(confirmed), Asked()
    made.send()
    made.send()
    assert made.verdicts() == ["began", "queued"]
    told = what_if(made, numbered(1, lambda thread, event: thread.reply("done")), asked)  # type: ignore[arg-type, return-value]
    assert {how for how, _ in told} == {"open"}

    async def sleeping(thread: Thread, event: Event) -> None:
        await sleep(5)
        await unasked(thread, event)

    made = desk(unasked)
    made.send()
    made.answer(3)
    made.send()
    assert [how for how, _ in what_if(made, sleeping, asked)] == ["open", "open"]


def test_a_run_that_was_parked_and_retried_comes_to_what_it_ends_with() -> None:
    """That it stood for a while is no difference."""

    parked = {"do": "park_run", "error": {"type": "LimitError", "message": ""}}
    end = {"do": "end_run", "status": "finished"}
    assert outside_differs([parked, end], [end]) is None
    assert outside_differs([parked], [end]) is not None


def test_who_answers_may_be_a_coroutine_with_a_client_that_it_keeps() -> None:
    """All of its answers are given in one loop; and not to know may be said there too."""
    made = desk(looking(1))
    for _ in range(3):
        made.send()
        made.answer("it")
        made.fire()
    loops, known = set(), [True, True, False]

    async def answer(call: ToolCall, args: dict[str, Any]) -> int:
        await asyncio.sleep(0)
        loops.add(id(asyncio.get_running_loop()))
        if not known.pop(0):
            raise NotImplementedError
        return 7

    new = WhatIf(app_of(looking(1, ask="else")), answer, LiveRuns(10))
    play(made, new)
    assert [how for how, _ in new.ends()] == ["other", "other", "unanswered"]
    assert (len(loops), new.answered) == (1, {"look": 2})


def test_a_function_that_answers_may_run_a_loop_of_its_own() -> None:
    """Or end its program: that is a failure of the call."""
    made = desk(looking(1))
    made.send()
    made.answer("it")
    made.fire()

    def answer(call: ToolCall, args: dict[str, Any]) -> Any:
        return asyncio.run(asyncio.sleep(0, 7))

    def leave(call: ToolCall, args: dict[str, Any]) -> Any:
        raise SystemExit("gone")

    for one, said in ((answer, "found 7"), (leave, "no: gone")):
        new = WhatIf(app_of(looking(1, ask="else")), one, LiveRuns(10))
        play(made, new)
        [(_, found)] = new.ends()
        assert found is not None and said in found.differences.now[0]


def test_an_answer_that_no_record_can_hold_is_asked_for_once() -> None:
    """A model that is asked a thousand times costs a thousand times as much. Calls are asked in their order."""

    async def many(thread: Thread, event: Event) -> None:
        await thread.reply(str(await gather(*[look(str(number)) for number in range(12)])))

    made = desk(looking(1))
    made.send()
    made.answer("it")
    made.fire()
    asked = list[str]()

    def answer(call: ToolCall, args: dict[str, Any]) -> str:
        asked.append(args["what"])
        return "x" * 2_000_000

    new = WhatIf(app_of(many), answer, LiveRuns(10))
    play(made, new)
    assert ([how for how, _ in new.ends()], asked) == (["unanswered"], [str(number) for number in range(12)])


def test_a_place_that_is_told_is_one_of_the_log() -> None:
    """Also of a run that begins here before it does there."""
    made = desk(confirmed)
    made.send()
    made.send()
    made.send("t.More")
    made.answer(3)
    made.send("t.More")
    made.answer(4)

    async def asks(thread: Thread, event: Event) -> None:
        await thread.reply(f"found {await look('else')}")

    new = WhatIf(app_of(asks), Asked(), LiveRuns(10))
    play(made, new)
    places = [(found.seq, found.topic, found.offset) for _, found in new.ends() if found]
    known = {(entry.seq, entry.input.topic, entry.input.offset) for entry in made.journal}
    assert len(places) == 2 and set(places) <= known


def test_threads_that_differ_in_no_run_are_not_called_equal() -> None:
    """An event that was rejected there and is queued here."""
    told = Tally(Counter(equal=1, tried=1))
    assert report.verdict(told) == "0 of 0 runs behind another decision come to something else."
