# SPDX-License-Identifier: Apache-2.0
"""How calls end. Real asyncio tools on a real loop; the clock and the pauses are fakes, so nothing waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from tests.udfs.acting import NO, NOW_MS, REFUSED, UNKNOWN, app_with, ask, clock, end, outcomes, scripted
from threadlog import Quota, Retry, Retryable, ToolCall, ToolError
from udfs.attempts import BREAKER_FAILURES, BREAKER_PAUSE_S, CallRun, Gate


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


@pytest.mark.parametrize("after_s", [61, 86_400, float("inf"), float("nan")])
def test_callee_that_wants_too_long_a_pause_has_refused(after_s: float) -> None:
    """A call that waits holds a slot, and its agent has a deadline: past that the agent decides what to do."""
    pauses = list[float]()
    result = end(scripted(Retryable("429", after_s=after_s), 1), pauses=pauses)
    assert (result["status"], outcomes(result), pauses) == ("refused", ["refused"], [])
    assert end(scripted(UNKNOWN, Retryable("429", after_s=after_s), 1))["status"] == "in_doubt"


def test_callee_is_obeyed_as_long_as_a_call_would_wait_by_itself() -> None:
    """An outage may have used up the deadline before the first attempt."""
    pauses = list[float]()
    result = end(scripted(Retryable("429", after_s=90), 1), pauses=pauses, retry=Retry(attempts=3, max_s=90))
    assert (result["status"], pauses) == ("done", [90])


def test_call_that_another_process_has_answered_makes_no_further_attempt() -> None:
    """It is in a pause when that is heard."""
    tool, over = app_with(scripted(UNKNOWN, 1)).tools["act"], list[bool]()

    async def sleep(seconds: float) -> None:
        over.append(True)

    async def blocking(function: Any) -> Any:
        raise AssertionError

    call = CallRun(tool, ask(), Gate(None, clock, sleep), clock, sleep, blocking, lambda: bool(over))
    assert outcomes(asyncio.run(call.run())) == ["unknown"]


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


def key_life(
    past_ms: int, effect: Any = "keyed", again: bool = False, wait_ms: int = 0, **asked: int
) -> dict[str, Any]:
    """The result of a call that is `past_ms` old and waits `wait_ms` at its gate; its key lives for 100 s."""
    now = NOW_MS + past_ms

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += int(seconds * 1000)

    async def run() -> dict[str, Any]:
        tool = app_with(scripted(1), effect, key_ttl_s=100).tools["act"]
        gate = Gate(0.001, lambda: now, sleep, next_ms=now + wait_ms)
        call = CallRun(tool, ask(effect, **asked), gate, lambda: now, sleep, None)  # type: ignore[arg-type]
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


def test_key_ends_by_the_clock_where_its_thread_is_ahead() -> None:
    """A thread's time never goes back: counted from there, a key would be used after its life. An ask of an older
    schema names no clock."""
    assert key_life(41_000, asked_ms=NOW_MS + 3_600_000)["status"] == "rejected"
    assert [key_life(past, clock_ms=0)["status"] for past in (39_000, 41_000)] == ["done", "rejected"]


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
