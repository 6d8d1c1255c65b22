# SPDX-License-Identifier: Apache-2.0
"""A story of four decisions, and its replay by other code."""

from __future__ import annotations

from typing import Any

from tests.threadlog.desk import Desk, desk, look, pay
from threadlog import App, Event, Thread, sleep
from threadlog.app import Handler
from threadlog.live import LiveRuns
from threadlog.replay import Divergence, Replay
from threadlog.state import dump


async def then(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    await sleep(5)
    receipt = await pay(order["total"])
    await thread.reply(f"paid {receipt}", {"n": 1})


def story(handler: Handler = then, name: str = "t") -> Desk:
    """A refund of four decisions: seq 1 looks, 2 sleeps, 3 pays, 4 replies and ends."""
    thread = desk(handler, name=name)
    thread.send(order="o")
    thread.answer({"total": 5})
    thread.fire()
    thread.answer("r")
    assert thread.ends() == ["finished"]
    return thread


def divergences(thread: Desk, app: App, follow_first: int = 0, cold: bool = False, **given: Any) -> list[Divergence]:
    replay, found = Replay(app, live=LiveRuns(0 if cold else 10), **given), []
    for entry, input in zip(thread.journal, thread.inputs, strict=True):
        if entry.seq <= follow_first:
            assert replay.follow(entry) == "followed"
        elif (one := replay.check(entry, input).divergence) is not None:
            found.append(one)
    assert dump(replay.states["t"]) == dump(thread.state)
    return found
