# SPDX-License-Identifier: Apache-2.0
"""What would have come of it: where new code decides otherwise, its thread goes on as it would have.

    entry ─► Replay, newest code ─► the same: nothing to do
                        └─► otherwise ─► a history of its own: the log's events, its results where the same is asked
                                         of the same tool in the same run, its times; what the log cannot answer is
                                         asked of `answer`, or stays open

At the end what each run came to is compared: effect calls, replies, signals, and how it ended. What a run only read is
no part of that: a prompt that was reworded is no difference, another refund is.

Nothing is performed but `answer`, which is the caller's.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ops.context import Trouble
from ops.replay.results import RESULTS, Told, result, told_of
from schemas.errors import Unreadable
from threadlog import App, ToolCall
from threadlog.differences import Differences, outside, outside_differs
from threadlog.engine import Decision, follow, step
from threadlog.entry import Entry
from threadlog.inputs import Input, timer
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.recorded import Recorded
from threadlog.replay import Divergence, Outcome, Replay
from threadlog.state import MemoryMaps, Small, State
from wire.sealed import sealed

# (call, arguments) → the value, or a coroutine of it. NotImplementedError: not known, the call stays open. Other errors
# are the tool's own.
Answer = Callable[[ToolCall, dict[str, Any]], Any]
SOURCE = "/threadlog/what-if"
PARTITION = 2**31 - 1  # of results that the log does not hold: no topic has it, so no offset of the log's is in the way
STEPS_MAX = 1_000  # of one thread in a row: an agent that loops must come to an end
_OF_A_CALL = "call:"

Effect = dict[str, Any]
Asked = tuple[str, str, str]  # run, tool, digest of the arguments


def load_answer(spec: str) -> Answer:
    """The function `package.module:function`. Raises Trouble."""
    try:
        found = pkgutil.resolve_name(spec)
    except (Exception, SystemExit) as error:
        raise Trouble(f"{spec} cannot be imported: {type(error).__name__}: {error}.") from error
    with contextlib.suppress(TypeError, ValueError):
        inspect.signature(found).bind(None, {})
        return found  # type: ignore[no-any-return]
    raise Trouble(
        f"{spec} answers no calls.", "It takes a threadlog.ToolCall and the arguments, as `answer(call, args)`."
    )


class Run(msgspec.Struct):
    """What a run came to in the log and in the other history, from where they part; `entry` is its first one there."""

    entry: Entry
    was: list[Effect] = []
    now: list[Effect] = []


@dataclass(eq=False)
class History:
    """A thread that has gone its own way. `results` are those of the log that nobody here has asked for yet."""

    state: State
    app: App
    limits: Limits
    live: LiveRuns
    answer: Callable[[App, Effect], Told | None]
    runs: dict[str, Run] = field(default_factory=dict)
    results: dict[Asked, list[Told]] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    crash: str = ""
    clock_ms: int = 0
    _offset: int = 0

    def told(self, entry: Entry) -> None:
        """What the log says came of its next entry."""
        if entry.run_id:
            self.runs.setdefault(entry.run_id, Run(entry))
        self._add(entry, msgspec.json.decode(entry.effects), lambda run: run.was)

    def decided(self, decision: Decision) -> None:
        """A decision of its own."""
        self.state = follow(self.state, decision)
        self._add(decision.entry, decision.effects, lambda run: run.now)

    def take(self, entry: Entry, input: Input | None, before: Small, logs: State) -> None:
        """The log's next entry, and the log's state before and after it."""
        self.told(entry)
        self.clock_ms = max(self.clock_ms, entry.input.clock_ms)
        if input is not None and input.kind == "result" and _closes(entry, input.data["call_id"]):
            data = input.data
            told = Told(data["status"], json.loads(data["value"]), data["error_type"], data["error_message"])
            self.results.setdefault(_asked(data), []).append(told)
        self._fire(entry.input.clock_ms, before["timers"], logs)
        if input is not None and (input.kind in ("event", "poison") or self._has_timer(input)):
            self._step(input)
        self.go_on(logs)

    def go_on(self, logs: State) -> None:
        """Answer what is open: by the log, if it has an answer or will have one; else by `answer`."""
        for _ in range(STEPS_MAX):
            found = next(self._answers(logs), None)
            if found is None or self.crash:
                return
            self._offset += 1
            now = max(self.clock_ms, self.state.small["core"]["now"])
            self._step(result(*found, (RESULTS, PARTITION, self._offset, now, now), SOURCE))
        self.crash = self.crash or f"it asked for more than {STEPS_MAX} calls in a row"

    def finish(self, logs: State) -> None:
        """The log has ended. Unless its thread is under way: let what is left of time pass."""
        if not logs.small["run"]:
            self._fire(None, {}, logs)

    def _answers(self, logs: State) -> Iterator[tuple[Effect, Told]]:
        """A read that the log does not have open is asked at once. An effect may come later in the log, as long as that
        is at the same run."""
        open_there, run = {_asked(ask) for _, ask in logs.maps.items("asks")}, logs.small["run"].get("id")
        asks = [ask for _, ask in self.state.maps.items("asks")]
        for ask in sorted(asks, key=lambda ask: (ask["asked_ms"], ask["ordinal"])):
            may_come = _asked(ask) in open_there or (ask["effect"] != "read" and ask["run_id"] == run)
            if known := self.results.get(_asked(ask)):
                yield ask, known.pop(0)
            elif ask["call_id"] not in self.unanswered and not may_come:
                if (told := self.answer(self.app, ask)) is not None:
                    yield ask, told
                else:
                    self.unanswered.add(ask["call_id"])

    def _fire(self, until_ms: int | None, theirs: dict[str, int], logs: State) -> None:
        """Let own timers fire up to a time; one that the log has too fires when it does there. Those of calls do not:
        an answer that comes late comes from here, not from the tool."""
        for _ in range(STEPS_MAX):
            timers = self.state.small["timers"].items()
            due = [(at, id) for id, at in timers if not id.startswith(_OF_A_CALL) and theirs.get(id) != at]
            if not due or self.crash or (until_ms is not None and min(due)[0] > until_ms):
                return
            at, id = min(due)
            self._step(timer(self._thread, id, at, max(at, self.state.small["core"]["now"])))
            self.go_on(logs)
        self.crash = self.crash or f"more than {STEPS_MAX} timers fired in a row"

    def _has_timer(self, input: Input) -> bool:
        return input.kind == "timer" and input.id in self.state.small["timers"]

    @property
    def _thread(self) -> str:
        return str(self.state.small["core"]["thread"])

    def _step(self, input: Input) -> None:
        if self.crash:
            return
        try:
            with sealed():
                decision = step(self.state, input, self.app, self.limits, self.live)
        except Exception as error:  # of the engine itself, as in a replay
            self.crash = f"{type(error).__name__}: {error}"
            return
        if decision is not None:
            self.decided(decision)

    def _add(self, entry: Entry, effects: list[Effect], side: Callable[[Run], list[Effect]]) -> None:
        for run_id, effect in outside(entry.run_id, effects):
            side(self.runs.setdefault(run_id, Run(entry))).append(effect)


@dataclass(eq=False)
class WhatIf:
    """Any number of threads. `replay` follows the log; `answered` counts the calls that were answered, by tool."""

    app: App
    answer: Answer
    live: LiveRuns
    answered: Counter[str] = field(default_factory=Counter)
    histories: dict[str, History] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.replay = Replay(self.app, live=self.live, newest=True, apart=self._apart)
        self._recorded = Recorded(self.app, newest=True)

    def check(self, entry: Entry, input: Input | None) -> Outcome:
        """Decide an entry again, or what it is to the other history of its thread."""
        history = self.histories.get(entry.thread)
        if history is None:
            with sealed():
                outcome = self.replay.check(entry, input)
            if (history := self.histories.get(entry.thread)) is None:
                return outcome
            history.told(entry)
            history.go_on(self.replay.states[entry.thread])
            return Outcome("tried")
        before = self.replay.states[entry.thread].small
        if (standing := self.replay.follow(entry)) != "followed":
            return Outcome(standing)
        known = history.app.agents
        history.app = copy.copy(self._recorded.app_of(entry))
        history.app.agents = {**known, **history.app.agents}
        history.take(entry, input, before, self.replay.states[entry.thread])
        return Outcome("tried")

    def unreadable(self, entry: Entry, error: Unreadable) -> Outcome:
        """An entry whose input cannot be read."""
        if entry.thread in self.histories:
            return self.check(entry, None)
        return self.replay.unreadable(entry, error)

    def ends(self) -> Iterator[tuple[str, Divergence | None]]:
        """Of each run that went another way how it compares: same, other, unanswered or open, and what differs."""
        for thread, history in self.histories.items():
            logs = self.replay.states[thread]
            history.finish(logs)
            for run_id, run in history.runs.items():
                yield _compared(history, logs, run_id, run)

    def _apart(self, entry: Entry, state: State, decision: Decision) -> None:
        maps = MemoryMaps({name: dict(pairs) for name, pairs in state.maps.sections.items()})  # type: ignore[attr-defined]
        app = self._recorded.app_of(entry)
        history = History(State(state.small, maps), app, self.replay.limits, self.live, self._answer)
        history.clock_ms = entry.input.clock_ms
        history.decided(decision)
        self.histories[entry.thread] = history

    def _answer(self, app: App, ask: Effect) -> Told | None:
        tool, known = app.tools.get(ask["tool"]), True  # what was open when the code changed may be of none
        call = ToolCall(ask["call_id"], ask["thread"], ask["tool"], ask["ask"], ask["traceparent"], ask["deadline_ms"])

        def run() -> Any:
            nonlocal known
            try:
                return self.answer(call, json.loads(ask["args"]))
            except NotImplementedError:
                known = False

        told = told_of(run, ask["effect"], tool.timeout_s if tool is not None else None)
        if not known:
            return None
        self.answered[ask["tool"]] += 1
        return told


def _asked(call: dict[str, Any]) -> Asked:
    return call["run_id"], call["tool"], call["args_digest"]


def _closes(entry: Entry, call_id: str) -> bool:
    """Whether the log took the result."""
    effects = msgspec.json.decode(entry.effects)
    return any(effect["do"] == "close_call" and effect["call_id"] == call_id for effect in effects)


def _compared(history: History, logs: State, run_id: str, run: Run) -> tuple[str, Divergence | None]:
    if history.crash:
        return "other", _told(run, Differences("crash", history.crash, [], [], []))
    if logs.small["run"].get("id") == run_id:
        return "open", None
    mine = history.state.small["run"].get("id")
    waits = bool(mine) and any(id in history.unanswered for id, _ in history.state.maps.items("asks"))
    if waits and (mine == run_id or not run.now):
        return "unanswered", None
    now = [*run.now, {"do": "end_run", "run_id": run_id, "status": "open"}] if mine == run_id else run.now
    found = outside_differs(run.was, now)
    return ("same", None) if found is None else ("other", _told(run, found))


def _told(run: Run, found: Differences) -> Divergence:
    entry, came = run.entry, run.entry.input
    return Divergence(
        entry.thread, entry.seq, entry.kind, entry.verdict, came.topic, came.partition, came.offset, entry.time_ms,
        entry.agent, entry.version, entry.run_id, found,
    )  # fmt: skip
