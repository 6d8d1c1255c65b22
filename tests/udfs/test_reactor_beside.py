# SPDX-License-Identifier: Apache-2.0
"""The reactor beside others: a tool that lets none of them go on, and calls that another process has answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import udfs.reactor
from tests.udfs.acting import app_with, ask, clock
from tests.udfs.test_reactor import Sink, on_the_loop
from threadlog import ToolCall
from udfs.reactor import SILENT_S, Reactor, ReactorEnded


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


class Clock:
    """The reactor's monotonic clock, which stands still until it is put on; its loop shows itself all the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(udfs.reactor, "BEAT_S", 0.01)
        monkeypatch.setattr(udfs.reactor, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def is_seen(self, reactor: Reactor, within_s: float) -> bool:
        """Whether the loop has gone round since the clock was put on."""
        until = time.monotonic() + within_s
        while reactor._beat_s != self.now_s and time.monotonic() < until:
            time.sleep(0.01)
        return reactor._beat_s == self.now_s


def test_reactor_says_that_a_tool_holds_up_its_loop(reactors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time-out fires then, and no tool goes on: whoever asks next hears of it, and which tools are under way. That
    goes on as soon as the tool does."""
    clock, began, go = Clock(monkeypatch), threading.Event(), threading.Event()

    async def act(call: ToolCall) -> None:
        began.set()
        go.wait(30)  # not awaited: this is the mistake

    reactor, _ = reactors(act)
    reactor.fire(ask())
    try:
        assert began.wait(10)
        clock.now_s += SILENT_S
        assert not clock.is_seen(reactor, within_s=0.5)
        assert reactor.in_hand()
        clock.now_s += 1
        with pytest.raises(ReactorEnded, match=f"gone on for {SILENT_S + 1:.0f} s: one of act holds up the loop"):
            reactor.in_hand()
    finally:
        go.set()
    assert clock.is_seen(reactor, within_s=20)
    assert reactor.in_hand()


def test_reactor_lets_tools_wait_as_long_as_they_let_others_go_on(
    reactors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever time passes, and whatever is under way."""
    clock, began = Clock(monkeypatch), threading.Event()

    async def act(call: ToolCall) -> None:
        began.set()
        await asyncio.sleep(3600)

    reactor, _ = reactors(act)
    reactor.fire(ask())
    assert began.wait(10)
    for _ in range(3):
        clock.now_s += SILENT_S + 1
        assert clock.is_seen(reactor, within_s=20)
        assert reactor.in_hand()


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
