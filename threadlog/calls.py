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
from threadlog.asked import Asked
from threadlog.canonical import canonical, copy, digest, text
from threadlog.tools import KEY_MARGIN_MS
from threadlog.turn import Turn

_QUEUE_ALLOWANCE_S = 30  # a call may wait for its quota before its first attempt
_TENANT_CHARS = 200
# Doubts that one entry forgets; it has to hold their names, some 40 bytes each. The rest goes with the next snapshot.
FORGOTTEN_MAX = 5_000


def call_key(thread: str, run_id: str, ordinal: str, tool: str, args_digest: str) -> str:
    """The idempotency key of a call: the same on every execution and every attempt, 40 hex digits."""
    return digest([thread, run_id, ordinal, tool, args_digest])[:40]


def open_call(turn: Turn, asked: Asked) -> None:
    """Write a new call into state and effects."""
    name, effect, args = asked.content
    run_id, agent, version = turn.subject
    tool = turn.app.tools[name]
    args_digest = digest(args)[:32]
    call_id = call_key(turn.thread, run_id, asked.ordinal, name, args_digest)
    number, previous, current = turn.extend_outbox(call_id) if effect != "read" else (0, "", "")
    asked_ms = _latest(turn)
    budget_s = tool.retry.attempts * (tool.timeout_s + tool.retry.max_s) + _QUEUE_ALLOWANCE_S
    ask = {
        "do": "call", "thread": turn.thread, "run_id": run_id, "ordinal": asked.ordinal, "call_id": call_id,
        "tool": name, "effect": effect, "args": text(args), "args_digest": args_digest,
        "quota_key": _quota_key(tool, args), "ask": 1, "asked_ms": turn.now, "clock_ms": turn.input.clock_ms,
        "deadline_ms": asked_ms + int(budget_s * 1000), "agent": agent, "version": version,
        "outbox_seq": number, "outbox_prev": previous, "outbox_hash": current,
        "traceparent": child_traceparent(turn.get("run", "trace", ""), call_id),
    }  # fmt: skip
    turn.effects.append(ask)
    turn.put("asks", call_id, ask)
    turn.put("calls", call_id, {
        "run": run_id, "ordinal": asked.ordinal, "tool": name, "effect": effect, "ask": 1,
        "digest": args_digest, "asked_ms": asked_ms, "clock_ms": turn.input.clock_ms,
        "key_ttl_ms": int(tool.key_ttl_s * 1000), "budget_ms": int(budget_s * 1000),
    })  # fmt: skip
    turn.set_timer(f"call:{call_id}", ask["deadline_ms"])


def _latest(turn: Turn) -> int:
    """The later of the thread's time and the clock. After an outage a timer has the time when it was due; a deadline
    counted from there would be over before anybody could answer."""
    return max(turn.now, turn.input.clock_ms)


def _quota_key(tool: Any, args: dict[str, Any]) -> str:
    """The tool, or the tool and a tenant: by its digest where no header and no key of Flink could hold its name."""
    try:
        tenant = tool.tenant(args) if tool.tenant is not None else None
        name = "" if tenant is None else f":{tenant}"
        plain = name.isascii() and name.isprintable() and len(name) <= _TENANT_CHARS
        return f"{tool.name}{name if plain else f':{digest(name)[:32]}'}"
    except KeyboardInterrupt:
        raise
    except BaseException:  # the author's function chokes on these arguments: the tool itself will say what is wrong
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
            orphan(turn, call_id, call["tool"], "open")


def forget_doubts(turn: Turn) -> None:
    """Remember the newest of the calls that were closed in doubt, and no more than `doubts_max`.

    Reads a map section whole, so it is for turns that make a snapshot, which does so anyway. To forget a doubt is safe:
    the call stays closed, and a success that comes later still is a dead letter instead of news for the thread."""
    there = [(d["since_ms"], id) for id, d in turn.state.maps.items("doubts") if turn.get("doubts", id) is not None]
    excess = max(0, len(there) - turn.limits.doubts_max)
    for _, call_id in sorted(there)[: min(excess, FORGOTTEN_MAX)]:
        turn.delete("doubts", call_id)


def orphan(turn: Turn, call_id: str, tool: str, status: str, value: Any = None) -> None:
    """Keep for the next run how an effect call ended ("open": that it has not) whose run is gone.

    Values lie in a map, up to `orphans_bytes` together; one that is left out is marked, and the journal has it.
    """
    size = 0 if value is None else len(canonical(value))
    kept = sum(other["bytes"] for _, other in turn.items("orphans"))
    one = {"tool": tool, "status": status, "bytes": size}
    if kept + size > turn.limits.orphans_bytes:
        one |= {"bytes": 0, "left_out": True}
    elif value is not None:
        turn.put("orphan_values", call_id, value)
    turn.put("orphans", call_id, one)


def orphan_value(turn: Turn, shown: dict[str, Any]) -> Any:
    """A copy of the value that the open run was shown. A call that ends meanwhile is news for the next run."""
    return copy(turn.get("orphan_values", shown["call_id"])) if shown["status"] == "done" else None


def forgery(turn: Turn, result: dict[str, Any]) -> str:
    """Why a result cannot be an answer to a call of this thread, or "" if it can."""
    if type(result) is not dict or any(type(result.get(name)) is not str for name in _RESULT_FIELDS):
        return f"a result has the fields {', '.join(_RESULT_FIELDS)}"
    if result["thread"] != turn.thread:
        return f"the result is for thread {result['thread'][:100]!r}"
    key = call_key(turn.thread, result["run_id"], result["ordinal"], result["tool"], result["args_digest"])
    if key != result["call_id"]:
        return f"call {result['call_id'][:40]!r} is not the key of what the result says it answers"
    return ""


# The statuses which tell the handler that it may ask for the effect again, under a new key.
DID_NOT_HAPPEN = frozenset({"failed", "refused", "rejected"})
_RESULT_FIELDS = (
    "thread", "run_id", "ordinal", "call_id", "tool", "args_digest", "status", "value", "error_type", "error_message",
)  # fmt: skip


def believed(call: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The result as it may be believed. "It did not happen" is no answer to an effect that was asked for again: the
    later ask may reach the tool behind this answer, and is tried under the same key."""
    if call["effect"] == "read" or call["ask"] == 1 or result["status"] not in DID_NOT_HAPPEN:
        return result
    return {**result, "status": "in_doubt"}


def outcome_of(call: dict[str, Any], result: dict[str, Any], value: Any) -> dict[str, Any]:
    """A result as the run records it: a value, or the error its handler will see; of an effect, with what it was."""
    known = {} if call["effect"] == "read" else {"call": result["call_id"], "tool": call["tool"]}
    if result["status"] == "done":
        return {"k": "value", "v": value, **known}
    error = {
        "class": result["status"], "tool": result["tool"], "call_id": result["call_id"],
        "type": result["error_type"], "message": result["error_message"],
    }  # fmt: skip
    return {"k": "error", "v": error, **known}


def unanswered(call_id: str, call: dict[str, Any]) -> dict[str, Any]:
    """The result that the conversation itself gives a call of which nothing more is heard."""
    status = "failed" if call["effect"] == "read" else "in_doubt"
    return {
        "status": status, "tool": call["tool"], "call_id": call_id, "error_type": "NoAnswer",
        "error_message": f"no answer after {call['ask']} asks",
    }  # fmt: skip


def ask_again(turn: Turn, call_id: str, call: dict[str, Any]) -> bool:
    """Send the same ask once more under the same key. False where no ask is left or the key may have died."""
    latest = _latest(turn)
    # By both clocks: the thread's time stands still while the operator's clock catches up with it.
    age_ms = max(latest - call["asked_ms"], turn.input.clock_ms - call["clock_ms"])
    key_may_be_dead = call["effect"] != "read" and age_ms >= call["key_ttl_ms"] - KEY_MARGIN_MS
    if call["ask"] >= turn.limits.call_asks_max or key_may_be_dead:
        return False
    ask = turn.get("asks", call_id)
    again = {**ask, "ask": call["ask"] + 1, "deadline_ms": latest + call["budget_ms"]}
    turn.effects.append(again)
    turn.put("calls", call_id, {**call, "ask": call["ask"] + 1})
    turn.set_timer(f"call:{call_id}", again["deadline_ms"])
    return True
