# SPDX-License-Identifier: Apache-2.0
"""Each bound of a handler: an error it can catch, else a parked run; and bounds that hold for what it cannot see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from schemas.topics import TOPICS
from tests.threadlog.desk import desk, look
from threadlog import Event, LimitError, Thread, gather, sleep
from threadlog.limits import Limits

LIMITS = Limits(run_steps_max=20, burst_requests_max=15, open_calls_max=3)


async def many(thread: Thread) -> None:
    for _ in range(16):
        await thread.reply("x")


async def steps(thread: Thread) -> None:
    for _ in range(21):
        await gather()


OVER: dict[str, Callable[[Thread], Awaitable[Any]]] = {
    "value_bytes": lambda thread: thread.reply("x" * 70_000),
    "sleep_s_max": lambda thread: sleep(500 * 24 * 3600),
    "open_calls_max": lambda thread: gather(look("a"), look("b"), look("c"), look("d")),
    "burst_requests_max": many,
    "run_steps_max": steps,
}


@pytest.mark.parametrize("name", OVER)
def test_limit_can_be_caught_where_it_is_hit(name: str) -> None:
    """The error says which bound, and the run goes on to its end."""
    caught: list[str] = []

    async def handler(thread: Thread, event: Event) -> None:
        try:
            await OVER[name](thread)
        except LimitError as error:
            caught.append(error.limit)

    thread = desk(handler, limits=LIMITS)
    thread.send()
    assert (caught, thread.ends()) == ([name], ["finished"])


@pytest.mark.parametrize("name", OVER)
def test_limit_that_is_not_caught_parks_the_run(name: str) -> None:
    """And nothing of that step is carried out."""

    async def handler(thread: Thread, event: Event) -> None:
        await thread.reply("first")
        await OVER[name](thread)

    thread = desk(handler, limits=LIMITS)
    thread.send()
    assert (thread.parked(), thread.replies(), thread.ends()) == (["LimitError"], [], [])


@pytest.mark.parametrize("request_", [many, steps], ids=["burst", "steps"])
def test_limit_that_is_caught_without_end_gives_the_operator_back(request_: Any) -> None:
    """A handler that catches it in a loop is stopped all the same."""

    async def handler(thread: Thread, event: Event) -> None:
        while True:
            try:
                await request_(thread)
            except LimitError:
                continue

    thread = desk(handler, limits=LIMITS)
    thread.send()
    assert thread.parked() == ["LimitError"]


def test_limit_of_the_window_covers_what_the_topics_keep() -> None:
    """A resend can be read as long as its topic keeps it: it must be recognised for so long."""
    events = [topic for topic in TOPICS.values() if "conversation" in topic.readers]
    assert {topic.name for topic in events} >= {"agent-events", "human-feedback", "agent-signals"}
    assert Limits().seen_window_ms >= max(topic.retention_ms for topic in events)


def test_limit_of_an_entry_holds_what_every_input_may_need() -> None:
    """An event that waited lies in its run's first entry twice; a parked run must always be able to begin with it."""
    limits = Limits()
    assert limits.entry_bytes > 2 * limits.event_bytes + limits.orphans_bytes + limits.value_bytes
