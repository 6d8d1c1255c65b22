# SPDX-License-Identifier: Apache-2.0
"""One call, attempt by attempt, to its end.

An attempt ends as done, failed (the application's final no), refused (proof that it did not run) or unknown (timeout,
reset, crash). Once an attempt of a keyed call was unknown, the call ends only as done or in doubt: whoever hears
"failed" asks again under a new key, and pays twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from threadlog.canonical import NotPlain, check_plain, text
from threadlog.errors import Retryable, ToolError, describe
from threadlog.limits import Limits
from threadlog.tools import KEY_MARGIN_MS, Tool, ToolCall

BREAKER_FAILURES = 10  # so many attempts of a quota key that did not reach the callee, one after the other
BREAKER_PAUSE_S = 1.0
ATTEMPTS_TOLD_MAX = 100  # a result must be readable: what the log does not take would hold its slot for ever

Clock = Callable[[], int]
Sleep = Callable[[float], Awaitable[None]]
Runner = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass
class Gate:
    """Rate and breaker of one quota key; every attempt passes it."""

    rate_per_s: float | None
    clock: Clock
    sleep: Sleep
    next_ms: float = 0.0
    failures: int = 0
    users: int = 0

    async def enter(self) -> None:
        """Wait for this attempt's turn."""
        pause_s = BREAKER_PAUSE_S if self.failures >= BREAKER_FAILURES else 0.0
        if self.rate_per_s is not None:
            now = self.clock()
            self.next_ms = max(self.next_ms, now)
            pause_s = max(pause_s, (self.next_ms - now) / 1000)
            self.next_ms += 1000 / self.rate_per_s
        if pause_s > 0:
            await self.sleep(pause_s)

    def note(self, reached: bool) -> None:
        """Whether the callee gave an answer."""
        self.failures = 0 if reached else self.failures + 1


@dataclass
class Attempted:
    """How one attempt ended."""

    outcome: str
    value: Any = None
    error: BaseException | None = None
    after_s: float = 0.0


class Ticket:
    """An attempt that waits for a thread: who takes it, the thread or the one who waits no more, takes it alone."""

    def __init__(self) -> None:
        self.began_s: float | None = None  # the monotonic clock's
        self._free = [True]

    def take(self) -> bool:
        """Whether it was still free. Thread-safe: `pop` is one step."""
        try:
            return self._free.pop()
        except IndexError:
            return False

    def age_s(self) -> float:
        """For how long the function has run."""
        return 0.0 if self.began_s is None else time.monotonic() - self.began_s


@dataclass
class CallRun:
    """A call under way. `run` returns the ToolResult's fields."""

    tool: Tool[Any, Any]
    ask: dict[str, Any]
    gate: Gate
    clock: Clock
    sleep: Sleep
    blocking: Runner
    over: Callable[[], bool] = lambda: False  # whether another process has answered: then no attempt begins any more
    limits: Limits = field(default_factory=Limits)
    attempts: list[dict[str, Any]] = field(default_factory=list)

    async def run(self) -> dict[str, Any]:
        """Attempt until the call has an end."""
        try:
            arguments = self.tool.arguments(msgspec.json.decode(self.ask["args"]))
        except BaseException as error:  # types of the user's are made here, and raise what they like
            return self.result("in_doubt" if self._unknown() else "rejected", error=error)
        last: Attempted | None = None
        for number in range(1, self.tool.retry.attempts + 1):
            if not await self._admitted():
                break
            last = await self._attempt(number, arguments)
            if last.outcome == "done":
                return self.result("done", value=last.value)
            if last.outcome == "failed":
                settled = not self._unknown() or getattr(last.error, "definite", False)
                return self.result("failed" if settled else "in_doubt", error=last.error)
            if not self._may_wait(last.after_s):
                break
            if number < self.tool.retry.attempts:
                await self.sleep(max(last.after_s, self._pause_s(number)))
        return self._exhausted(last)

    def note_cut_off(self) -> None:
        """Attempt 0: what a process that died may have begun."""
        attempt = {"n": 0, "started_ms": self.ask["asked_ms"], "ended_ms": self.clock(), "outcome": "unknown"}
        self.attempts.append({**attempt, "detail": "cut off by a restart"})

    def result(self, status: str, value: Any = None, error: BaseException | None = None) -> dict[str, Any]:
        """The fields of a ToolResult."""
        return result_of(self.ask, status, self.clock(), self.attempts, value=value, error=error)

    async def _admitted(self) -> bool:
        """Wait for the next attempt's turn. False where the key's life, or the call, is over by then."""
        if self.over() or self._key_ends():
            return False
        await self.gate.enter()
        return not (self.over() or self._key_ends())

    def _may_wait(self, after_s: float) -> bool:
        """Whether a callee may be obeyed that wants to be left alone for so long: the call holds a slot meanwhile. Past
        its deadline, beyond what it would wait by itself, it is a refusal for now, and its agent decides."""
        left_s = (self.ask["deadline_ms"] - self.clock()) / 1000
        return bool(after_s <= max(left_s, self.tool.retry.max_s))

    def _exhausted(self, last: Attempted | None) -> dict[str, Any]:
        error = last.error if last is not None else TimeoutError("the key's life ended before an attempt")
        if not self.attempts:  # nothing ran, here or before a restart: there is nothing to be in doubt about
            return self.result("rejected", error=error)
        if all(attempt["outcome"] == "refused" for attempt in self.attempts):
            return self.result("refused", error=error)
        return self.result("in_doubt" if self._keyed() else "failed", error=error)

    def _keyed(self) -> bool:
        return bool(self.ask["effect"] != "read")

    def _unknown(self) -> bool:
        return self._keyed() and any(attempt["outcome"] == "unknown" for attempt in self.attempts)

    def _key_ends(self) -> bool:
        """Judged by the older of the two times of the ask: a thread's own time can be ahead of every clock."""
        asked_ms = min(self.ask["asked_ms"], self.ask["clock_ms"] or self.ask["asked_ms"])
        return self._keyed() and self.clock() >= asked_ms + self.tool.key_ttl_s * 1000 - KEY_MARGIN_MS

    def _pause_s(self, number: int) -> float:
        """Full jitter, from the key: the same call backs off the same way, different calls spread."""
        draw = hashlib.sha256(f"{self.ask['call_id']}/{number}".encode()).digest()
        share = int.from_bytes(draw[:4], "big") / 2**32
        return share * min(self.tool.retry.max_s, self.tool.retry.base_s * 2.0 ** min(number, 64))

    async def _attempt(self, number: int, arguments: dict[str, Any]) -> Attempted:
        call = ToolCall(
            self.ask["call_id"], self.ask["thread"], self.tool.name, number, self.ask.get("traceparent", ""),
            self.ask["deadline_ms"],
        )  # fmt: skip
        started, ticket = self.clock(), Ticket()
        task = asyncio.ensure_future(self._guarded(call, arguments, ticket))
        try:
            finished, _ = await asyncio.wait({task}, timeout=self.tool.timeout_s)
            if not finished and self.tool.blocking and not ticket.take():  # it got its thread late
                finished, _ = await asyncio.wait({task}, timeout=self.tool.timeout_s - ticket.age_s())
        except asyncio.CancelledError:
            task.cancel()
            raise
        if finished:
            ended = task.result()
        else:  # a tool may swallow its cancellation: it is not waited for
            task.cancel()
            ended = self._cut_off(ticket)
        detail = "" if ended.error is None else describe(ended.error)["message"][:200]
        self.attempts.append(
            {"n": number, "started_ms": started, "ended_ms": self.clock(), "outcome": ended.outcome, "detail": detail}
        )
        self.gate.note(ended.outcome in ("done", "failed"))
        return ended

    def _cut_off(self, ticket: Ticket) -> Attempted:
        within = f"within {self.tool.timeout_s:g} s"
        if self.tool.blocking and ticket.began_s is None:
            return Attempted("refused", error=TimeoutError(f"no thread for a blocking tool {within}"))
        return Attempted("unknown", error=TimeoutError(f"no answer {within}"))

    def _invoke(self, call: ToolCall, arguments: dict[str, Any], ticket: Ticket) -> Any:
        """In a thread, which may have been long in coming."""
        if not ticket.take():
            raise Retryable("nobody waits for this attempt any more")
        if self._key_ends():
            raise Retryable("the key's life ended while the call waited for a thread")
        ticket.began_s = time.monotonic()
        return self.tool.invoke(call, arguments)

    async def _guarded(self, call: ToolCall, arguments: dict[str, Any], ticket: Ticket) -> Attempted:
        """Whatever the user's code does, it ends as a value: an exception here would cost the loop its other calls."""
        try:
            if self.tool.blocking:
                started = (await self.blocking(lambda: _caught(lambda: self._invoke(call, arguments, ticket))))()
            else:
                started = self.tool.invoke(call, arguments)
            return self._done(await started if isinstance(started, Awaitable) else started)
        except Retryable as error:
            return Attempted("refused", error=error, after_s=error.after_s or 0.0)
        except ToolError as error:
            return Attempted("failed", error=error)
        except BaseException as error:  # SystemExit of a tool must not end the TaskManager
            return Attempted("unknown", error=error)

    def _done(self, value: Any) -> Attempted:
        try:
            plain = msgspec.to_builtins(value)
            check_plain(plain, self.limits.depth_levels)
            size = len(text(plain))
        except (TypeError, ValueError, NotPlain, RecursionError) as error:
            return self._unusable(f"the result is no plain JSON: {error}")
        if size > self.limits.value_bytes:
            return self._unusable(f"the result has {size} bytes, {self.limits.value_bytes} are allowed")
        return Attempted("done", value=plain)

    def _unusable(self, why: str) -> Attempted:
        """It ran, but its answer cannot be carried: an effect happened of which the agent cannot be told the value."""
        outcome = "failed" if self.ask["effect"] == "read" else "unknown"
        return Attempted(outcome, error=ToolError(why))


def _caught(function: Callable[[], Any]) -> Callable[[], Any]:
    """Run it; how it ended, to be repeated elsewhere. A future cannot carry every exception, and then never ends."""
    try:
        value = function()
        return lambda: value
    except BaseException as error:
        raised = error

    def again() -> Any:
        raise raised

    return again


def result_of(
    ask: dict[str, Any],
    status: str,
    now_ms: int,
    attempts: list[dict[str, Any]],
    value: Any = None,
    error: BaseException | None = None,
) -> dict[str, Any]:
    """The fields of a ToolResult that answers `ask`. Of too many attempts it tells the first and the last ones."""
    cause = {"type": "", "message": ""} if error is None else describe(error)
    if len(attempts) > ATTEMPTS_TOLD_MAX:
        attempts = [attempts[0], *attempts[1 - ATTEMPTS_TOLD_MAX :]]
    names = ("thread", "run_id", "ordinal", "call_id", "tool", "args_digest", "quota_key", "asked_ms")
    return {
        **{name: ask[name] for name in names}, "status": status, "value": text(value), "error_type": cause["type"],
        "error_message": cause["message"], "attempts": attempts, "finished_ms": now_ms,
    }  # fmt: skip
