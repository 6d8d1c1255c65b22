# SPDX-License-Identifier: Apache-2.0
"""The reactor: each firing ends as one result, whatever tools do to the loop they run in."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from schemas.codec import Codec, FixedSchemas
from tests.udfs.acting import app_with, ask, clock, end, scripted
from threadlog import App, Quota, Retry, Retryable, ToolCall, ToolError
from udfs.attempts import ATTEMPTS_TOLD_MAX
from udfs.reactor import Reactor, ReactorEnded, take_over


class Sink:
    """Results in a queue."""

    def __init__(self) -> None:
        self.results: queue.Queue[dict[str, Any]] = queue.Queue()
        self.broken: Exception | None = None

    def send(self, ask: dict[str, Any], result: dict[str, Any]) -> None:
        self.results.put(result)

    def check(self) -> None:
        if self.broken is not None:
            raise self.broken

    def close(self) -> None: ...


@pytest.mark.parametrize("step", [Retryable("busy"), ToolError("no")])
def test_call_cut_off_by_a_restart_ends_in_doubt_unless_it_succeeds(step: Exception) -> None:
    """The dead process may have paid: neither "refused" nor "failed" is proof any more."""
    assert end(scripted(step, step, step), again=True)["status"] == "in_doubt"
    assert end(scripted(step, step, step), again=True, effect="read")["status"] == "failed"
    assert end(scripted(7), again=True)["value"] == "7"


def test_result_of_any_call_can_be_read_back() -> None:
    """However often it was tried, whatever was said: it fits the topic and the readers of results."""
    raised = Retryable("😀" * 1000)
    result = end(scripted(*[raised] * 5000, "x" * 60_000), retry=Retry(5001, base_s=0, max_s=0))
    codec = Codec(FixedSchemas())
    assert codec.decode(codec.encode("threadlog.ToolResult", result))[2]["value"] == result["value"]
    numbers = [attempt["n"] for attempt in result["attempts"]]
    assert (len(numbers), numbers[:2], numbers[-1]) == (ATTEMPTS_TOLD_MAX, [1, 5001 - ATTEMPTS_TOLD_MAX + 2], 5001)


def test_reactor_gives_each_firing_one_result_and_remembers_it_until_told() -> None:
    """In hand from the firing until the result has come back through the log."""
    sink = Sink()
    reactor = Reactor(app_with(scripted(41)), sink, clock)
    reactor.fire(ask())
    assert sink.results.get(timeout=10)["value"] == "41"
    assert reactor.in_hand() == {"c" * 40}
    reactor.forget("c" * 40)
    assert reactor.in_hand() == frozenset()
    reactor.close()


def test_reactor_of_a_new_attempt_ends_the_one_before() -> None:
    """Threads outlive a task in its process: what the old one left running gives no result any more."""
    sink = Sink()

    async def forever(call: ToolCall) -> None:
        await asyncio.sleep(60)

    old = take_over("test", lambda: Reactor(app_with(forever), sink, clock))
    old.fire(ask())
    new = take_over("test", lambda: Reactor(app_with(scripted(1)), sink, clock))
    new.fire(ask())
    assert sink.results.get(timeout=10)["value"] == "1"
    assert sink.results.empty() and not old._thread.is_alive()
    new.close()


def test_reactor_answers_without_an_attempt() -> None:
    """A full queue or an unknown tool still gives a result."""
    sink = Sink()
    reactor = Reactor(App("empty"), sink, clock)
    reactor.answer(ask(), "rejected", "full")
    assert sink.results.get(timeout=10)["error_message"] == "full"
    reactor.close()


@pytest.fixture
def started() -> Iterator[Callable[..., tuple[Reactor, Sink]]]:
    """Reactors with their sinks; closed after the test."""
    made: list[Reactor] = []

    def start(fn: Any, sink: Sink | None = None, **options: Any) -> tuple[Reactor, Sink]:
        sink = sink or Sink()
        made.append(Reactor(app_with(fn, **options), sink, clock))
        return made[-1], sink

    yield start
    for reactor in made:
        reactor.close()


async def forever(call: ToolCall) -> None:
    await asyncio.sleep(3600)


def test_reactor_that_was_closed_takes_no_call(started: Any) -> None:
    """Two tasks in one process: the first is told that the second took over, and keeps nothing in hand."""
    reactor, sink = started(forever)
    reactor.close()
    for use in (lambda: reactor.fire(ask()), lambda: reactor.answer(ask(), "rejected", "full"), reactor.in_hand):
        with pytest.raises(ReactorEnded, match="one slot"):
            use()
    assert not reactor._in_hand and sink.results.empty()


def test_reactor_says_when_a_result_cannot_be_written(started: Any) -> None:
    """What the sink reports, or what it raises on a send, reaches the task that asks next."""
    reactor, sink = started(scripted(1))
    sink.broken = RuntimeError("no more")
    with pytest.raises(RuntimeError, match="no more"):
        reactor.in_hand()

    class Deaf(Sink):
        def send(self, ask: dict[str, Any], result: dict[str, Any]) -> None:
            self.results.put({})
            raise ValueError("too large")

    reactor, sink = started(scripted(1), Deaf())
    reactor.fire(ask())
    sink.results.get(timeout=10)
    on_the_loop(reactor)
    with pytest.raises(ReactorEnded, match="too large"):
        reactor.in_hand()


def on_the_loop(reactor: Reactor, do: Callable[[], Any] = lambda: None) -> Any:
    """Do something on the loop, after everything that it was about to do."""

    async def done() -> Any:
        await asyncio.sleep(0)
        return do()

    return asyncio.run_coroutine_threadsafe(done(), reactor._loop).result(10)


@pytest.mark.parametrize(
    "harm",
    [
        lambda: asyncio.get_running_loop().call_soon(sys.exit, 3),
        lambda: asyncio.get_running_loop().stop(),
        lambda: [task.cancel() for task in asyncio.all_tasks()],
    ],
    ids=["exit", "stop", "cancel"],
)
def test_reactor_survives_what_a_tool_does_to_its_loop(started: Any, harm: Callable[[], Any]) -> None:
    """A task that exits, a stopped loop, everything cancelled: each call has a result all the same."""

    async def act(call: ToolCall) -> int:
        harm()
        return 1

    reactor, sink = started(act, retry=Retry(attempts=1))
    for n in range(3):
        reactor.fire(ask(call_id=f"{n}" * 40))
        assert sink.results.get(timeout=10)["status"] in ("done", "in_doubt")


def test_arguments_that_raise_anything_are_rejected_unrun() -> None:
    """Types of the user's are made from the arguments: what they raise must not end the loop, nor the call unheard."""

    @dataclasses.dataclass
    class Bad:
        n: int

        def __post_init__(self) -> None:
            raise SystemExit(self.n)

    async def act(call: ToolCall, bad: Any) -> int:
        raise AssertionError

    act.__annotations__["bad"] = Bad
    result = end(act, args='{"bad": {"n": 3}}')
    assert (result["status"], result["error_type"], result["attempts"]) == ("rejected", "SystemExit", [])
    assert end(act, args='{"bad": {"n": 3}}', again=True)["status"] == "in_doubt"


def test_reactor_gives_back_its_loop_when_it_is_closed(started: Any) -> None:
    """Descriptors would leak with every attempt of the task, even where a tool does not hear that it is cancelled."""

    async def stubborn(call: ToolCall) -> None:
        running.set()
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    running = threading.Event()
    reactor, _ = started(stubborn)
    reactor.fire(ask())
    assert running.wait(10)
    reactor.close()
    assert reactor._loop.is_closed()
    reactor.close()


def test_reactor_forgets_gates_that_nobody_waits_at(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota key for each of many tenants leaves no gate behind for each of them."""
    monkeypatch.setattr("udfs.reactor.GATES_MAX", 3)

    async def act(call: ToolCall) -> int:
        if call.thread == "held":
            await held.wait()
        return 1

    held = asyncio.Event()
    reactor, sink = started(act)
    reactor._gates_max = 3
    reactor.fire(ask(thread="held", quota_key="act:held"))
    for n in range(20):
        reactor.fire(ask(call_id=f"{n:040}", quota_key=f"act:{n}"))
        assert sink.results.get(timeout=10)["value"] == "1"
    assert len(reactor._gates) <= 3 and "act:held" in reactor._gates


@pytest.mark.parametrize(("strict", "expected"), [(True, [10.0]), (False, [])])
def test_reactor_waits_a_timeout_before_it_repeats_a_call_under_a_strict_quota(
    strict: bool, expected: list[float]
) -> None:
    """What the dead process began may still be running there; a call that nobody began waits for nothing."""
    pauses, sink = list[float](), Sink()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    reactor = Reactor(app_with(scripted(1, 2), quota=Quota(strict=strict), timeout_s=10), sink, clock, sleep)
    reactor.fire(ask(), again=False)
    assert sink.results.get(timeout=10)["value"] == "1"
    assert pauses == []
    reactor.fire(ask(), again=True)
    assert sink.results.get(timeout=10)["value"] == "2"
    assert pauses == expected
    reactor.close()
