# SPDX-License-Identifier: Apache-2.0
"""The life of a call inside its thread: asked, perhaps asked again, closed once.

An effect call belongs to the thread, not to the run: if the run ends first, the call stays open, and what comes of it
is journaled and shown to the next run (`orphans`). A read belongs to its run and ends with it.

Every open call has a deadline. When it passes, the same ask goes out again under the same key (the tools job joins a
call in flight and repeats a finished one under its key, so this is how an effect is queried). After the last ask a read
fails and an effect is in doubt; it is never called failed, because a handler that hears "failed" asks again under a new
key.
"""

from __future__ import annotations

from typing import Any

from schemas.cloudevents import child_traceparent
from threadlog.canonical import digest, text
from threadlog.execution import Asked
from threadlog.requests import Call
from threadlog.turn import Turn

_QUEUE_ALLOWANCE_S = 30  # a call may wait for its quota before its first attempt
_TENANT_CHARS = 200
_KEY_MARGIN_MS = 60_000  # clocks of callee and caller differ; an ask this close to the key's end is not made


def call_key(thread: str, run_id: str, ordinal: str, tool: str, args_digest: str) -> str:
    """The idempotency key of a call: the same on every execution and every attempt, 40 hex digits."""
    return digest([thread, run_id, ordinal, tool, args_digest])[:40]


def open_call(turn: Turn, asked: Asked) -> None:
    """Write a new call into state and effects."""
    request = asked.request
    assert isinstance(request, Call)
    run_id, agent, version = turn.subject
    tool = turn.app.tools[request.tool]
    args_digest = digest(request.args)[:32]
    call_id = call_key(turn.thread, run_id, asked.ordinal, request.tool, args_digest)
    number, previous, current = turn.extend_outbox(call_id) if request.effect != "read" else (0, "", "")
    budget_s = tool.retry.attempts * (tool.timeout_s + tool.retry.max_s) + _QUEUE_ALLOWANCE_S
    ask = {
        "do": "call", "thread": turn.thread, "run_id": run_id, "ordinal": asked.ordinal, "call_id": call_id,
        "tool": request.tool, "effect": request.effect, "args": text(request.args), "args_digest": args_digest,
        "quota_key": _quota_key(tool, request.args), "ask": 1, "asked_ms": turn.now,
        "deadline_ms": turn.now + int(budget_s * 1000), "agent": agent, "version": version,
        "outbox_seq": number, "outbox_prev": previous, "outbox_hash": current,
        "traceparent": child_traceparent(turn.get("run", "trace", ""), call_id),
    }  # fmt: skip
    turn.effects.append(ask)
    turn.put("asks", call_id, ask)
    turn.put("calls", call_id, {
        "run": run_id, "ordinal": asked.ordinal, "tool": request.tool, "effect": request.effect, "ask": 1,
        "digest": args_digest, "asked_ms": turn.now, "key_ttl_ms": int(tool.key_ttl_s * 1000),
        "budget_ms": int(budget_s * 1000),
    })  # fmt: skip
    turn.set_timer(f"call:{call_id}", turn.now + int(budget_s * 1000))


def _quota_key(tool: Any, args: dict[str, Any]) -> str:
    """The tool, or the tool and a tenant: by its digest where no header and no key of Flink could hold its name."""
    try:
        tenant = tool.tenant(args) if tool.tenant is not None else None
        name = "" if tenant is None else f":{tenant}"
        plain = name.isascii() and name.isprintable() and len(name) <= _TENANT_CHARS
        return f"{tool.name}{name if plain else f':{digest(name)[:32]}'}"
    except Exception:  # the author's function chokes on these arguments: the tool itself will say what is wrong
        return str(tool.name)


def close_call(turn: Turn, call_id: str) -> None:
    """Forget an open call and its deadline."""
    turn.delete("calls", call_id)
    turn.delete("asks", call_id)
    turn.cancel_timer(f"call:{call_id}")


def effect_calls_open(turn: Turn, run_id: str) -> bool:
    """Whether the run waits for an effect on the world."""
    return any(call["effect"] != "read" and call["run"] == run_id for _, call in turn.items("calls"))


def leave_calls(turn: Turn, run_id: str) -> None:
    """The run is over: its reads end with it, its effect calls stay with the thread."""
    for call_id, call in sorted(turn.items("calls")):
        if call["run"] != run_id:
            continue
        if call["effect"] == "read":
            close_call(turn, call_id)
        else:
            turn.put("orphans", call_id, {"tool": call["tool"], "call_id": call_id, "status": "open", "value": None})


def forgery(turn: Turn, result: dict[str, Any]) -> str:
    """Why a result cannot be an answer to a call of this thread, or "" if it can."""
    if result["thread"] != turn.thread:
        return f"the result is for thread {result['thread'][:100]!r}"
    key = call_key(turn.thread, result["run_id"], result["ordinal"], result["tool"], result["args_digest"])
    if key != result["call_id"]:
        return f"call {result['call_id'][:40]!r} is not the key of what the result says it answers"
    return ""


def outcome_of(result: dict[str, Any], value: Any) -> dict[str, Any]:
    """A result as the run records it: a value, or the error its handler will see."""
    if result["status"] == "done":
        return {"k": "value", "v": value}
    error = {
        "class": result["status"], "tool": result["tool"], "call_id": result["call_id"],
        "type": result["error_type"], "message": result["error_message"],
    }  # fmt: skip
    return {"k": "error", "v": error}


def unanswered(call_id: str, call: dict[str, Any]) -> dict[str, Any]:
    """The result that the conversation itself gives a call of which nothing more is heard."""
    status = "failed" if call["effect"] == "read" else "in_doubt"
    return {
        "status": status, "tool": call["tool"], "call_id": call_id, "error_type": "NoAnswer",
        "error_message": f"no answer after {call['ask']} asks",
    }  # fmt: skip


def ask_again(turn: Turn, call_id: str, call: dict[str, Any]) -> bool:
    """Send the same ask once more under the same key. False where no ask is left or the key may have died."""
    key_ends = call["asked_ms"] + call["key_ttl_ms"] - _KEY_MARGIN_MS
    if call["ask"] >= turn.limits.call_asks_max or (call["effect"] != "read" and turn.now >= key_ends):
        return False
    ask = turn.get("asks", call_id)
    again = {**ask, "ask": call["ask"] + 1, "deadline_ms": turn.now + call["budget_ms"]}
    turn.effects.append(again)
    turn.put("calls", call_id, {**call, "ask": call["ask"] + 1})
    turn.set_timer(f"call:{call_id}", again["deadline_ms"])
    return True
