# SPDX-License-Identifier: Apache-2.0
"""The result of a call that no tools job ran, as the tools job would have written it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import msgspec

from threadlog import Retryable, ToolError
from threadlog.canonical import NotPlain, check_plain, text
from threadlog.decide import RESULT
from threadlog.inputs import Input

RESULTS = "tool-results"
_OF_THE_ASK = ("thread", "run_id", "ordinal", "call_id", "tool", "args_digest", "quota_key", "asked_ms")

Place = tuple[str, int, int, int, int]  # topic, partition, offset, time of the log, the clock's


class Told(NamedTuple):
    """How a call ended: a status, the value, and of an error its name and message."""

    status: str
    value: Any = None
    error_type: str = ""
    message: str = ""


def fields(ask: dict[str, Any], told: Told, finished_ms: int) -> dict[str, Any]:
    """The fields of the schema `threadlog.ToolResult`, for a call as it was asked."""
    data = {name: ask[name] for name in _OF_THE_ASK}
    data |= {"status": told.status, "value": text(told.value)}
    return data | {
        "error_type": told.error_type, "error_message": told.message, "attempts": [], "finished_ms": finished_ms,
    }  # fmt: skip


def result(ask: dict[str, Any], told: Told, place: Place, source: str) -> Input:
    """The result as an input of its thread, without the bytes of a record."""
    return Input(
        "result", ask["thread"], *place, source=source, id=f"{ask['call_id']}/result/{ask['ask']}", type=RESULT,
        data=fields(ask, told, place[-1]),
    )  # fmt: skip


def told_of(
    run: Callable[[], Any],
    effect: str,
    timeout_s: float | None,
    unless: tuple[type[Exception], ...] = (),
    wait: Callable[[Coroutine[Any, Any, Any]], Any] = asyncio.run,
) -> Told:
    """How a call ends that is run here, once, whether by a function or by a coroutine.

    unless: errors that are the caller's; wait: runs a coroutine to its end."""

    async def within(made: Awaitable[Any]) -> Any:
        return await asyncio.wait_for(made, timeout_s)

    try:
        made = run()
        value = msgspec.to_builtins(wait(within(made)) if inspect.isawaitable(made) else made)
        check_plain(value)
    except unless:
        raise
    except Retryable as error:
        return Told("refused", None, "Retryable", str(error))
    except ToolError as error:
        return Told("failed", None, type(error).__name__, str(error))
    except NotPlain as error:
        return Told("failed", None, "NotPlain", str(error))
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # nobody knows whether it happened
        return Told("failed" if effect == "read" else "in_doubt", None, type(error).__name__, str(error))
    return Told("done", value)
