# SPDX-License-Identifier: Apache-2.0
"""What a handler asks for, checked and copied at the moment it asks.

Whoever writes a decision down cannot refuse it any more, so the type of every part is checked here, and the branch that
asks hears what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from threadlog.canonical import NotPlain, canonical, check_plain
from threadlog.errors import CallRejected, LimitError
from threadlog.limits import Limits
from threadlog.requests import Call, Gather, Reply, Request, Sleep, Spawn, WaitFor

R = TypeVar("R")


class Asked(msgspec.Struct, frozen=True):
    """One request of a handler with its place in the run.

    `content` is what re-execution must repeat, as it was when it was asked: a copy, because the handler goes on and may
    change what it gave. `descriptor` is short text that is equal exactly if ordinal, kind and content are equal.
    """

    ordinal: str
    request: Request[Any]
    content: Any
    descriptor: str


class Allowed(msgspec.Struct, frozen=True):
    """What the app lets a handler ask for: its tools by name, and the event types it may wait for.

    `calls_open`: effect calls of earlier runs that were open when the run began; they count as its own.
    """

    tools: Mapping[str, Any]
    awaits: tuple[str, ...]
    calls_open: int = 0


def can_be_asked(request: Any) -> bool:
    """Whether this is one of our requests: exactly, because a subclass could answer differently at every look."""
    return type(request) in _CONTENT or type(request) is Gather


def ask(ordinal: str, request: Request[Any], allowed: Allowed, limits: Limits) -> Asked:
    """The request as it is now. Raises what is wrong with it: TypeError, ValueError, LimitError, CallRejected."""
    content = _CONTENT[type(request)](request, allowed, limits)
    check_plain(content, limits.depth_levels)
    raw = canonical(content)
    if len(raw) > limits.value_bytes:
        raise LimitError("value_bytes", len(raw), limits.value_bytes)
    name = content[0] if isinstance(request, Call | WaitFor) else content[1] if isinstance(request, Spawn) else ""
    descriptor = f"{ordinal} {request.kind} {name} {hashlib.sha256(raw).hexdigest()[:12]}"
    return Asked(ordinal, request, msgspec.json.decode(raw), descriptor)


def _call(request: Call[Any], allowed: Allowed, limits: Limits) -> list[Any]:
    tool = allowed.tools.get(_of(str, request.tool, "a tool's name"))
    if tool is None or tool.effect != request.effect:
        raise CallRejected(request.tool, "", "UnknownTool", f"the app has no tool {request.tool!r} of this effect")
    return [request.tool, request.effect, _of(dict, request.args, "a call's arguments")]


def _reply(request: Reply, allowed: Allowed, limits: Limits) -> list[Any]:
    return [_of(str, request.text, "the text of a reply"), request.data]


def _spawn(request: Spawn, allowed: Allowed, limits: Limits) -> list[Any]:
    thread = _of(str, request.thread, "a thread's id")
    size = len(thread.encode("utf-8", "replace"))
    if not 0 < size <= limits.thread_id_bytes or any(map(_is_control, thread)):
        wanted = f"1 to {limits.thread_id_bytes} bytes without control characters"
        raise ValueError(f"{thread[:50]!r} names no thread: {wanted} are needed")
    return [thread, _of(str, request.type, "an event's type"), _of(dict, request.data, "an event's data")]


def _sleep(request: Sleep, allowed: Allowed, limits: Limits) -> list[Any]:
    return [_milliseconds(request.seconds, limits)]


def _wait_for(request: WaitFor[Any], allowed: Allowed, limits: Limits) -> list[Any]:
    if _of(str, request.type, "an event's type") not in allowed.awaits:
        raise ValueError(f"wait_for({request.type!r}): the agent neither handles this type nor lists it in `awaits`")
    return [request.type, None if request.timeout_s is None else _milliseconds(request.timeout_s, limits)]


_CONTENT: dict[type, Any] = {Call: _call, Reply: _reply, Spawn: _spawn, Sleep: _sleep, WaitFor: _wait_for}


def _of(kind: type[R], value: Any, what: str) -> R:
    if type(value) is not kind:
        raise TypeError(f"{what} is a {kind.__name__}, not a {type(value).__name__}")
    return value


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"


def _milliseconds(seconds: float, limits: Limits) -> int:
    check_plain(seconds)
    if type(seconds) not in (int, float):
        raise NotPlain(f"a duration in seconds is a number, not {type(seconds).__name__}")
    if seconds > limits.sleep_s_max:
        raise LimitError("sleep_s_max", int(seconds), limits.sleep_s_max)
    return max(0, round(seconds * 1000))
