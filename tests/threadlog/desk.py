# SPDX-License-Identifier: Apache-2.0
"""A thread in memory with a world around it: sends events, answers calls, lets timers fire, keeps the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from threadlog import App, Event, Quota, Thread
from threadlog.app import Handler
from threadlog.canonical import text
from threadlog.engine import Decision, apply, follow, step
from threadlog.entry import Entry
from threadlog.inputs import Input, timer
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.requests import Call
from threadlog.state import State, new_state
from threadlog.tools import ToolCall

BEGAN_MS = 1_700_000_000_000


def look(what: str) -> Call[Any]:
    """A read."""
    return Call("look", "read", {"what": what})


def pay(amount: int) -> Call[Any]:
    """An effect."""
    return Call("pay", "keyed", {"amount": amount})


async def refund(thread: Thread, event: Event) -> None:
    """A handler with one of each."""
    order = await look(event["order"])
    receipt = await pay(order["total"])
    await thread.reply(f"paid {receipt}")


def app_of(handler: Handler, **options: Any) -> App:
    """An app with two tools and this handler on `t.Go`."""
    app = App("test")

    @app.tool(effect="read")
    async def look(call: ToolCall, what: str) -> dict[str, Any]:
        raise AssertionError("the engine must not run tools")

    @app.tool(effect="keyed", quota=Quota(concurrency=1))
    async def pay(call: ToolCall, amount: int) -> int:
        raise AssertionError("the engine must not run tools")

    app.agent(on="t.Go", name="go", awaits=("t.More",), **options)(handler)
    return app


@dataclass
class Desk:
    """One thread of an app, `t` unless it is named otherwise."""

    app: App
    limits: Limits = field(default_factory=Limits)
    cache: LiveRuns = field(default_factory=lambda: LiveRuns(0))
    state: State = field(init=False)
    journal: list[Entry] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    now: int = BEGAN_MS
    offsets: dict[str, int] = field(default_factory=dict)
    name: str = "t"

    def __post_init__(self) -> None:
        self.state = new_state(self.name)

    def take(self, input: Input) -> Decision:
        """Step one input; it must make a decision."""
        decision = step(self.state, input, self.app, self.limits, self.cache)
        assert decision is not None
        self.inputs.append(input)
        self.state = follow(self.state, decision)
        self.journal.append(decision.entry)
        self.decisions.append(decision)
        return decision

    def input(self, kind: Any, topic: str, **fields: Any) -> Input:
        """The next record of a topic."""
        offset = self.offsets.get(topic, 0)
        self.offsets[topic] = offset + 1
        self.now += 1
        return Input(kind, self.name, topic, 0, offset, self.now, self.now, **fields)

    def send(self, type: str = "t.Go", id: str | None = None, **data: Any) -> Decision:
        """An event."""
        id = id or f"e{self.offsets.get('agent-events', 0)}"
        return self.take(self.input("event", "agent-events", source="/s", id=id, type=type, data=data, value=b"v"))

    def calls(self) -> list[dict[str, Any]]:
        """The open calls as they were asked, in order of their ordinals."""
        asks = dict(self.state.maps.items("asks"))
        return sorted((asks[id] for id in self.state.small["calls"]), key=lambda ask: ask["ordinal"])

    def result(self, call: dict[str, Any], value: Any = None, status: str = "done", **changed: Any) -> Input:
        """The record that answers a call."""
        data = {key: call[key] for key in ("thread", "run_id", "ordinal", "call_id", "tool", "args_digest")}
        data |= {"status": status, "value": text(value), "error_type": "E", "error_message": "no", **changed}
        return self.input(
            "result", "tool-results", id=f"{call['call_id']}/result", type="threadlog.ToolResult", data=data
        )

    def answer(self, value: Any = None, index: int = 0, status: str = "done", **changed: Any) -> Decision:
        """Answer the open call at `index`."""
        return self.take(self.result(self.calls()[index], value, status, **changed))

    def command(self, action: str) -> Decision:
        """A person deals with the parked run."""
        return self.send("threadlog.RunCommand", run_id="", action=action, who="me", reason="")

    def fire(self) -> Decision:
        """Let the earliest timer fire."""
        due, id = min((due, id) for id, due in self.state.small["timers"].items())
        self.now = max(self.now, due)
        return self.take(timer(self.name, id, due, self.now))

    def effects(self, kind: str) -> list[dict[str, Any]]:
        """Every effect of a kind, from the journal itself."""
        return [e for entry in self.journal for e in msgspec.json.decode(entry.effects) if e["do"] == kind]

    def replies(self) -> list[str]:
        return [effect["text"] for effect in self.effects("reply")]

    def parked(self) -> list[str]:
        """Why runs were parked, by the names of the errors."""
        return [effect["error"]["type"] for effect in self.effects("park_run")]

    def verdicts(self) -> list[str]:
        return [entry.verdict for entry in self.journal]

    def ends(self) -> list[str]:
        return [effect["status"] for effect in self.effects("end_run")]

    def rebuilt(self) -> State:
        """The state from the journal alone."""
        state = new_state(self.name)
        for entry in self.journal:
            standing, state = apply(state, entry, self.limits)
            assert standing == "applied"
        return state


def desk(handler: Handler, cache_runs: int = 0, limits: Limits | None = None, name: str = "t", **options: Any) -> Desk:
    """A desk around one handler; the cache is off unless asked for."""
    return Desk(app_of(handler, **options), limits or Limits(), LiveRuns(cache_runs), name=name)


Script = Callable[[Desk], None]
