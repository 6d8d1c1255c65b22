# SPDX-License-Identifier: Apache-2.0
"""Errors, sorted by who must act.

    ThreadlogError
    ├── AppError                 the app's author, at load: the app is refused whole
    ├── CallError                the handler: a call ended without a value
    │   ├── ToolFailed           the tool says no, and proves that nothing happened
    │   ├── ToolRefused          every attempt was turned away before it ran
    │   ├── CallRejected         never tried: unknown tool, illegal arguments, full queue
    │   └── InDoubt              it may have happened; nobody knows yet
    ├── WaitTimeout              the handler: the awaited event did not come in time
    ├── LimitError               the handler, else the run is parked: a bound of limits.py was hit
    ├── NondeterminismError      the app's author: the run is parked until the code agrees with the log
    ├── ForeignAwait             the handler's author: I/O belongs in a tool
    ├── ToolError                raised by a tool: a final no of the application
    ├── Retryable                raised by a tool: it did not run, try again
    ├── NotOfThisJournal         the operator: a state was restored that another history has made
    ├── NewerState               the operator: a state or journal of newer code than this
    └── BrokenInvariant          us: a crash, never data

Every error keeps its fields as attributes and survives pickling, because Flink carries errors between processes.
"""

from __future__ import annotations

import re
from typing import Any


class ThreadlogError(Exception):
    """The root of all errors of this package."""


class AppError(ThreadlogError):
    """The app cannot be loaded as it is written."""


class CallError(ThreadlogError):
    """A call ended without a value.

    Fields: `tool` (name), `call_id` (the idempotency key; "" where it was not even asked), `error_type` (name of the
    tool's exception), `message`.
    """

    def __init__(self, tool: str, call_id: str, error_type: str, message: str) -> None:
        super().__init__(tool, call_id, error_type, message)
        self.tool, self.call_id, self.error_type, self.message = tool, call_id, error_type, message

    def __str__(self) -> str:
        asked = f" (call {self.call_id[:12]})" if self.call_id else ""
        return f"{self.tool}: {self.message or self.error_type}{asked}"


class ToolFailed(CallError):
    """The tool ended with an application error; the effect did not happen."""


class ToolRefused(CallError):
    """Every attempt was turned away before it ran (429, connection refused); the effect did not happen."""


class CallRejected(CallError):
    """The call was never tried: unknown tool, illegal arguments, or a queue at its limit."""


class InDoubt(CallError):
    """At least one attempt may have had its effect and no later answer settled it. Do not ask again under a new key
    without finding out: that is how a customer is refunded twice."""


class WaitTimeout(ThreadlogError):
    """No event of the awaited type came before the deadline. Fields: `type`, `timeout_s`."""

    def __init__(self, type: str, timeout_s: float) -> None:
        super().__init__(type, timeout_s)
        self.type, self.timeout_s = type, timeout_s

    def __str__(self) -> str:
        return f"no {self.type} within {self.timeout_s:g} s"


class LimitError(ThreadlogError):
    """A bound of limits.py was hit. Fields: `limit` (its name, unit last), `value`, `maximum`."""

    def __init__(self, limit: str, value: int, maximum: int) -> None:
        super().__init__(limit, value, maximum)
        self.limit, self.value, self.maximum = limit, value, maximum

    def __str__(self) -> str:
        return f"{self.limit}: {self.value} is over the limit of {self.maximum}"


class NondeterminismError(ThreadlogError):
    """A handler, executed again with the recorded results, asked for something else than the log holds."""

    def __init__(self, where: str, recorded: str, asked: str) -> None:
        super().__init__(where, recorded, asked)
        self.where, self.recorded, self.asked = where, recorded, asked

    def __str__(self) -> str:
        return (
            f"at {self.where} the log holds {self.recorded}, the code now asks for {self.asked}: "
            "finish the run on the version that began it, or abandon it"
        )


class ForeignAwait(ThreadlogError):
    """A handler awaited something that is not durable. Field: `what`."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"a handler may only await durable calls, not {self.what}: put I/O in a tool"


class ToolError(ThreadlogError):
    """Raised by a tool: the application refuses, and the effect did not happen. Not retried.

    `definite=True` says that the callee gave this answer for this very idempotency key, so it settles an earlier
    attempt of which nobody knew the end.
    """

    def __init__(self, message: str, *, definite: bool = False) -> None:
        super().__init__(message)
        self.message, self.definite = message, definite


class Retryable(ThreadlogError):
    """Raised by a tool: this attempt was turned away before it ran (429, 503, connection refused); try again.

    `after_s`: not before so many seconds, if the callee said so.
    """

    def __init__(self, message: str, *, after_s: float | None = None) -> None:
        super().__init__(message)
        self.message, self.after_s = message, after_s


class NotOfThisJournal(ThreadlogError):
    """A thread's state was not made of the journal's entries. Fields: `thread`, `seq` (where the state stands)."""

    def __init__(self, thread: str, seq: int) -> None:
        super().__init__(thread, seq)
        self.thread, self.seq = thread, seq

    def __str__(self) -> str:
        return (
            f"the restored state is not of this journal: thread {self.thread[:100]!r} stands at seq {self.seq} with an "
            f"entry that its journal does not have there; rebuild the state from the journal alone"
        )


class NewerState(ThreadlogError):
    """A thread's state is of a version that this code does not know. Fields: `thread`, `version`, `known`."""

    def __init__(self, thread: str, version: int, known: int) -> None:
        super().__init__(thread, version, known)
        self.thread, self.version, self.known = thread, version, known

    def __str__(self) -> str:
        return (
            f"the state of thread {self.thread[:100]!r} is of version {self.version}, this code knows {self.known}: "
            f"run the threadlog that wrote it, or a newer one"
        )


class BrokenInvariant(ThreadlogError):
    """The engine found itself in a state that must not exist."""


def describe(error: BaseException) -> dict[str, Any]:
    """An error as plain JSON for the journal: `{"type", "message"}`, bounded."""
    name = type(error).__name__
    try:
        message = "".join(str(error))  # a plain `str`, whatever its class was
    except BaseException:  # the author's `__str__`, which may even ask to end the process
        message = "<unprintable>"
    text = message.encode("utf-8", "replace").decode("utf-8")
    return {"type": name[:_NAME_CHARS], "message": _ADDRESS.sub("0x…", text)[:500]}


_NAME_CHARS = 100
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")  # of an object in memory: another one in every process
