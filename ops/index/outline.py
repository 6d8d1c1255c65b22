# SPDX-License-Identifier: Apache-2.0
"""The outline of a thread: as much of its state as the table `threads` tells, followed by patches alone.

A patch says what it writes into which section, so the few sections that are told here can be followed without the
others. The law: the outline that was followed is the outline of the state that was applied.
"""

from __future__ import annotations

from typing import Any

import msgspec

from threadlog.state import Small

_RUN = ("id", "agent", "version", "waits", "parked")
_SLEEP = "sleep:"


class OpenCall(msgspec.Struct, array_like=True):
    """An open call: its tool, and the run that asked."""

    tool: str
    run: str


class Outline(msgspec.Struct, omit_defaults=True):
    """What is kept of a thread between two refreshes. Times in milliseconds of the Unix epoch.

    agent, version, error   of the open run, or else of the last
    since_ms                since when the thread is in its state and waits for what it waits for
    tools                   every tool that it ever called
    is_waiting              its beginning is cut and there was no snapshot yet: only `seq` and `head` are known
    """

    seq: int = 0
    head: str = ""
    first_seq: int = 1
    began_ms: int = 0
    last_ms: int = 0
    since_ms: int = 0
    agent: str = ""
    version: int = 0
    error: str = ""
    queued: int = 0
    run: dict[str, Any] = {}
    calls: dict[str, OpenCall] = {}
    sleeps: set[str] = set()
    tools: set[str] = set()
    is_waiting: bool = False

    def follow(self, put: dict[str, dict[str, Any]], deleted: dict[str, list[str]]) -> None:
        """Carry out a patch on the sections that are told here."""
        if run := put.get("run"):
            self.run |= {key: run[key] for key in _RUN if key in run}
        for call_id, call in put.get("calls", {}).items():
            self.calls[call_id] = OpenCall(call["tool"], call["run"])
        self.sleeps.update(timer for timer in put.get("timers", ()) if timer.startswith(_SLEEP))
        if (queue := put.get("core", {}).get("queue")) is not None:
            self.queued = len(queue)
        for key in deleted.get("run", ()):
            self.run.pop(key, None)
        for call_id in deleted.get("calls", ()):
            self.calls.pop(call_id, None)
        self.sleeps.difference_update(deleted.get("timers", ()))

    @property
    def state(self) -> str:
        """idle: no run; queued: none, and events wait for one; waiting: a run waits; parked: for a person."""
        if not self.run:
            return "queued" if self.queued else "idle"
        return "parked" if "parked" in self.run else "waiting"

    @property
    def waiting_on(self) -> str:
        """What the open run waits for, in order: tools, types of events, sleep."""
        if not self.run:
            return ""
        run_id, waits = self.run["id"], self.run.get("waits")
        found = sorted({call.tool for call in self.calls.values() if call.run == run_id})
        if waits:
            found += sorted({wait["type"] for wait in waits.values()})
        return ", ".join([*found, "sleep"] if self.sleeps else found)

    @property
    def standing(self) -> tuple[str, str, str]:
        """What `since_ms` counts from."""
        return self.state, self.run.get("id", ""), self.waiting_on

    def row(self, thread: str) -> tuple[Any, ...]:
        """The row of the table `threads`, in the order of its columns."""
        return (
            thread, self.state, self.waiting_on, self.since_ms, self.began_ms, self.last_ms, self.first_seq, self.seq,
            self.agent, self.version, self.run.get("id", ""), len(self.calls), self.queued,
            ", ".join(sorted(self.tools)), self.error, self.head,
        )  # fmt: skip


def outline_of(small: Small) -> Outline:
    """The outline of a state: what `follow` comes to."""
    core = small["core"]
    one = Outline(seq=core["seq"], head=core["head"], last_ms=core["now"])
    one.follow({name: small[name] for name in ("run", "calls", "timers", "core")}, {})
    return one
