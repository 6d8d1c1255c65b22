# SPDX-License-Identifier: Apache-2.0
"""A thread's history is read by its own handler, in its own turn: what keeps it elsewhere reads nothing at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.threadlog.desk import Desk, app_of, desk, look
from threadlog import Event, Thread
from threadlog.live import LiveRuns


def test_history_is_out_of_reach_of_another_threads_handler() -> None:
    """An operator's maps are those of the thread in hand: what another one read would be somebody else's words."""
    kept, heard = dict[str, Thread](), list[str]()

    async def nosy(thread: Thread, event: Event) -> None:
        kept[thread.id] = thread
        for other in kept.values():
            try:
                other.history()
            except RuntimeError:
                heard.append(f"{thread.id} of {other.id}")
        await look("x")

    app, live = app_of(nosy), LiveRuns()
    for name in ("a", "b"):
        Desk(app, cache=live, name=name).send()
    assert heard == ["b of a"]


@pytest.mark.parametrize("runs_max", [1, 10])
def test_history_is_out_of_reach_when_an_execution_is_let_go(runs_max: int) -> None:
    """It is closed in the turn of the thread that took its place; its own turn is over."""
    seen = list[Any]()

    async def tidy(thread: Thread, event: Event) -> None:
        try:
            await look("x")
            seen.append(len(thread.history()))
        finally:
            try:
                seen.append(len(thread.history()))
            except RuntimeError:
                seen.append(None)

    app, live = app_of(tidy), LiveRuns(runs_max)
    first, second = (Desk(app, cache=live, name=name) for name in ("a", "b"))
    first.send()
    second.send()
    assert seen == ([None] if runs_max == 1 else [])
    first.answer({})
    assert seen[-2:] == [0, 0]


def test_history_of_a_run_that_waits_is_read_in_each_of_its_turns() -> None:
    """As it was when the run began."""
    seen = list[int]()

    async def reading(thread: Thread, event: Event) -> None:
        seen.append(len(thread.history()))
        await look("x")
        seen.append(len(thread.history()))
        await thread.reply("done")

    for cache in (LiveRuns(0), LiveRuns()):
        thread = desk(reading)
        thread.cache = cache
        for _ in range(2):
            thread.send()
            thread.answer({})
        assert seen == [0, 0, 2, 2] if cache.runs_max else seen[-1] == 2
        seen.clear()


def test_waiting_run_keeps_nothing_of_the_turn_it_began_in() -> None:
    """Thousands wait at a time: each would hold an event, a state and a patch."""

    async def waiting(thread: Thread, event: Event) -> None:
        await look("x")

    thread = desk(waiting)
    thread.cache = LiveRuns()
    thread.send()
    [(_, _, execution)] = thread.cache._runs.values()
    assert execution.past.turn is None
