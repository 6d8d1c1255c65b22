# SPDX-License-Identifier: Apache-2.0
"""A thread that new code has taken otherwise: its own history, and what each run comes to in it and in the log.

It is given the log's events at their times, and the log's result where the same run asks the same tool for the same.
What the log cannot answer is asked of `answer`, or stays open. Its own timers fire in their time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ops.replay.results import RESULTS, Told, result
from threadlog import App
from threadlog.differences import Differences, outside, outside_differs
from threadlog.engine import Decision, follow, step
from threadlog.entry import Entry
from threadlog.inputs import Input, timer
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.replay import Divergence
from threadlog.state import Small, State
from wire.sealed import sealed

SOURCE = "/threadlog/what-if"
PARTITION = 2**31 - 1  # of results that the log does not hold: no topic has it, so no offset of the log's is in the way
STEPS_MAX = 1_000  # of one thread in a row: an agent that loops must come to an end
_OF_A_CALL = "call:"

Effect = dict[str, Any]
Asked = tuple[str, str, str]  # run, tool, digest of the arguments


class Run(msgspec.Struct):
    """What a run came to in the log and in the other history, from where they part; `entry` is its first one there."""

    entry: Entry
    is_logs: bool = False
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
    results: dict[Asked, list[tuple[str, Told]]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)  # runs with an input that the journal does not hold
    crash: str = ""
    clock_ms: int = 0
    _offset: int = 0

    def told(self, entry: Entry) -> None:
        """What the log says came of its next entry."""
        for run_id, effect in outside(entry.run_id, msgspec.json.decode(entry.effects)):
            self._told(run_id, entry).was.append(effect)
        if entry.run_id:
            self._told(entry.run_id, entry)

    def decided(self, decision: Decision) -> None:
        """A decision of its own."""
        self.state = follow(self.state, decision)
        for run_id, effect in outside(decision.entry.run_id, decision.effects):
            self.runs.setdefault(run_id, Run(decision.entry)).now.append(effect)

    def take(self, entry: Entry, input: Input | None, before: Small, logs: State) -> None:
        """The log's next entry, and the log's state before and after it."""
        self.told(entry)
        self.clock_ms = max(self.clock_ms, entry.input.clock_ms)
        if input is None:
            self.lost.add(entry.run_id)
        elif input.kind == "result" and (status := _closed_as(entry, input.data["call_id"])):
            data = input.data
            told = Told(status, json.loads(data["value"]), data["error_type"], data["error_message"])
            self.results.setdefault(_asked(data), []).append((data["call_id"], told))
        # A record that was read late came in time: timers are held as long.
        self._fire(min(entry.input.clock_ms, entry.input.log_time_ms), before["timers"], logs)
        if input is not None and (input.kind in ("event", "poison") or self._has_timer(input)):
            self._step(input)
        self.go_on(logs)

    def go_on(self, logs: State) -> None:
        """Answer what is open: by the log, if it has an answer or will have one; else by `answer`."""
        for _ in range(STEPS_MAX):
            found = None if self.crash else next(self._answers(logs), None)
            if found is None:
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
        for ask in sorted(asks, key=_order):
            may_come = _asked(ask) in open_there or (ask["effect"] != "read" and ask["run_id"] == run)
            if (told := self._of_the_log(ask, asks)) is not None:
                yield ask, told
            elif ask["call_id"] in self.asked:
                self.unanswered.add(ask["call_id"])  # or the engine took no such answer
            elif not may_come:
                self.asked.add(ask["call_id"])
                if (told := self.answer(self.app, ask)) is not None:
                    yield ask, told
                else:
                    self.unanswered.add(ask["call_id"])

    def _of_the_log(self, ask: Effect, asks: list[Effect]) -> Told | None:
        """The log's result of the same call; else of one like it that is not another one here."""
        found = self.results.get(_asked(ask), [])
        others = {one["call_id"] for one in asks} - {ask["call_id"]}
        for one in sorted(found, key=lambda one: one[0] != ask["call_id"]):
            if one[0] not in others:
                found.remove(one)
                return one[1]
        return None

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

    def _told(self, run_id: str, entry: Entry) -> Run:
        """A run that the log knows, with its first entry there."""
        run = self.runs.setdefault(run_id, Run(entry))
        if not run.is_logs:
            run.entry, run.is_logs = entry, True
        return run


def _order(ask: Effect) -> tuple[int, list[int]]:
    return ask["asked_ms"], [int(number) for number in ask["ordinal"].split(".")]


def _asked(call: dict[str, Any]) -> Asked:
    return call["run_id"], call["tool"], call["args_digest"]


def _closed_as(entry: Entry, call_id: str) -> str:
    """What the log took a result for; "" where it took it for none."""
    effects = msgspec.json.decode(entry.effects)
    return next((e["status"] for e in effects if e["do"] == "close_call" and e["call_id"] == call_id), "")


def compared(history: History, logs: State, run_id: str, run: Run) -> tuple[str, Divergence | None]:
    """How a run compares: same, other, unanswered, unknown or open, and what differs."""
    small, there = history.state.small, logs.small["run"].get("id")
    is_open = small["run"].get("id") == run_id
    stuck = is_open or not run.now  # here, or behind one that is
    if run_id in history.lost:
        return "unknown", None
    if there == run_id:
        return "open", None
    mine = [id for id, ask in history.state.maps.items("asks") if ask["run_id"] == small["run"].get("id")]
    if stuck and not history.unanswered.isdisjoint(mine):
        return "unanswered", None
    if there is not None and (stuck or not _has_ended(run.was)):
        return "open", None  # no time passes behind the log's end
    if history.crash and is_open:
        return "other", _told(run, Differences("crash", history.crash, [], [], []))
    if history.crash and stuck:
        return "unanswered", None
    now = [*run.now, {"do": "end_run", "run_id": run_id, "status": "open"}] if is_open else run.now
    found = outside_differs(run.was, now)
    return ("same", None) if found is None else ("other", _told(run, found))


def _has_ended(effects: list[Effect]) -> bool:
    return any(effect["do"] == "end_run" for effect in effects)


def _told(run: Run, found: Differences) -> Divergence:
    entry, came = run.entry, run.entry.input
    return Divergence(
        entry.thread, entry.seq, entry.kind, entry.verdict, came.topic, came.partition, came.offset, entry.time_ms,
        entry.agent, entry.version, entry.run_id, found,
    )  # fmt: skip
