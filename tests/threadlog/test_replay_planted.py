# SPDX-License-Identifier: Apache-2.0
"""Changes of a handler, planted one by one: each is named by its kind, at its decision, with its line.

Each handler differs from `replays.then` in the line that is marked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.threadlog.desk import app_of, desk, look, pay
from tests.threadlog.replays import divergences, story, then
from threadlog import Event, Thread, gather, sleep
from threadlog.replay import Replay
from threadlog.requests import Gather


async def other_tool(thread: Thread, event: Event) -> None:
    order = await pay(7)  # planted
    await sleep(5)
    receipt = await pay(order["total"])
    await thread.reply(f"paid {receipt}", {"n": 1})


async def arguments(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)
    receipt = await pay(order["total"] + 1)  # planted
    await thread.reply(f"paid {receipt}", {"n": 1})


async def ordinal(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)
    await Gather[Any]((), False)
    receipt = await pay(order["total"])  # planted
    await thread.reply(f"paid {receipt}", {"n": 1})


async def text(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)
    receipt = await pay(order["total"])
    await thread.reply(f"PAID {receipt}", {"n": 1})  # planted


async def data(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)
    receipt = await pay(order["total"])
    await thread.reply(f"paid {receipt}", {"n": 2})  # planted


async def timer(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(6)  # planted
    receipt = await pay(order["total"])
    await thread.reply(f"paid {receipt}", {"n": 1})


async def more(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)
    await thread.reply("a moment")  # planted
    receipt = await pay(order["total"])
    await thread.reply(f"paid {receipt}", {"n": 1})


async def less(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)
    await pay(order["total"])  # planted


async def spawned(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)
    receipt = await pay(order["total"])
    await thread.reply(f"paid {receipt}", {"n": 1})
    await thread.spawn("other", "t.Go", {})  # planted


async def raised(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)
    receipt = await pay(order["total"])
    raise ValueError(receipt)  # planted


async def variables(thread: Thread, event: Event) -> None:
    thread.vars["x"] = 1
    order = await look(event["order"])  # planted
    await sleep(5)
    receipt = await pay(order["total"])
    await thread.reply(f"paid {receipt}", {"n": 1})


async def inner(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)

    async def paid(amount: int) -> Any:
        return await pay(amount + 1)  # planted

    (receipt,) = await gather(paid(order["total"]))
    await thread.reply(f"paid {receipt}", {"n": 1})


PLANTED = [
    (other_tool, 1, "other_tool", "look → pay"),
    (arguments, 3, "arguments", "pay"),
    (ordinal, 3, "ordinal", "call pay"),
    (text, 4, "reply", "text"),
    (data, 4, "reply", "data"),
    (timer, 2, "timer", "sleep"),
    (more, 3, "more", "reply"),
    (less, 4, "less", "reply"),
    (spawned, 4, "more", "signal"),
    (raised, 4, "other_request", "reply → end run"),
    (variables, 1, "state", "vars.x"),
    (inner, 3, "arguments", "pay"),
]


def marked(handler: Callable[..., Any]) -> int:
    lines, first = inspect.getsourcelines(handler)
    return first + next(number for number, line in enumerate(lines) if "# planted" in line)


@pytest.mark.parametrize("cold", [False, True], ids=["live", "cold"])
@pytest.mark.parametrize(("handler", "seq", "kind", "about"), PLANTED, ids=lambda v: getattr(v, "__name__", None))
def test_replay_names_a_planted_change(handler: Any, seq: int, kind: str, about: str, cold: bool) -> None:
    """At the decision where it first shows, by its kind and what it is about, with the line of the handler."""
    [found, *_] = divergences(story(), app_of(handler), cold=cold)
    assert (found.seq, found.differences.kind, found.differences.about) == (seq, kind, about)
    assert found.place is not None and found.place.file == __file__
    assert found.place.line == marked(handler)


def test_replay_counts_what_follows_from_a_divergence_apart() -> None:
    """One changed line is one divergence of a run; the decisions of that run that follow are consequences."""
    thread = story()
    thread.send(order="o", id="second")
    replay = Replay(app_of(timer))
    standings = [replay.check(e, i).standing for e, i in zip(thread.journal, thread.inputs, strict=True)]
    assert standings == ["equal", "diverged", "consequence", "consequence", "equal"]


def test_replay_names_a_missing_tool() -> None:
    """With the line that asks for it, whatever the handler makes of the refusal."""
    app = app_of(then)
    del app.tools["pay"]
    [found] = divergences(story(), app)
    assert (found.seq, found.differences.kind, found.differences.about) == (3, "tool", "pay")
    lines, first = inspect.getsourcelines(then)
    assert found.place is not None and "pay(" in lines[found.place.line - first]


def test_replay_names_a_missing_version() -> None:
    """The log says which version began the run; another one in its place is no replay of it."""
    thread = story()
    app = app_of(then, version=2)
    [found] = divergences(thread, app)
    assert (found.seq, found.differences.kind, found.differences.about) == (1, "version", "go 1 → go 2")


def test_replay_begins_a_run_on_the_version_that_the_log_says() -> None:
    """A newer version beside it is for new runs; in its place it is what-if."""
    thread = story()
    app = app_of(then)
    app.agent(on="t.Go", name="go", version=2, awaits=("t.More",))(text)
    assert divergences(thread, app) == []
    [found] = divergences(thread, app, newest=True)
    assert (found.seq, found.differences.kind, found.place.line if found.place else 0) == (4, "reply", marked(text))


def test_replay_takes_a_message_as_the_version_of_its_time_did() -> None:
    """A newer version that lets messages wait does not make those rejected before a difference."""
    thread = desk(then, while_running="reject")
    thread.send(order="o")
    thread.send(order="o", id="second")
    assert thread.verdicts() == ["began", "rejected"]
    app = app_of(then, while_running="reject")
    app.agent(on="t.Go", name="go", version=2, awaits=("t.More",))(then)
    assert divergences(thread, app) == []
    [found] = divergences(thread, app_of(then))
    assert (found.differences.kind, found.differences.about) == ("verdict", "rejected → queued")


def test_replay_what_if_needs_no_version_that_the_log_says() -> None:
    """The newest decides for versions that the app has no more."""
    assert divergences(story(), app_of(then, version=3), newest=True) == []


def test_replay_of_a_run_begun_before_names_what_it_now_asks_for() -> None:
    """Its earlier decisions were followed only, so it is executed again from its start: nondeterminism, with both sides
    and the line."""
    [found] = divergences(story(), app_of(other_tool), follow_first=2)
    assert (found.seq, found.differences.kind) == (3, "nondeterminism")
    assert found.place is not None and found.place.line == marked(other_tool)
    assert found.note.splitlines()[1:] == ["- call look 2fe358914997 at 0", '+ call pay({"amount":7}) at 0']


COUNT = iter(range(100))


async def impure(thread: Thread, event: Event) -> None:
    await look(f"{next(COUNT)}")  # planted
    await look("second")


@pytest.mark.parametrize("cold", [False, True], ids=["live", "cold"])
def test_replay_finds_a_handler_that_is_not_deterministic(cold: bool) -> None:
    """It asks for something else whenever it is executed."""
    thread = desk(impure, cache_runs=10)
    thread.send()
    thread.answer()
    [found, *_] = divergences(thread, thread.app, cold=cold)
    assert (found.seq, found.differences.kind) == (1, "arguments")
    assert found.place is not None and found.place.line == marked(impure)


def test_replay_cold_executes_again_what_a_live_execution_hides() -> None:
    """A handler that changes its mind when it is executed a second time passes with live executions, not without."""
    again = list[int]()

    async def moody(thread: Thread, event: Event) -> None:
        again.append(1)
        await look("first" if len(again) < 3 else "other")
        await look("second")

    thread = desk(moody, cache_runs=10)
    thread.send()
    thread.answer()
    again.clear()
    assert divergences(thread, thread.app) == []
    again.clear()
    again.append(1)
    assert [found.differences.kind for found in divergences(thread, thread.app, cold=True)] == ["nondeterminism"]
