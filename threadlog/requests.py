# SPDX-License-Identifier: Apache-2.0
"""What a handler can await. Awaiting a request hands it to the engine; nothing happens before.

There is no event loop: `__await__` yields the request itself up to whoever drives the coroutine with `send`. A request
is good for one await, like a coroutine; its ordinal (its place in the run) is given when it is awaited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, Literal, TypeVar, overload

R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


class Request(Generic[R]):
    """One durable point of a handler."""

    __slots__ = ("_awaited",)
    kind = "request"

    def __init__(self) -> None:
        self._awaited = False

    def __await__(self) -> Generator[Request[Any], Any, R]:
        if self._awaited:
            raise RuntimeError(f"this {self.kind} was awaited before: make a new one for each use")
        self._awaited = True
        result: R = yield self
        return result


class Call(Request[R]):
    """One use of a tool. `args` is plain JSON; `convert` turns the recorded JSON into the tool's return type."""

    __slots__ = ("args", "convert", "effect", "tool")
    kind = "call"

    def __init__(self, tool: str, effect: str, args: dict[str, Any], convert: Callable[[Any], R] | None = None) -> None:
        super().__init__()
        self.tool, self.effect, self.args, self.convert = tool, effect, args, convert


class Sleep(Request[None]):
    """Wait for so many seconds of the engine's time."""

    __slots__ = ("seconds",)
    kind = "sleep"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class WaitFor(Request[R]):
    """Wait for the next event of a type on this thread."""

    __slots__ = ("timeout_s", "type")
    kind = "wait"

    def __init__(self, type: str, timeout_s: float | None) -> None:
        super().__init__()
        self.type, self.timeout_s = type, timeout_s


class Reply(Request[None]):
    """Say something to whoever follows the thread."""

    __slots__ = ("data", "text")
    kind = "reply"

    def __init__(self, text: str, data: Any = None) -> None:
        super().__init__()
        self.text, self.data = text, data


class Spawn(Request[None]):
    """Send an event to another thread; it is not awaited further."""

    __slots__ = ("data", "thread", "type")
    kind = "spawn"

    def __init__(self, thread: str, type: str, data: dict[str, Any]) -> None:
        super().__init__()
        self.thread, self.type, self.data = thread, type, data


class Gather(Request[R]):
    """Several branches at once; see `gather`."""

    __slots__ = ("branches", "return_exceptions")
    kind = "gather"

    def __init__(self, branches: tuple[Awaitable[Any], ...], return_exceptions: bool) -> None:
        super().__init__()
        self.branches, self.return_exceptions = branches, return_exceptions


# Up to four branches keep a type each; more are typed by what they have in common.
@overload
def gather(a: Awaitable[A], /, *, return_exceptions: Literal[False] = False) -> Gather[tuple[A]]: ...
@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], /, *, return_exceptions: Literal[False] = False
) -> Gather[tuple[A, B]]: ...
@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /, *, return_exceptions: Literal[False] = False
) -> Gather[tuple[A, B, C]]: ...
@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /, *, return_exceptions: Literal[False] = False
) -> Gather[tuple[A, B, C, D]]: ...
@overload
def gather(a: Awaitable[A], /, *, return_exceptions: bool) -> Gather[tuple[A | BaseException]]: ...
@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], /, *, return_exceptions: bool
) -> Gather[tuple[A | BaseException, B | BaseException]]: ...
@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /, *, return_exceptions: bool
) -> Gather[tuple[A | BaseException, B | BaseException, C | BaseException]]: ...
@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /, *, return_exceptions: bool
) -> Gather[tuple[A | BaseException, B | BaseException, C | BaseException, D | BaseException]]: ...
@overload
def gather(*branches: Awaitable[A], return_exceptions: Literal[False] = False) -> Gather[tuple[A, ...]]: ...
@overload
def gather(*branches: Awaitable[A], return_exceptions: bool) -> Gather[tuple[A | BaseException, ...]]: ...
def gather(*branches: Awaitable[Any], return_exceptions: bool = False) -> Gather[Any]:
    """Run branches side by side and return their results in the order given.

    Fails like asyncio's: the first error goes to the caller at once, the other branches go on until the handler ends.
    Effect calls are never cancelled. Ordinals follow the branch, not the order of arrival.
    """
    return Gather(branches, return_exceptions)


def sleep(seconds: float) -> Sleep:
    """Wait for `seconds` of the engine's time; survives any restart."""
    return Sleep(seconds)
