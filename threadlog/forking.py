# SPDX-License-Identifier: Apache-2.0
"""A thread's history under another id: the same inputs decided again, by today's code, as another thread.

Ids follow from the thread: every run and call has another one there, and results name the call that they answer. So a
result is given to the fork under the id that its call has there, and so are timers of calls and a person's commands.
What the fork decides must be what the thread decided, ids apart; where it is not, the history cannot be forked by this
code: it has changed, or the handler draws chance, which is drawn from the thread's id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from threadlog.app import App
from threadlog.decide import RESULT, RUN_COMMAND
from threadlog.differences import line
from threadlog.engine import Decision, follow, step
from threadlog.entry import Entry
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.recorded import Recorded
from threadlog.state import State, new_state

Encode = Callable[[str, dict[str, Any]], bytes]  # a record of ours in the Confluent wire format
_SHOWN_CHARS = 12  # of an id, in messages


class ForkDiffers(Exception):
    """The fork decides otherwise than the thread did: `seq`, and a line for each effect of both sides."""

    def __init__(self, seq: int, recorded: list[str], now: list[str]) -> None:
        super().__init__(seq, recorded, now)
        self.seq, self.recorded, self.now = seq, recorded, now

    def __str__(self) -> str:
        return f"at seq {self.seq} the fork decides otherwise than the thread did"


@dataclass(eq=False)
class Fork:
    """A thread `thread` that is made of another's entries. `ids` maps its run and call ids to those of the fork."""

    thread: str
    app: App
    encode: Encode
    limits: Limits = field(default_factory=Limits)
    live: LiveRuns = field(default_factory=lambda: LiveRuns(1))
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state: State = new_state(self.thread)
        self._recorded = Recorded(self.app)

    def take(self, entry: Entry, input: Input) -> Entry:
        """Decide the next input of the thread; the entry of the fork. Raises ForkDiffers."""
        app = self._recorded.app_of(replace(entry, app_digest=self.app.digest))
        came = self._translated(input)
        decision = step(self.state, came, app, self.limits, self.live)
        for older in () if decision is None or self._alike(entry, decision) else self._recorded.older(input.type, app):
            tried = step(self.state, came, older, self.limits, self.live)
            decision = tried if tried is not None and self._alike(entry, tried) else decision
        if decision is None or not self._alike(entry, decision):
            now = [] if decision is None else [decision.entry.verdict, *map(line, decision.effects)]
            raise ForkDiffers(entry.seq, [entry.verdict, *map(line, _effects(entry))], now)
        self.state = follow(self.state, decision)
        return decision.entry

    def go_on(self, input: Input) -> Decision:
        """Decide an input that the thread never had, by today's newest versions."""
        decision = step(self.state, input, self.app, self.limits, self.live)
        if decision is None:
            raise ValueError(f"{input.topic}/{input.partition}/{input.offset} was decided before")
        self.state = follow(self.state, decision)
        return decision

    def _translated(self, input: Input) -> Input:
        came = replace(input, thread=self.thread)
        if input.kind == "timer":
            kind, _, key = input.id.partition(":")
            return replace(came, id=f"{kind}:{self.ids.get(key, key)}" if key else input.id)
        if not isinstance(input.data, dict):
            return came
        if input.kind == "result" and self._knows(input.data.get("call_id")):
            data = {**input.data, "thread": self.thread}
            data |= {name: self.ids.get(data[name], data[name]) for name in ("call_id", "run_id")}
            id = input.id.replace(input.data["call_id"], data["call_id"])
            return self._with_data(replace(came, id=id), RESULT, data)
        if input.type == RUN_COMMAND and self._knows(input.data.get("run_id")):
            return self._with_data(came, RUN_COMMAND, {**input.data, "run_id": self.ids[input.data["run_id"]]})
        return came

    def _knows(self, id: Any) -> bool:
        return isinstance(id, str) and id in self.ids

    def _with_data(self, came: Input, type: str, data: dict[str, Any]) -> Input:
        value = self.encode(type, data)
        return replace(came, data=data, value=value, schema_id=int.from_bytes(value[1:5], "big"))

    def _alike(self, entry: Entry, decision: Decision) -> bool:
        """Whether both decide the same but for ids; those that are new are learnt."""
        was, now = _effects(entry), decision.effects
        if entry.verdict != decision.entry.verdict or len(was) != len(now):
            return False
        learnt = dict(self.ids)
        for one, other in zip(was, now, strict=True):
            for name in ("run_id", "call_id"):
                if one.get(name) and other.get(name):
                    learnt.setdefault(one[name], other[name])
        if [_compared(one, learnt) for one in was] != [_compared(other, {}) for other in now]:
            return False
        self.ids = learnt
        return True


def _compared(effect: dict[str, Any], ids: dict[str, str]) -> str:
    """What an effect asks for, with the ids in its words as they are in the fork."""
    if effect["do"] == "dead_letter":
        return str(effect["code"])
    told = line({key: value for key, value in effect.items() if key not in ("call_id", "run_id")})
    for old, new in ids.items():
        if old[:_SHOWN_CHARS] in told:
            told = told.replace(old, new).replace(old[:_SHOWN_CHARS], new[:_SHOWN_CHARS])
    return told


def _effects(entry: Entry) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode(entry.effects)
    return found
