# SPDX-License-Identifier: Apache-2.0
"""Events that wait: buffered for the run that is open, queued for a run of their own, or in front to interrupt."""

from __future__ import annotations

from typing import Any

import pytest

from tests.threadlog.desk import Desk, desk, look, pay
from threadlog import Event, Thread, WaitTimeout, gather
from threadlog.limits import Limits


async def confirmed(thread: Thread, event: Event) -> None:
    await look("x")
    try:
        await thread.reply(f"confirmed {(await thread.wait_for('t.More', timeout_s=1))['n']}")
    except WaitTimeout:
        await thread.reply("timeout")


def confirmation(thread: Desk, n: int) -> str:
    return thread.send("t.More", id=f"m{n}", n=n).entry.verdict


def test_buffered_event_of_an_idle_thread_is_refused() -> None:
    """Nobody waits for it, and nothing that comes later is kept from its run."""
    thread = desk(confirmed)
    assert {confirmation(thread, n) for n in range(300)} == {"refused"}
    assert thread.send().entry.verdict == "began"
    assert len(thread.effects("dead_letter")) == 300


def test_buffered_event_does_not_outlive_its_run() -> None:
    """An answer that came too late, or once too often, confirms no later refund; the journal says it is gone."""
    thread = desk(confirmed)
    thread.send()
    assert (confirmation(thread, 1), confirmation(thread, 2)) == ("buffered", "buffered")
    thread.answer()
    thread.send()
    thread.answer()
    thread.fire()
    assert thread.replies() == ["confirmed 1", "timeout"]
    assert [(effect["type"], effect["id"]) for effect in thread.effects("drop_event")] == [("t.More", "m2")]
    assert (thread.state.small["core"]["queue"], dict(thread.state.maps.items("queue"))) == ([], {})


def test_buffered_events_have_a_bound_of_their_own() -> None:
    """Confirmations without end take no place of the messages that wait."""
    thread = desk(confirmed, limits=Limits(buffered_events_max=2, queue_events_max=2))
    thread.send()
    assert [confirmation(thread, n) for n in range(3)] == ["buffered", "buffered", "refused"]
    assert [thread.send().entry.verdict for _ in range(3)] == ["queued", "queued", "refused"]
    assert confirmation(thread, 9) == "refused"


def test_buffered_event_is_only_for_an_agent_that_awaits_it() -> None:
    """A run that will never wait for it keeps nothing for it."""

    async def plain(thread: Thread, event: Event) -> None:
        await look("x")

    thread = desk(confirmed)
    thread.app.agent(on="t.Plain", name="plain")(plain)
    thread.send("t.Plain")
    assert confirmation(thread, 1) == "refused"


def test_waits_of_one_type_are_served_by_their_place_in_the_code() -> None:
    """The eleventh branch does not come before the third."""

    async def branch(thread: Thread, n: int) -> None:
        await thread.reply(f"{n}:{(await thread.wait_for('t.More'))['n']}")

    async def handler(thread: Thread, event: Event) -> None:
        await gather(*[branch(thread, n) for n in range(12)])

    thread = desk(handler)
    thread.send()
    for n in range(12):
        confirmation(thread, n)
    assert thread.replies() == [f"{n}:{n}" for n in range(12)]


def test_buffered_events_meet_their_waits_by_their_place_in_the_code() -> None:
    """So do those that came before."""

    async def branch(thread: Thread, n: int) -> None:
        await thread.reply(f"{n}:{(await thread.wait_for('t.More'))['n']}")

    async def handler(thread: Thread, event: Event) -> None:
        await look("x")
        await gather(*[branch(thread, n) for n in range(12)])

    thread = desk(handler)
    thread.send()
    for n in range(12):
        confirmation(thread, n)
    thread.answer()
    assert thread.replies() == [f"{n}:{n}" for n in range(12)]


def two_agents() -> Desk:
    """Besides the agent on t.Go, one that interrupts on t.Stop."""

    async def handler(thread: Thread, event: Event) -> None:
        await pay(1)
        await thread.reply(str(event["n"]))

    async def stop(thread: Thread, event: Event) -> None:
        await thread.reply("stopped")

    thread = desk(handler)
    thread.app.agent(on="t.Stop", name="stop", while_running="interrupt")(stop)
    return thread


def test_interruption_stands_in_front_of_what_waits() -> None:
    """It is urgent: it goes before messages that were there first, and behind earlier interruptions."""
    thread = two_agents()
    thread.send(n=1)
    thread.send(n=2)
    thread.send("t.Stop")
    assert [item[1:] for item in thread.state.small["core"]["queue"]] == [["t.Stop", True], ["t.Go", False]]
    thread.answer()
    assert (thread.replies(), thread.ends()) == (["stopped"], ["interrupted", "finished"])


def test_interruption_whose_agent_is_gone_interrupts_nobody() -> None:
    """New code without it: the runs go on, and the event is dropped with a word."""
    thread = two_agents()
    thread.send(n=1)
    thread.send("t.Stop", id="stop")
    del thread.app.newest["t.Stop"]
    thread.answer()
    assert (thread.replies(), thread.ends()) == (["1"], ["finished"])
    assert [effect["id"] for effect in thread.effects("drop_event")] == ["stop"]
    thread.send(n=2)
    thread.answer()
    assert thread.replies() == ["1", "2"]


def test_queue_at_its_bound_refuses_with_a_dead_letter() -> None:
    """A thread that is sent more than it can do says so."""
    thread = two_agents()
    thread.limits = Limits(queue_events_max=2)
    assert [thread.send(n=n).entry.verdict for n in range(4)] == ["began", "queued", "queued", "refused"]
    assert len(thread.effects("dead_letter")) == 1


REFUSALS: dict[str, Any] = {
    "duplicate": lambda thread: thread.send(id="e0", n=1),
    "refused": lambda thread: thread.send("t.Unknown"),
    "unreadable": lambda thread: thread.take(thread.input("poison", "agent-events", value=b"?", reason="?")),
}


@pytest.mark.parametrize("verdict", REFUSALS)
def test_refusal_begins_nothing(verdict: str) -> None:
    """What waits for the self-timer is not begun by an input that was turned away."""

    async def handler(thread: Thread, event: Event) -> None:
        if event["n"] == 1:
            await look("x")
        await thread.reply(str(event["n"]))

    thread = desk(handler, limits=Limits(chain_runs_max=1))
    for n in range(1, 5):
        thread.send(n=n)
    thread.answer()
    said = thread.replies()
    entry = REFUSALS[verdict](thread).entry
    assert (entry.verdict, entry.patch, entry.run_id) == (verdict, '{"del":{},"put":{}}', "")
    assert thread.replies() == said == ["1", "2"]
    while thread.state.small["timers"]:
        thread.fire()
    assert thread.replies() == ["1", "2", "3", "4"]


def test_event_that_its_run_never_heard_of_begins_one_of_its_own() -> None:
    """It was given to the second of two waits, and the first one's branch ended the run."""

    async def both(thread: Thread, event: Event) -> None:
        if event["n"] != 0:
            await thread.reply(f"own run {event['n']}")
            return

        async def hear() -> None:
            heard = await thread.wait_for("t.Go")
            await thread.reply(f"heard {heard['n']}")
            raise ValueError("enough")

        await look("x")
        await gather(hear(), thread.wait_for("t.Go"))

    thread = desk(both)
    for n in range(4):
        thread.send(n=n)
    thread.answer({})
    assert thread.replies() == ["heard 1", "own run 2", "own run 3"]
    assert thread.ends() == ["failed", "finished", "finished"]


@pytest.mark.parametrize(("awaited", "ends"), [("t.Go", ["abandoned", "finished"]), ("t.More", ["abandoned"])])
def test_event_that_parked_its_run_is_not_lost_when_that_is_abandoned(awaited: str, ends: list[str]) -> None:
    """A message begins a run of its own then; what nobody else handles is dropped, and the journal says so."""
    changed = list[bool]()

    async def chat(thread: Thread, event: Event) -> None:
        if changed:
            await thread.reply("by new code")
        if event["first"]:
            await thread.wait_for(awaited)

    thread = desk(chat)
    thread.send(first=True)
    changed.append(True)
    thread.send(awaited, first=False)
    assert thread.effects("park_run")
    thread.send("threadlog.RunCommand", run_id="", action="abandon", who="me", reason="")
    assert thread.ends() == ends
    assert [one["type"] for one in thread.effects("drop_event")] == ([] if len(ends) == 2 else [awaited])
