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

import asyncio
import contextlib
import copy
import inspect
import json
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ops.context import Trouble
from ops.replay.history import Effect, History, compared
from ops.replay.results import Told, told_of
from schemas.errors import Unreadable
from threadlog import App, ToolCall
from threadlog.engine import Decision
from threadlog.entry import Entry
from threadlog.inputs import Input
from threadlog.live import LiveRuns
from threadlog.replay import Divergence, Outcome, Replay
from threadlog.state import MemoryMaps, State
from wire.sealed import sealed

# (call, arguments) → the value, or a coroutine of it. NotImplementedError: not known, the call stays open. Other errors
# are the tool's own.
Answer = Callable[[ToolCall, dict[str, Any]], Any]


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
        self._loop = asyncio.Runner()  # one for all answers: a client may keep its connection

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
        history.app = copy.copy(self.replay.recorded.app_of(entry))
        history.app.agents = {**known, **history.app.agents}
        history.take(entry, input, before, self.replay.states[entry.thread])
        return Outcome("unchecked" if input is None else "tried")

    def unreadable(self, entry: Entry, error: Unreadable) -> Outcome:
        """An entry whose input cannot be read."""
        if entry.thread in self.histories:
            return self.check(entry, None)
        return self.replay.unreadable(entry, error)

    def ends(self) -> Iterator[tuple[str, Divergence | None]]:
        """Of each run that went another way how it compares: same, other, unanswered, unknown or open, and what
        differs. Nothing can be checked after it."""
        for thread, history in self.histories.items():
            logs = self.replay.states[thread]
            history.finish(logs)
            for run_id, run in history.runs.items():
                yield compared(history, logs, run_id, run)
        self._loop.close()

    def _apart(self, entry: Entry, state: State, decision: Decision) -> None:
        maps = MemoryMaps({name: dict(pairs) for name, pairs in state.maps.sections.items()})  # type: ignore[attr-defined]
        app = self.replay.recorded.app_of(entry)
        history = History(State(state.small, maps), app, self.replay.limits, self.live, self._answer)
        history.clock_ms = entry.input.clock_ms
        history.decided(decision)
        self.histories[entry.thread] = history

    def _answer(self, app: App, ask: Effect) -> Told | None:
        tool = app.tools.get(ask["tool"])  # what was open when the code changed may be of none
        call = ToolCall(ask["call_id"], ask["thread"], ask["tool"], ask["ask"], ask["traceparent"], ask["deadline_ms"])

        try:
            told = told_of(
                lambda: self.answer(call, json.loads(ask["args"])), ask["effect"],
                None if tool is None else tool.timeout_s, (NotImplementedError,), self._loop.run,
            )  # fmt: skip
        except NotImplementedError:
            return None
        self.answered[ask["tool"]] += 1
        return told
