# SPDX-License-Identifier: Apache-2.0
"""How calls end. Real asyncio tools on a real loop; the clock and the pauses are fakes, so nothing waits."""

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
from threadlog import App, Quota, Retry, Retryable, ToolCall, ToolError
from udfs.attempts import ATTEMPTS_TOLD_MAX, BREAKER_FAILURES, BREAKER_PAUSE_S, CallRun, Gate
from udfs.reactor import Reactor, ReactorEnded, take_over

NOW_MS = 1_700_000_000_000


def clock() -> int:
    return NOW_MS


def app_with(fn: Any, effect: Any = "keyed", **options: Any) -> App:
    app = App("test")
    app.tool(effect=effect, name="act", **{"retry": Retry(attempts=3), **options})(fn)
    return app


def ask(effect: str = "keyed", args: str = "{}", **changed: Any) -> dict[str, Any]:
    made = {"thread": "t", "run_id": "r", "ordinal": "0", "call_id": "c" * 40, "tool": "act", "args_digest": "a"}
    made |= {
        "effect": effect,
        "args": args,
        "quota_key": "act",
        "asked_ms": NOW_MS,
        "deadline_ms": NOW_MS + 1,
        "ask": 1,
    }
    return {**made, **changed}


def end(
    fn: Any,
    effect: str = "keyed",
    pauses: list[float] | None = None,
    args: str = "{}",
    again: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """The result of one call of `fn`."""
    app = app_with(fn, effect, **options)

    async def sleep(seconds: float) -> None:
        (pauses if pauses is not None else []).append(seconds)

    async def blocking(function: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, function)

    async def run() -> dict[str, Any]:
        tool = app.tools["act"]
        gate = Gate(tool.quota.rate_per_s, clock, sleep)
        call = CallRun(tool, ask(effect, args), gate, clock, sleep, blocking)
        if again:
            call.note_cut_off()
        return await call.run()

    return asyncio.run(run())


def scripted(*steps: Any) -> Any:
    """A tool that raises or returns one step after the other."""
    left = list(steps)

    async def act(call: ToolCall) -> Any:
        step = left.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    return act


def outcomes(result: dict[str, Any]) -> list[str]:
    return [attempt["outcome"] for attempt in result["attempts"]]


REFUSED, UNKNOWN, NO = Retryable("429"), ConnectionResetError("reset"), ToolError("no")


@pytest.mark.parametrize(
    ("steps", "status", "expected"),
    [
        ((1,), "done", ["done"]),
        ((REFUSED, 1), "done", ["refused", "done"]),
        ((UNKNOWN, 1), "done", ["unknown", "done"]),
        ((NO,), "failed", ["failed"]),
        ((REFUSED, REFUSED, REFUSED), "refused", ["refused"] * 3),
        ((UNKNOWN, UNKNOWN, UNKNOWN), "in_doubt", ["unknown"] * 3),
        ((UNKNOWN, REFUSED, REFUSED), "in_doubt", ["unknown", "refused", "refused"]),
        ((UNKNOWN, NO), "in_doubt", ["unknown", "failed"]),
        ((UNKNOWN, ToolError("no", definite=True)), "failed", ["unknown", "failed"]),
    ],
)
def test_keyed_call_with_an_unknown_attempt_never_fails_plainly(steps: Any, status: str, expected: list[str]) -> None:
    """Once an attempt was unknown the call ends as done or in doubt, unless the callee settles that very key."""
    result = end(scripted(*steps))
    assert (result["status"], outcomes(result)) == (status, expected)


def test_read_that_keeps_breaking_fails() -> None:
    """A read has no effect to be in doubt about."""
    assert end(scripted(UNKNOWN, UNKNOWN, UNKNOWN), "read")["status"] == "failed"


@pytest.mark.parametrize(
    "raised", [SystemExit(1), KeyboardInterrupt(), RecursionError(), asyncio.CancelledError()], ids=repr
)
def test_exception_of_any_kind_is_a_value(raised: BaseException) -> None:
    """A tool that tries to end the process is an unknown attempt."""
    assert end(scripted(raised, 5))["value"] == "5"


def test_timeout_is_unknown_even_if_the_tool_swallows_its_cancellation() -> None:
    """Nobody waits for a tool that does not stop."""

    async def stubborn(call: ToolCall) -> None:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)

    assert outcomes(end(stubborn, timeout_s=0.01)) == ["unknown"] * 3


def test_arguments_that_do_not_fit_are_rejected_unrun() -> None:
    """The tool is never called with what its annotations forbid."""

    async def act(call: ToolCall, n: int) -> int:
        raise AssertionError

    assert [end(act, args=args)["status"] for args in ('{"n": "x"}', "{}", "no json")] == ["rejected"] * 3


def test_unusable_result_of_an_effect_is_in_doubt() -> None:
    """It has happened, but its value cannot be carried."""

    async def act(call: ToolCall) -> Any:
        return "x" * 100_000

    assert (end(act)["status"], end(act, "read")["status"]) == ("in_doubt", "failed")


def test_pauses_come_from_the_key_and_honour_retry_after() -> None:
    """The same call backs off the same way; what the callee asks for is a floor."""
    first, second, asked = list[float](), list[float](), list[float]()
    end(scripted(REFUSED, REFUSED, 1), pauses=first)
    end(scripted(REFUSED, REFUSED, 1), pauses=second)
    end(scripted(Retryable("429", after_s=7), 1), pauses=asked)
    assert first == second and len(first) == 2 and asked == [7]


def test_rate_is_per_attempt() -> None:
    """Retries take tokens too."""
    pauses: list[float] = []
    end(scripted(REFUSED, 1), pauses=pauses, quota=Quota(rate_per_s=2))
    assert 0.5 in pauses


def test_plain_function_runs_in_a_pool() -> None:
    """The loop stays free, unless the tool says that it does not block."""

    def act(call: ToolCall) -> str:
        return threading.current_thread().name

    assert "MainThread" not in end(act)["value"]
    assert "MainThread" in end(act, blocking=False)["value"]


@pytest.mark.parametrize("raised", [SystemExit(1), StopIteration(), asyncio.CancelledError(), KeyError("k")], ids=repr)
def test_plain_function_that_raises_anything_ends_its_attempt(raised: BaseException) -> None:
    """No future can carry a StopIteration: the attempt would wait for its timeout."""

    def act(call: ToolCall) -> None:
        raise raised

    result = end(act, retry=Retry(attempts=1))
    assert (result["status"], result["error_type"]) == ("in_doubt", type(raised).__name__)


def test_plain_function_may_hand_back_what_is_to_be_awaited() -> None:
    """A decorated or partial async function looks plain, and its coroutine runs on the loop."""

    async def inner() -> str:
        return threading.current_thread().name

    assert "MainThread" in end(lambda call: inner())["value"]


def key_life(past_ms: int, effect: Any = "keyed", again: bool = False, wait_ms: int = 0) -> dict[str, Any]:
    """The result of a call that is `past_ms` old and waits `wait_ms` at its gate; its key lives for 100 s."""
    now = NOW_MS + past_ms

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += int(seconds * 1000)

    async def run() -> dict[str, Any]:
        tool = app_with(scripted(1), effect, key_ttl_s=100).tools["act"]
        gate = Gate(0.001, lambda: now, sleep, next_ms=now + wait_ms)
        call = CallRun(tool, ask(effect), gate, lambda: now, sleep, None)  # type: ignore[arg-type]
        if again:
            call.note_cut_off()
        return await call.run()

    return asyncio.run(run())


def test_key_that_ends_while_its_call_waits_is_not_used() -> None:
    """40 s are left of 100 after the margin: an attempt whose turn comes later is not made, and nothing is in doubt."""
    assert key_life(0, wait_ms=39_000)["status"] == "done"
    late = [key_life(0, wait_ms=41_000), key_life(41_000)]
    assert [(result["status"], result["attempts"]) for result in late] == [("rejected", [])] * 2
    assert key_life(0, again=True, wait_ms=41_000)["status"] == "in_doubt"
    assert key_life(0, "read", wait_ms=41_000)["status"] == "done"


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


def test_breaker_pauses_each_attempt_until_the_callee_answers_again() -> None:
    """After so many attempts in a row that did not get through, every attempt of the quota key waits; a no is an
    answer."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def enter(gate: Gate, times: int, reached: bool) -> None:
        for _ in range(times):
            await gate.enter()
            gate.note(reached)

    gate = Gate(None, clock, sleep)
    asyncio.run(enter(gate, BREAKER_FAILURES, False))
    assert pauses == []
    asyncio.run(enter(gate, 2, False))
    assert pauses == [BREAKER_PAUSE_S] * 2
    asyncio.run(enter(gate, 2, True))
    assert pauses == [BREAKER_PAUSE_S] * 3


@pytest.mark.parametrize("step", [REFUSED, UNKNOWN], ids=repr)
def test_breaker_counts_attempts_without_an_answer(step: Exception) -> None:
    """Turned away and cut off alike; the pauses of the retries are left out here."""
    pauses: list[float] = []
    attempts = BREAKER_FAILURES + 1
    end(scripted(*[step] * attempts), pauses=pauses, retry=Retry(attempts, base_s=0, max_s=0))
    assert [pause for pause in pauses if pause] == [BREAKER_PAUSE_S]
