# SPDX-License-Identifier: Apache-2.0
"""Runs that cannot go on are parked, visibly: other code, other order, a missing version, a limit."""

from __future__ import annotations

import pytest

from tests.threadlog.desk import desk, look, pay
from threadlog import Event, LimitError, Thread, gather, sleep
from threadlog.limits import Limits

CHANGES = {
    "tool": lambda: pay(5),
    "arguments": lambda: look("y"),
    "timer": lambda: sleep(1),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_nondeterminism_parks_the_run_and_retry_goes_on(change: str) -> None:
    """Code that asks for something else than the log holds is stopped, visibly; the right code goes on from there."""
    changed: list[bool] = []

    async def drifting(thread: Thread, event: Event) -> None:
        if changed:
            await CHANGES[change]()
        else:
            await look("x")
        await thread.reply("done")

    thread = desk(drifting)
    thread.send()
    changed.append(True)
    thread.answer("r")
    assert [e["error"]["type"] for e in thread.effects("park_run")] == ["NondeterminismError"]
    assert thread.replies() == []
    changed.clear()
    thread.send("threadlog.RunCommand", run_id="", action="retry", who="me", reason="")
    assert thread.replies() == ["done"]


@pytest.mark.parametrize("change", ["text", "ordinal"])
def test_nondeterminism_in_reply_or_order_parks_the_run(change: str) -> None:
    """A reply with other words, or one request more before it, is a divergence too."""
    runs: list[int] = []

    async def drifting(thread: Thread, event: Event) -> None:
        runs.append(1)
        if change == "ordinal" and len(runs) > 1:
            await gather()
        await thread.reply("hello" if change == "ordinal" or len(runs) == 1 else "good day")
        await look("x")

    thread = desk(drifting)
    thread.send()
    thread.answer()
    assert [e["error"]["type"] for e in thread.effects("park_run")] == ["NondeterminismError"]


def test_parked_run_can_be_abandoned() -> None:
    """A person ends it; what waited behind it goes on."""
    runs: list[int] = []

    async def drifting(thread: Thread, event: Event) -> None:
        runs.append(1)
        if event["n"] == 1:
            await look(str(len(runs)))
        await thread.reply(str(event["n"]))

    thread = desk(drifting)
    thread.send(n=1)
    thread.send(n=2)
    thread.answer()
    thread.send("threadlog.RunCommand", run_id="", action="abandon", who="me", reason="")
    assert thread.ends() == ["abandoned", "finished"]
    assert thread.replies() == ["2"]


def test_open_run_stays_on_the_version_that_began_it() -> None:
    """A new version begins new runs only; without the old one the run is parked, not guessed."""

    async def old(thread: Thread, event: Event) -> None:
        await look("x")
        await thread.reply("old")

    async def new(thread: Thread, event: Event) -> None:
        await thread.reply("new")

    thread = desk(old)
    thread.send()
    thread.app.agent(on="t.Go", name="go", version=2)(new)
    thread.answer()
    thread.send()
    assert thread.replies() == ["old", "new"]
    other = desk(old)
    other.send()
    del other.app.agents["go", 1]
    other.answer()
    assert other.effects("park_run")[0]["error"]["type"] == "VersionMissing"


def test_limits_are_catchable_before_they_park() -> None:
    """A handler may recover from a bound; one that does not is stopped and can be retried."""

    async def careful(thread: Thread, event: Event) -> None:
        try:
            await thread.reply("x" * 100_000)
        except LimitError as error:
            await thread.reply(error.limit)

    async def careless(thread: Thread, event: Event) -> None:
        while True:
            await thread.reply("again")

    caught, parked = desk(careful), desk(careless, limits=Limits(burst_requests_max=5))
    caught.send()
    parked.send()
    assert caught.replies() == ["value_bytes"]
    assert parked.effects("park_run")[0]["error"]["type"] == "LimitError"
    assert parked.replies() == []


def test_decision_that_fits_no_record_parks_the_run() -> None:
    """The sink must never see what it cannot write."""

    async def wordy(thread: Thread, event: Event) -> None:
        for _ in range(40):
            await thread.reply("x" * 60_000)

    thread = desk(wordy)
    entry = thread.send().entry
    assert (entry.verdict, thread.replies(), thread.effects("dead_letter")) == ("began", [], [])
    assert thread.parked() == ["LimitError"]
