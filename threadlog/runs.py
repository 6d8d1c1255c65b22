# SPDX-License-Identifier: Apache-2.0
"""The life of a run inside a step: begun by an event, advanced delivery by delivery, ended once.

The record of a run is its event and its outcomes, numbered as they came (`steps`). Outcome n also holds what the
handler had asked for just before it, so that a handler which is executed again can be compared item by item. `run.done`
counts the deliveries whose effects are in the journal; a run that is parked keeps collecting outcomes that are not
delivered yet.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from schemas.cloudevents import child_traceparent, root_traceparent
from threadlog import calls, memory, waiting
from threadlog.app import Handler
from threadlog.asked import Allowed, Asked
from threadlog.canonical import canonical, copy, digest
from threadlog.effects import carry_out
from threadlog.errors import (
    CallError,
    CallRejected,
    InDoubt,
    LimitError,
    NondeterminismError,
    ToolFailed,
    ToolRefused,
    WaitTimeout,
    describe,
)  # fmt: skip
from threadlog.execution import Execution
from threadlog.requests import Call
from threadlog.thread import Clock, Event, Thread
from threadlog.turn import Turn

CALL_ERRORS: dict[str, type[CallError]] = {
    "failed": ToolFailed, "refused": ToolRefused, "rejected": CallRejected, "in_doubt": InDoubt,
}  # fmt: skip


def begin(turn: Turn, event: dict[str, Any]) -> Execution | None:
    """Begin a run for an event and advance it. Returns the live execution if it waits."""
    agent = turn.app.newest[event["type"]]
    run_id = digest([turn.thread, event["source"], event["id"], agent.name])[:32]
    trace = event["trace"] or root_traceparent(turn.thread, event["source"], event["id"])
    known = [_shown(call_id, orphan) for call_id, orphan in sorted(turn.items("orphans"))]
    run = {
        "id": run_id, "agent": agent.name, "version": agent.version, "now": turn.now, "done": 0, "steps": 0,
        "asked": [], "base": {}, "waits": {}, "known": known, "event_id": event["id"], "event_source": event["source"],
        "trace": child_traceparent(trace, run_id),
        "history": [turn.get("core", "history_first", 0), turn.get("core", "history_next", 0)],
    }  # fmt: skip
    for key, value in run.items():
        turn.put("run", key, value)
    for orphan in known:  # shown to this run; what is still open stays listed until it closes
        if orphan["status"] != "open":
            turn.delete("orphans", orphan["call_id"])
    turn.put("steps", "event", event)
    turn.subject = (run_id, agent.name, agent.version)
    turn.effects.append({"do": "begin_run", "run_id": run_id, "agent": agent.name, "version": agent.version})
    memory.say(turn, {"role": "event", "type": event["type"], "data": event["data"], "time_ms": turn.now})
    return advance(turn, None)


def _shown(call_id: str, orphan: dict[str, Any]) -> dict[str, Any]:
    """What a run is told of an effect call whose run is gone, but for its value: that stays in its map."""
    shown = {"tool": orphan["tool"], "call_id": call_id, "status": orphan["status"]}
    return {**shown, "left_out": True} if orphan.get("left_out") else shown


def record(turn: Turn, ordinal: str, outcome: dict[str, Any]) -> None:
    """Append an outcome to the open run; `advance` delivers it."""
    number = turn.get("run", "steps", 0)
    turn.put("steps", str(number), {"p": ordinal, "t": turn.now, **outcome})
    turn.put("run", "steps", number + 1)


def advance(turn: Turn, live: Execution | None) -> Execution | None:
    """Deliver what is recorded and not delivered. Returns the execution if it waits, None if it ended or is parked."""
    run = turn.small("run")
    turn.subject = (run["id"], run["agent"], run["version"])
    if run.get("parked") is not None:
        return None
    if turn.held is not None:
        park(turn, turn.held)
        return None
    execution = live
    try:
        execution = execution if execution is not None else execute_again(turn, run)
        execution.past.turn = turn
        return _deliver_all(turn, execution)
    except (NondeterminismError, LimitError, VersionMissing) as error:
        if execution is not None:
            execution.close()
        park(turn, error)
        return None
    finally:
        if execution is not None:
            execution.past.turn = None


class VersionMissing(Exception):
    """The code at hand lacks the handler version that began the run."""


def park(turn: Turn, error: BaseException) -> None:
    """Stop the run where it stands, visibly; a person retries it on other code or abandons it."""
    cause = describe(error)
    turn.put("run", "parked", {**cause, "since_ms": turn.now})
    turn.effects.append({"do": "park_run", "run_id": turn.subject[0], "error": cause})


def end(turn: Turn, status: str, error: BaseException | None = None) -> None:
    """End the open run: `status` is finished, failed, interrupted or abandoned."""
    run, unheard = turn.small("run"), list[dict[str, Any]]()
    for number in range(max(0, run["done"] - 1), run["steps"]):  # recorded, and never delivered
        outcome = turn.get("steps", str(number))
        if "call" in outcome:
            ended, value = (outcome["v"]["class"], None) if outcome["k"] == "error" else ("done", outcome["v"])
            calls.orphan(turn, outcome["call"], outcome["tool"], ended, value)
        elif outcome["k"] == "event":
            unheard.append(outcome["v"])
    for one in run["known"]:
        if one["status"] == "done":
            turn.delete("orphan_values", one["call_id"])
    calls.leave_calls(turn, run["id"])
    for timer_id, _ in sorted(turn.items("timers")):
        if timer_id.startswith(("sleep:", "wait:")):
            turn.cancel_timer(timer_id)
    for key in ["event", *map(str, range(run["steps"]))]:
        turn.delete("steps", key)
    for key in run:
        turn.delete("run", key)
    note = {"do": "end_run", "run_id": run["id"], "agent": run["agent"], "status": status}
    turn.effects.append(note if error is None else {**note, "error": describe(error)})
    waiting.put_back(turn, unheard)
    memory.forget_old_history(turn)


def _deliver_all(turn: Turn, execution: Execution) -> Execution | None:
    while True:
        done, steps = turn.get("run", "done", 0), turn.get("run", "steps", 0)
        if done > steps:
            return execution
        asked = execution.start() if done == 0 else _deliver(turn, execution, done - 1)
        if isinstance(execution.error, LimitError):
            raise execution.error
        error = execution.error if execution.error is not None else memory.save_vars(turn, execution.vars)
        carry_out(turn, asked)
        turn.put("run", "done", done + 1)
        turn.put("run", "asked", [item.descriptor for item in asked])
        if execution.finished or error is not None:
            execution.close()
            end(turn, "finished" if error is None else "failed", error)
            return None
        _meet_waiting_events(turn, execution)


def _deliver(turn: Turn, execution: Execution, number: int) -> list[Asked]:
    outcome = turn.get("steps", str(number))
    asked = turn.get("run", "asked", [])
    turn.put("steps", str(number), {**outcome, "a": asked})
    return _hand_over(execution, outcome)


def _hand_over(execution: Execution, outcome: dict[str, Any]) -> list[Asked]:
    request = execution.waiting.get(outcome["p"])
    value, error = _as_python(request, outcome)
    return execution.deliver(outcome["p"], value, error, outcome["t"])


def _as_python(request: Any, outcome: dict[str, Any]) -> tuple[Any, BaseException | None]:
    """A recorded outcome as the handler sees it: a value of its own, or the error to raise."""
    raw: Any = outcome.get("v")
    match outcome["k"]:
        case "value":
            try:
                return (
                    request.convert(copy(raw)) if isinstance(request, Call) and request.convert else copy(raw)
                ), None
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # the tool's return type has changed since: the handler hears of it
                return None, error
        case "error":
            return None, CALL_ERRORS[raw["class"]](raw["tool"], raw["call_id"], raw["type"], raw["message"])
        case "event":
            return Event(raw["id"], raw["source"], raw["type"], outcome["t"], copy(raw["data"])), None
        case "timeout":
            return None, WaitTimeout(raw["type"], raw["timeout_s"])
        case _:
            return None, None


def execute_again(turn: Turn, run: dict[str, Any]) -> Execution:
    """A fresh execution, brought to where the journal is; raises NondeterminismError where the code differs."""
    agent = turn.app.agents.get((run["agent"], run["version"]))
    if agent is None:
        raise VersionMissing(
            f"agent {run['agent']!r} version {run['version']} began this run but is not in the app: deploy code with it"
        )
    event = turn.get("steps", "event")
    clock = Clock(run["now"])
    variables = memory.vars_at_start(turn, run["base"])
    past = memory.Past(run["history"], turn)
    known = [{**one, "value": calls.orphan_value(turn, one)} for one in run["known"]]
    thread = Thread(turn.thread, run["id"], variables, known, clock, past.read)
    view = Event(event["id"], event["source"], event["type"], run["now"], copy(event["data"]))
    allowed = Allowed(turn.app.tools, (agent.on, *agent.awaits), sum(1 for one in known if one["status"] == "open"))
    size = len(canonical(event["data"]))
    execution = Execution(_call(agent.handler, thread, view), turn.limits, clock, variables, allowed, past, size)
    if run["done"]:
        try:
            _catch_up(turn, run, execution)
        except BaseException:
            execution.close()
            raise
    return execution


async def _call(handler: Handler, thread: Thread, event: Event) -> None:
    """The handler; even its call is user code that may raise, and here it does so inside the run."""
    await handler(thread, event)


def _catch_up(turn: Turn, run: dict[str, Any], execution: Execution) -> None:
    asked = execution.start()
    for number in range(run["done"] - 1):
        outcome = turn.get("steps", str(number))
        _compare(f"outcome {number}", outcome["a"], asked)
        asked = _hand_over(execution, outcome)
    _compare("its last step", run["asked"], asked)
    if execution.finished:
        raise NondeterminismError("its last step", "a run that waits", "the end of the handler")
    memory.compare_vars(turn, execution.vars)


def _compare(where: str, recorded: list[str], asked: list[Asked]) -> None:
    now = [item.descriptor for item in asked]
    if now == recorded:
        return
    for index in range(max(len(now), len(recorded))):
        was = recorded[index] if index < len(recorded) else "nothing more"
        is_now = now[index] if index < len(now) else "nothing more"
        if was != is_now:
            raise NondeterminismError(f"request {index} before {where}", f"«{was}»", f"«{is_now}»")


def _meet_waiting_events(turn: Turn, execution: Execution) -> None:
    """An event that came before its `wait_for` is in the queue: hand over the first of the awaited type."""
    if not turn.get("run", "waits"):
        return
    for ordinal, wait in waits(turn):
        item = next((item for item in turn.get("core", "queue", []) if item[1] == wait["type"]), None)
        if item is not None:
            meet(turn, ordinal, waiting.take(turn, item))


def waits(turn: Turn) -> list[tuple[str, dict[str, Any]]]:
    """Every open `wait_for` of the run, (ordinal, what it waits for), by their places in the run."""
    open_waits: dict[str, dict[str, Any]] = turn.get("run", "waits", {})
    return sorted(open_waits.items(), key=lambda pair: [int(part) for part in pair[0].split(".")])


def awaits(turn: Turn) -> Collection[str]:
    """The event types that the open run may come to wait for."""
    agent = turn.app.agents.get((turn.get("run", "agent"), turn.get("run", "version")))
    return turn.app.awaited if agent is None else agent.awaits


def meet(turn: Turn, ordinal: str, event: dict[str, Any]) -> None:
    """Give an event to the `wait_for` at `ordinal`."""
    waits = dict(turn.get("run", "waits", {}))
    del waits[ordinal]
    turn.put("run", "waits", waits)
    turn.cancel_timer(f"wait:{ordinal}")
    record(turn, ordinal, {"k": "event", "v": event})
