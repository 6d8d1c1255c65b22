# SPDX-License-Identifier: Apache-2.0
"""The reactor beside others: a tool that lets none of them go on, and calls that another process has answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import udfs.reactor
from tests.udfs.acting import app_with, ask, clock
from tests.udfs.test_reactor import Sink, on_the_loop
from threadlog import ToolCall
from udfs.reactor import Reactor, ReactorEnded


@pytest.fixture
def reactors() -> Iterator[Any]:
    """Starts a reactor for a tool; closed after the test."""
    made = list[Reactor]()

    def start(fn: Any) -> tuple[Reactor, Sink]:
        sink = Sink()
        made.append(Reactor(app_with(fn), sink, clock))
        return made[-1], sink

    yield start
    for reactor in made:
        reactor.close()


def test_reactor_says_that_a_tool_holds_up_its_loop(reactors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time-out fires then, and no tool goes on: whoever asks next hears of it, and which tools are under way."""
    began, go = threading.Event(), threading.Event()

    async def act(call: ToolCall) -> None:
        began.set()
        go.wait(30)  # not awaited: this is the mistake

    reactor, _ = reactors(act)
    reactor.fire(ask())
    try:
        assert began.wait(10)
        reactor.in_hand()
        monkeypatch.setattr(udfs.reactor, "SILENT_S", 0.0)
        with pytest.raises(ReactorEnded, match="one of act holds up the loop"):
            reactor.in_hand()
    finally:
        go.set()


@pytest.mark.parametrize(("end", "written"), [("paid", ["done"]), (ConnectionResetError("cut"), [])], ids=repr)
def test_reactor_tells_of_a_call_that_another_process_has_answered_if_it_succeeded(
    reactors: Any, end: Any, written: list[str]
) -> None:
    """Its result has come back while it was under way here. That it has happened is news; all else is said already, and
    no further attempt is made."""
    began, go, attempts = threading.Event(), asyncio.Event(), list[int]()

    async def act(call: ToolCall) -> str:
        attempts.append(call.attempt)
        began.set()
        await go.wait()
        if isinstance(end, Exception):
            raise end
        return str(end)

    reactor, sink = reactors(act)
    reactor.fire(ask())
    assert began.wait(10)
    reactor.forget(ask()["call_id"])
    on_the_loop(reactor, go.set)
    while reactor._tasks:
        on_the_loop(reactor)
    assert [sink.results.get_nowait()["status"] for _ in range(sink.results.qsize())] == written
    assert (attempts, reactor.in_hand()) == ([1], frozenset())


def test_reactor_does_not_begin_a_call_that_is_answered_before_its_turn(reactors: Any) -> None:
    """Fired while the loop is busy, and read back before it is free."""
    ran, hold = list[int](), threading.Event()

    async def act(call: ToolCall) -> None:
        ran.append(call.attempt)

    reactor, sink = reactors(act)
    reactor._loop.call_soon_threadsafe(hold.wait, 10)
    reactor.fire(ask())
    reactor.forget(ask()["call_id"])
    hold.set()
    on_the_loop(reactor)
    while reactor._tasks:
        on_the_loop(reactor)
    assert (ran, sink.results.empty()) == ([], True)
