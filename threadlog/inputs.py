# SPDX-License-Identifier: Apache-2.0
"""What reaches a thread: one record of an input topic, or one timer that is due. The clock's reading comes with it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from threadlog.canonical import NotPlain, check_plain

Kind = Literal["event", "result", "timer", "poison"]
TIMER_TOPIC = "timer"


class Input(msgspec.Struct, frozen=True):
    """One input of `step`.

    kind         event (agent-events, human-feedback, agent-signals), result (tool-results), timer, or poison: a record
                 of a readable thread whose envelope or value cannot be read; `reason` says why
    topic        the topic without its namespace; "timer" for a timer
    partition, offset, log_time_ms   where and when the log holds it (timer: 0, 0, its due time)
    clock_ms     the operator's clock when it took the record, Unix epoch in milliseconds
    source, id   its CloudEvents identity (timer: id is the timer's id)
    type         full name of its schema
    data         its fields as plain JSON
    schema_id, value   its bytes as the log holds them
    traceparent  W3C trace context, or ""
    """

    kind: Kind
    thread: str
    topic: str
    partition: int
    offset: int
    log_time_ms: int
    clock_ms: int
    source: str = ""
    id: str = ""
    type: str = ""
    data: Any = None
    schema_id: int = 0
    value: bytes = b""
    traceparent: str = ""
    reason: str = ""


def timer(thread: str, timer_id: str, due_ms: int, clock_ms: int) -> Input:
    """The input for a timer that is due."""
    return Input("timer", thread, TIMER_TOPIC, 0, 0, due_ms, clock_ms, id=timer_id)


def unfit(input: Input) -> str:
    """Why a record's fields are no plain JSON, which no reader of ours gives, or ""."""
    if input.kind not in ("event", "result"):
        return ""
    try:
        check_plain([input.source, input.id, input.type, input.traceparent, input.data])
    except NotPlain as error:
        return str(error)
    return ""


def poison(input: Input, reason: str) -> Input:
    """The same record as one that cannot be read."""
    return replace(input, kind="poison", source="", id="", type="", data=None, traceparent="", reason=reason)
