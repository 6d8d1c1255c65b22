# SPDX-License-Identifier: Apache-2.0
"""Tools, asks and single calls for the tests of attempts and of the reactor."""

from __future__ import annotations

import asyncio
from typing import Any

from threadlog import App, Retry, Retryable, ToolCall, ToolError
from udfs.attempts import CallRun, Gate

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
        "clock_ms": NOW_MS,
        "deadline_ms": NOW_MS + 60_000,
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
