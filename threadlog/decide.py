# SPDX-License-Identifier: Apache-2.0
"""What each kind of input means. A table, one function a row; each ends with a verdict.

A refusal is a value in the journal. Nothing here raises on bad input: an exception would make a checkpointed job
restart into the same record for ever.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from threadlog import calls, runs, waiting
from threadlog.canonical import NotPlain, parse
from threadlog.execution import Execution
from threadlog.live import LiveRuns
from threadlog.state import identity
from threadlog.turn import Turn

RUN_COMMAND, SIGNAL, RESULT = "threadlog.RunCommand", "threadlog.Signal", "threadlog.ToolResult"
CHAIN_TIMER = "chain"


def decide(turn: Turn, cache: LiveRuns) -> Execution | None:
    """Handle the input and whatever waits behind it. Returns the live execution of the open run, if there is one."""
    run_id, head = turn.get("run", "id", ""), turn.state.small["core"]["head"]
    live = cache.take(turn.thread, run_id, head)
    live = _KINDS[turn.input.kind](turn, live)
    return _settle(turn, live) if turn.has_written else live  # a refusal lets nothing begin


def _on_poison(turn: Turn, live: Execution | None) -> Execution | None:
    turn.refuse("unreadable", turn.input.reason, dead_letter=True)
    return live


def _on_event(turn: Turn, live: Execution | None) -> Execution | None:
    came = turn.input
    event = {"id": came.id, "source": came.source, "type": came.type, "data": came.data, "trace": came.traceparent}
    spawned = _unpacked(turn, event) if came.type == SIGNAL else None
    if spawned is not None:  # its run is named after this source, so a resend must be recognised by it
        event, came = spawned, replace(came, source=spawned["source"])
        turn.input = came
    if turn.get("seen", identity(came.source, came.id)) is not None:
        turn.refuse("duplicate", "an event with this source and id was handled before")
    elif came.log_time_ms < turn.get("window", "log_ms", 0) - turn.limits.seen_window_ms:
        turn.refuse("too_old", "older than the window in which a resend would be recognised", dead_letter=True)
    elif len(came.value) > turn.limits.event_bytes:
        turn.refuse(
            "oversize", f"{len(came.value)} bytes are over event_bytes {turn.limits.event_bytes}", dead_letter=True
        )
    elif came.topic == "human-feedback":
        turn.refuse("refused", "approvals are not handled by this version", dead_letter=True)
    elif not isinstance(came.data, dict):
        turn.refuse("refused", "an event is a record of fields", dead_letter=True)
    elif came.type == SIGNAL and spawned is None:
        turn.refuse("refused", "a signal that spawns nothing", dead_letter=True)
    elif came.type == RUN_COMMAND:
        return _command(turn, live)
    else:
        return _route(turn, live, event)
    return live


def _unpacked(turn: Turn, signal: dict[str, Any]) -> dict[str, Any] | None:
    """The event that another thread spawned here, or None if the signal is not one."""
    data = signal["data"]
    try:
        name, from_thread = data["name"], data["from_thread"]
        spawned = parse(data["data"], turn.limits.depth_levels)
        type_, body = spawned["type"], spawned["data"]
    except (NotPlain, KeyError, TypeError, UnicodeError):
        return None
    if name != "spawn" or not isinstance(from_thread, str) or not isinstance(type_, str) or not isinstance(body, dict):
        return None
    return {**signal, "source": f"/threadlog/threads/{from_thread}", "type": type_, "data": body}


def _route(turn: Turn, live: Execution | None, event: dict[str, Any]) -> Execution | None:
    """An event goes to who waits for it, else begins a run, else waits or is refused."""
    type_ = event["type"]
    for ordinal, wait in runs.waits(turn):
        if wait["type"] == type_:
            turn.verdict = "resumed"
            runs.meet(turn, ordinal, event)
            return runs.advance(turn, live)
    agent, busy = turn.app.newest.get(type_), turn.get("run", "id") is not None
    if agent is None:
        if busy and type_ in runs.awaits(turn):
            waiting.enqueue(turn, event, "buffered")
        else:
            turn.refuse("refused", f"no agent handles {type_}, and no open run awaits it", dead_letter=True)
    elif not busy and not any(waiting.is_handled(turn, item) for item in turn.get("core", "queue", [])):
        turn.verdict = "began"
        return runs.begin(turn, event)
    elif busy and agent.while_running == "reject":
        turn.refuse("rejected", f"{agent.name} takes no second message while a run is under way")
    else:
        waiting.enqueue(turn, event, "interrupts" if agent.while_running == "interrupt" else "queued")
    return live


def _command(turn: Turn, live: Execution | None) -> Execution | None:
    """A person deals with a parked run."""
    run_id, action = turn.input.data.get("run_id"), turn.input.data.get("action")
    if turn.get("run", "parked") is None or run_id not in ("", turn.get("run", "id")):
        turn.refuse("refused", "there is no such parked run on this thread")
    elif action == "retry":
        turn.verdict = "retried"
        turn.delete("run", "parked")
        return runs.advance(turn, None)
    elif action == "abandon":
        turn.verdict = "abandoned"
        turn.subject = _subject(turn)
        runs.end(turn, "abandoned")
    else:
        turn.refuse("refused", f"a run is retried or abandoned, not {str(action)[:50]!r}")
    return live


def _on_result(turn: Turn, live: Execution | None) -> Execution | None:
    result = turn.input.data
    forged = calls.forgery(turn, result)
    if forged or result["status"] not in ("done", *runs.CALL_ERRORS):
        turn.refuse("forged", forged or f"no result has status {result['status'][:50]!r}", dead_letter=True)
        return live
    try:
        value = parse(result["value"], turn.limits.depth_levels)
    except NotPlain as error:
        turn.refuse("forged", f"the value is no plain JSON: {error}", dead_letter=True)
        return live
    call = turn.get("calls", result["call_id"])
    if call is None:
        _late(turn, result, value)
        return live
    turn.verdict = "resumed"
    return _close(turn, live, call, result, value)


def _late(turn: Turn, result: dict[str, Any], value: Any) -> None:
    """An answer to a call that is closed. One that settles a doubt is news; any other changes nothing."""
    if result["status"] == "done" and turn.get("doubts", result["call_id"]) is not None:
        turn.delete("doubts", result["call_id"])
        turn.effects.append({"do": "late_success", "call_id": result["call_id"], "tool": result["tool"]})
        calls.orphan(turn, result["call_id"], result["tool"], "done", value)
        turn.verdict, turn.reason = "late_success", "a call closed in doubt has happened after all"
    else:
        turn.refuse("late", "the call is closed", dead_letter=True)


def _close(
    turn: Turn, live: Execution | None, call: dict[str, Any], result: dict[str, Any], value: Any
) -> Execution | None:
    """The first result in the log wins: close the call and let its run go on, if that still waits."""
    call_id, result = result["call_id"], calls.believed(call, result)
    calls.close_call(turn, call_id)
    turn.effects.append({"do": "close_call", "call_id": call_id, "tool": call["tool"], "status": result["status"]})
    if result["status"] == "in_doubt":
        turn.put("doubts", call_id, {"tool": call["tool"], "since_ms": turn.now})
    if turn.get("run", "id") != call["run"]:
        calls.orphan(turn, call_id, call["tool"], result["status"], value)
        turn.verdict, turn.reason = "recorded", "the run that asked is gone"
        return live
    turn.subject = _subject(turn)
    if call["effect"] != "read" and _interrupted(turn):
        calls.orphan(turn, call_id, call["tool"], result["status"], value)
        return live  # `_settle` ends the run: it must not ask for more before the interruption
    runs.record(turn, call["ordinal"], calls.outcome_of(call, result, value))
    return runs.advance(turn, live)


def _on_timer(turn: Turn, live: Execution | None) -> Execution | None:
    timer_id = turn.input.id
    if turn.get("timers", timer_id) != turn.input.log_time_ms:
        turn.refuse("stale", "the timer is not armed for this time")
        return live
    turn.delete("timers", timer_id)
    kind, _, key = timer_id.partition(":")
    return _TIMERS[kind](turn, live, key)


def _call_due(turn: Turn, live: Execution | None, call_id: str) -> Execution | None:
    call = turn.get("calls", call_id)
    if calls.ask_again(turn, call_id, call):
        turn.verdict, turn.subject = "asked_again", _subject(turn)
        return live
    turn.verdict = "gave_up"
    return _close(turn, live, call, calls.unanswered(call_id, call), None)


def _sleep_over(turn: Turn, live: Execution | None, ordinal: str) -> Execution | None:
    turn.verdict = "resumed"
    runs.record(turn, ordinal, {"k": "wake"})
    return runs.advance(turn, live)


def _wait_over(turn: Turn, live: Execution | None, ordinal: str) -> Execution | None:
    turn.verdict = "resumed"
    waits = dict(turn.get("run", "waits", {}))
    wait = waits.pop(ordinal)
    turn.put("run", "waits", waits)
    runs.record(turn, ordinal, {"k": "timeout", "v": wait})
    return runs.advance(turn, live)


def _chain_on(turn: Turn, live: Execution | None, key: str) -> Execution | None:
    turn.verdict = "chained"
    return live


def _subject(turn: Turn) -> tuple[str, str, int]:
    return turn.get("run", "id", ""), turn.get("run", "agent", ""), turn.get("run", "version", 0)


def _interrupted(turn: Turn) -> bool:
    """Whether an interruption waits and may take effect: no effect of the run is under way, and it is not parked."""
    if not any(item[2] and waiting.is_handled(turn, item) for item in turn.get("core", "queue", [])):
        return False
    return turn.get("run", "parked") is None and not calls.effect_calls_open(turn, turn.get("run", "id"))


def _settle(turn: Turn, live: Execution | None) -> Execution | None:
    """Interrupt what is to be interrupted, then begin what waits, up to a limit; a self-timer goes on after that."""
    while turn.get("core", "queue", []):
        if turn.get("run", "id") is not None:
            if not _interrupted(turn):
                break
            turn.subject = _subject(turn)
            runs.end(turn, "interrupted")
            if live is not None:
                live.close()
                live = None
        waiting.drop_unhandled(turn)
        queue = turn.get("core", "queue", [])
        if queue and turn.chained >= turn.chain_runs_max:
            # By the machine's clock: the thread's own time may be ahead of it, and would hold up what waits.
            turn.set_timer(CHAIN_TIMER, min(turn.now, turn.input.clock_ms))
            break
        if queue:
            turn.chained += 1
            live = runs.begin(turn, waiting.take(turn, queue[0]))
    return live


_KINDS = {"event": _on_event, "result": _on_result, "timer": _on_timer, "poison": _on_poison}
_TIMERS = {"call": _call_due, "sleep": _sleep_over, "wait": _wait_over, CHAIN_TIMER: _chain_on}
