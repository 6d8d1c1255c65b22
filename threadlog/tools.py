# SPDX-License-Identifier: Apache-2.0
"""A tool: user code that acts. In a handler it is only asked for; the tools job runs it.

Awaiting `refund(order_id="o-1", amount=5)` in a handler yields a `Call` with plain JSON arguments. The tools job turns
them back into what the annotations say, runs the function and turns its result into plain JSON, all checked with
msgspec.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, get_type_hints, overload

import msgspec

from threadlog.errors import AppError, ToolError
from threadlog.requests import Call

# Of one attempt and one pause, and of attempts: all of them together must be a time that a timer can have.
SECONDS_MAX, ATTEMPTS_MAX, KEY_TTL_S_MAX = 1_000_000, 2**31 - 1, 1_000_000_000
KEY_MARGIN_MS = 60_000  # clocks differ: no attempt so close to the end of a key's life

_BY_NAME = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY})

P = ParamSpec("P")
R = TypeVar("R")


class BadArguments(ToolError):
    """The recorded arguments do not fit the tool's signature; it was not run."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What the callee can take, per quota key (the tool, or the tool and a tenant).

    `rate_per_s` attempts per second (None: any), `concurrency` attempts at once. `strict`: after a restart, wait one
    timeout before what was in flight is fired again, so that the old and the new attempts never overlap.
    """

    rate_per_s: float | None = None
    concurrency: int = 8
    strict: bool = False

    def __post_init__(self) -> None:
        if self.concurrency < 1 or (self.rate_per_s is not None and self.rate_per_s <= 0):
            raise AppError(f"{self}: concurrency from 1, rate_per_s above 0 or None")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often an attempt is made, and the pauses between: full jitter up to base_s · 2ⁿ, at most max_s seconds."""

    attempts: int = 5
    base_s: float = 0.2
    max_s: float = 5.0

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= ATTEMPTS_MAX or not 0 <= self.base_s <= self.max_s <= SECONDS_MAX:
            raise AppError(f"{self}: attempts from 1 to {ATTEMPTS_MAX:,}, 0 <= base_s <= max_s <= {SECONDS_MAX:,}")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a tool is told about its call. `idempotency_key` is the same for every attempt; `attempt` counts from 1."""

    idempotency_key: str
    thread: str
    tool: str
    attempt: int
    traceparent: str
    deadline_ms: int

    @property
    def call_id(self) -> str:
        """A call is named by its key."""
        return self.idempotency_key


@dataclass(frozen=True)
class Tool(Generic[P, R]):
    """A declared tool.

    effect     "read" may repeat at will; "keyed" has an effect; its callee honours the idempotency key for key_ttl_s
    timeout_s  of one attempt; an attempt that runs into it has an unknown end
    tenant     from the arguments: a quota of its own per tenant
    blocking   the function blocks: it runs in one of 32 threads, which an attempt that timed out holds until it returns
    """

    name: str
    effect: str
    fn: Callable[Concatenate[ToolCall, P], Awaitable[R] | R]
    key_ttl_s: float
    quota: Quota
    timeout_s: float
    retry: Retry
    tenant: Callable[[dict[str, Any]], str | None] | None
    blocking: bool

    def __post_init__(self) -> None:
        if not (0 < self.timeout_s <= SECONDS_MAX and 0 < self.key_ttl_s <= KEY_TTL_S_MAX):
            raise AppError(
                f"tool {self.name!r}: timeout_s and key_ttl_s must be above 0, and at most {SECONDS_MAX:,} and "
                f"{KEY_TTL_S_MAX:,}"
            )
        if self.effect != "read" and self.key_ttl_s * 1000 <= KEY_MARGIN_MS:
            raise AppError(
                f"tool {self.name!r}: key_ttl_s={self.key_ttl_s:g} leaves no time for an attempt, as none is made in "
                f"the last {KEY_MARGIN_MS // 1000} s of a key's life"
            )
        if self.blocking and inspect.iscoroutinefunction(self.fn):
            raise AppError(f"tool {self.name!r}: an 'async def' cannot be blocking=True; make it a plain 'def'")
        if not self.signature.parameters:
            raise AppError(f"tool {self.name!r}: its first parameter must be the ToolCall")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Ask for a call; await it in a handler. Raises TypeError where the arguments do not fit the signature."""
        # Nearly every call names all of its arguments; to bind those costs more than all the rest of a call.
        named = kwargs if not args and kwargs.keys() == self._nameable else self._own.bind(*args, **kwargs).arguments
        plain: dict[str, Any] = msgspec.to_builtins(dict(named))
        return Call(self.name, self.effect, plain, self._convert)

    @cached_property
    def signature(self) -> inspect.Signature:
        """The signature of the function."""
        return inspect.signature(self.fn)

    @cached_property
    def _own(self) -> inspect.Signature:
        return self.signature.replace(parameters=list(self.signature.parameters.values())[1:])

    @cached_property
    def _nameable(self) -> frozenset[str] | None:
        """The names of the parameters, where each of them can be given by its name."""
        parameters = self._own.parameters.values()
        return frozenset(self._own.parameters) if all(one.kind in _BY_NAME for one in parameters) else None

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.fn)

    def _convert(self, value: Any) -> R:
        return_type = self._hints.get("return", Any)
        converted: R = msgspec.convert(value, type=return_type)
        return converted

    def arguments(self, args: dict[str, Any]) -> dict[str, Any]:
        """The recorded arguments as the function takes them. Raises BadArguments."""
        try:
            bound = self._own.bind(**args)
            return {
                name: msgspec.convert(value, type=self._hints.get(name, Any)) for name, value in bound.arguments.items()
            }
        except (TypeError, msgspec.ValidationError) as error:
            raise BadArguments(f"{self.name}: {error}") from error

    def invoke(self, call: ToolCall, args: dict[str, Any]) -> Awaitable[R] | R:
        """Start the function; `args` as from `arguments`."""
        fn: Callable[..., Awaitable[R] | R] = self.fn
        return fn(call, **args)


class Declare(Protocol):
    """What `@app.tool(...)` makes of a function. Awaiting the tool gives what the function returns, async or not."""

    # The second also fits an async function, by another R; the first is asked first, so the order decides.
    @overload
    def __call__(self, fn: Callable[Concatenate[ToolCall, P], Awaitable[R]], /) -> Tool[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[ToolCall, P], R], /) -> Tool[P, R]: ...
