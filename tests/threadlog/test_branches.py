# SPDX-License-Identifier: Apache-2.0
"""Branches of a gather, and what is derived from a place in the run: chance, ids, keys."""

from __future__ import annotations

from typing import Any

import pytest

from tests.threadlog.desk import desk, look, pay
from threadlog import Event, Thread, ToolFailed, gather, sleep
from threadlog.calls import call_key

ORDERS = [(0, 1, 2), (2, 1, 0), (1, 2, 0)]


@pytest.mark.parametrize("cache_runs", [0, 10])
@pytest.mark.parametrize("order", ORDERS)
def test_branch_that_fails_fails_the_gather_at_once_and_the_others_go_on(order: Any, cache_runs: int) -> None:
    """Like asyncio's: the caller hears the first error; what the other branches do still counts."""

    async def branch(thread: Thread, n: int) -> None:
        await look(str(n))
        await thread.reply(f"branch {n}")

    async def handler(thread: Thread, event: Event) -> None:
        try:
            await gather(branch(thread, 0), branch(thread, 1), look("2"))
        except ToolFailed:
            await thread.reply("failed")
        await pay(1)

    thread = desk(handler, cache_runs)
    thread.send()
    calls = thread.calls()
    for place, n in enumerate(order):
        thread.take(thread.result(calls[n], status="failed" if n == 1 else "done"))
        assert ("failed" in thread.replies()) == (1 in order[: place + 1])
    assert sorted(thread.replies()) == ["branch 0", "failed"]
    thread.answer()
    assert thread.ends() == ["finished"]


@pytest.mark.parametrize("cache_runs", [0, 10])
def test_branch_errors_are_returned_when_asked_for(cache_runs: int) -> None:
    """With return_exceptions the gather waits for all, and an error is a result."""

    async def handler(thread: Thread, event: Event) -> None:
        found = await gather(look("a"), look("b"), return_exceptions=True)
        await thread.reply(" ".join(type(one).__name__ for one in found))

    thread = desk(handler, cache_runs)
    thread.send()
    thread.answer(status="failed")
    assert thread.replies() == []
    thread.answer("B")
    assert thread.replies() == ["ToolFailed str"]


@pytest.mark.parametrize("cache_runs", [0, 10])
def test_branch_draws_the_same_chance_whichever_answer_comes_first(cache_runs: int) -> None:
    """An id drawn in a branch, and so the key of a call that carries it, depends on the code's path alone."""

    async def branch(thread: Thread, what: str) -> Any:
        await look(what)
        return await pay(int(thread.random() * 1_000_000))

    async def handler(thread: Thread, event: Event) -> None:
        await gather(branch(thread, "a"), branch(thread, "b"))
        await thread.reply(thread.uuid())

    found = []
    for first in (0, 1):
        thread = desk(handler, cache_runs)
        thread.send()
        calls = thread.calls()
        for call in (calls[first], calls[1 - first]):
            thread.take(thread.result(call))
        while thread.calls():
            thread.answer()
        found.append((sorted((c["ordinal"], c["call_id"]) for c in thread.effects("call")), thread.replies()))
    assert found[0] == found[1]


def test_chance_differs_from_draw_to_draw_and_from_run_to_run() -> None:
    """Two runs of one handler do not draw the same."""

    async def handler(thread: Thread, event: Event) -> None:
        await thread.reply(f"{thread.random()} {thread.random()} {thread.uuid()}")

    thread = desk(handler)
    thread.send()
    thread.send()
    assert len({word for reply in thread.replies() for word in reply.split()}) == 6


def test_reply_ids_differ_by_place_and_are_the_same_again() -> None:
    """A reader of replies drops a repeat by its id, and drops nothing else."""

    async def handler(thread: Thread, event: Event) -> None:
        await thread.reply("same")
        await thread.reply("same")
        await thread.spawn("u", "t.Go", {})
        await thread.spawn("u", "t.Go", {})

    ids = []
    for _ in range(2):
        thread = desk(handler)
        thread.send()
        ids.append([effect["reply_id"] for effect in thread.effects("reply")])
        ids[-1] += [effect["signal_id"] for effect in thread.effects("signal")]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 4


def test_key_stands_for_thread_run_place_tool_and_arguments() -> None:
    """Change one of them and it is another call."""
    parts = ["t", "r", "0", "pay", "d"]
    keys = {call_key(*parts)} | {call_key(*[*parts[:n], "x", *parts[n + 1 :]]) for n in range(5)}
    assert len(keys) == 6


def test_nondeterminism_in_the_length_of_a_sleep_parks_the_run() -> None:
    """The timer is armed already: another length is another request."""
    lengths = [5, 6]

    async def handler(thread: Thread, event: Event) -> None:
        await gather(sleep(lengths.pop(0)), look("x"))

    thread = desk(handler)
    thread.send()
    thread.answer()
    assert thread.parked() == ["NondeterminismError"]


def test_finally_of_a_run_that_ended_asks_for_nothing() -> None:
    """In dead mode not even an effect call leaves."""

    async def handler(thread: Thread, event: Event) -> None:
        try:
            await look("x")
        finally:
            await pay(1)

    thread = desk(handler, 10, while_running="interrupt")
    thread.send()
    thread.send()
    thread.cache.clear()
    assert {call["tool"] for call in thread.effects("call")} == {"look"}
