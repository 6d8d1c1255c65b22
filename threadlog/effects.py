# SPDX-License-Identifier: Apache-2.0
"""What a handler asked for, written into state and effects: a table, one function for each kind of request."""

from __future__ import annotations

from schemas.cloudevents import child_traceparent
from threadlog import calls, memory
from threadlog.asked import Asked
from threadlog.canonical import digest, text
from threadlog.requests import Call, Reply, Sleep, Spawn, WaitFor
from threadlog.turn import Turn


def carry_out(turn: Turn, asked: list[Asked]) -> None:
    """Carry out every request of a delivery, in the order in which they were asked."""
    for item in asked:
        _CARRY_OUT[type(item.request)](turn, item)


def _reply(turn: Turn, item: Asked) -> None:
    run_id, agent, _ = turn.subject
    words, data = item.content
    reply_id = digest([turn.thread, run_id, item.ordinal, "reply"])[:32]
    turn.effects.append({
        "do": "reply", "thread": turn.thread, "run_id": run_id, "ordinal": item.ordinal, "reply_id": reply_id,
        "text": words, "data": text(data), "agent": agent, "event_id": turn.get("run", "event_id"),
        "event_source": turn.get("run", "event_source"),
        "traceparent": child_traceparent(turn.get("run", "trace", ""), reply_id),
    })  # fmt: skip
    memory.say(turn, {"role": "reply", "text": words, "data": data, "time_ms": turn.now})


def _spawn(turn: Turn, item: Asked) -> None:
    run_id = turn.subject[0]
    target, type_, data = item.content
    signal_id = digest([turn.thread, run_id, item.ordinal, "spawn"])[:32]
    turn.effects.append({
        "do": "signal", "thread": target, "name": "spawn", "from_thread": turn.thread, "run_id": run_id,
        "signal_id": signal_id, "data": text({"type": type_, "data": data}),
        "traceparent": child_traceparent(turn.get("run", "trace", ""), signal_id),
    })  # fmt: skip


def _sleep(turn: Turn, item: Asked) -> None:
    turn.set_timer(f"sleep:{item.ordinal}", turn.now + item.content[0])


def _wait_for(turn: Turn, item: Asked) -> None:
    type_, timeout_ms = item.content
    wait = {"type": type_, "timeout_s": None if timeout_ms is None else timeout_ms / 1000}
    turn.put("run", "waits", {**turn.get("run", "waits", {}), item.ordinal: wait})
    if timeout_ms is not None:
        turn.set_timer(f"wait:{item.ordinal}", turn.now + timeout_ms)


_CARRY_OUT = {Call: calls.open_call, Reply: _reply, Spawn: _spawn, Sleep: _sleep, WaitFor: _wait_for}
