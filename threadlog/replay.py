# SPDX-License-Identifier: Apache-2.0
"""The journal, decided again: each entry's input is given to today's code, and what it decides is compared.

    entry ─► input_of ─► step, on the state that the log made ─► the same entry, bit for bit, or a divergence
                                                     └─► the recorded entry is followed, whatever the code said

Nothing is performed: `step` runs handlers, never tools. A decision is compared as if the code had the digest that the
log says, and began its runs on the version that the log says, so an entry of equal code is equal to the bit, hash
included; with `newest` the newest version decides in place of any other, which is what new code would have done.

What follows from a divergence is no other one: the decisions of a run that has diverged are counted apart, until the
run ends in the log.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from schemas.errors import Unreadable
from threadlog.app import App
from threadlog.differences import Differences, differences
from threadlog.engine import Decision, apply, follow, step
from threadlog.entry import Entry
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.locating import locate
from threadlog.places import Place
from threadlog.recorded import Recorded
from threadlog.snapshots import state_before
from threadlog.state import MemoryMaps, State, new_state
from threadlog.upcasting import newest

Decode = Callable[[bytes], tuple[str, int, Any]]  # bytes of the log → (type, schema id, plain JSON), or Unreadable
# equal: to the bit. diverged: `divergence` says how. consequence: of an earlier divergence in the same run. unchecked:
# its input is not in the journal (by reference). followed: not asked for. repeat, void: no entry of the thread's chain.
# tried: what is compared is what its run comes to, in a history that goes on from a divergence.
Standing = Literal["equal", "diverged", "consequence", "unchecked", "followed", "tried", "repeat", "void"]


class Divergence(msgspec.Struct, frozen=True):
    """A decision that the code makes otherwise than the log. `place` is the line of the handler, where one is known."""

    thread: str
    seq: int
    input_kind: str
    verdict: str
    topic: str
    partition: int
    offset: int
    time_ms: int
    agent: str
    version: int
    run_id: str
    differences: Differences
    place: Place | None = None
    note: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """How one entry stands to the code."""

    standing: Standing
    divergence: Divergence | None = None


def input_of(entry: Entry, decode: Decode) -> Input | None:
    """The input that a decision was made of; None where the journal holds it by reference only, as what was too large.

    Raises Unreadable where its bytes cannot be read any more, or are read as another type.
    """
    came, kind = entry.input, entry.kind
    place = (entry.thread, came.topic, came.partition, came.offset, came.log_time_ms, came.clock_ms)
    data, reason = None, ""
    if kind in ("event", "result"):
        if not came.value:
            return None
        type_, _, data = decode(came.value)
        if type_ != came.type:
            raise Unreadable("type", f"the log holds a {came.type!r}, its bytes are now read as a {type_!r}")
    elif kind == "poison":
        reason = entry.reason  # why it could not be read: its headers, which may be why, are not in the journal
    known: Any = kind
    return Input(
        known, *place, source=came.source, id=came.id, type=came.type, data=data, schema_id=came.schema_id,
        value=came.value, traceparent=came.traceparent, reason=reason,
    )  # fmt: skip


@dataclass(eq=False)
class Replay:
    """Any number of threads, each followed entry by entry in the order of its chain.

    `live` is the cache of executions: LiveRuns(0) executes every run again from its start at every step. `cut` counts
    per thread the seq at which it began where the history before is gone; `other_limits` the decisions that were made
    under limits of another digest, which may decide otherwise; `older_states` those that were made on a state of an
    older version: their patches are of that form, so verdict and effects are compared, patch and snapshot are not.
    `diverged` names the run of a thread that went its own way. `apart` hears of a decision that differs, with the state
    on which it was made, before the log is followed.
    """

    app: App
    limits: Limits = field(default_factory=Limits)
    live: LiveRuns = field(default_factory=lambda: LiveRuns(10_000))
    newest: bool = False
    states: dict[str, State] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    other_limits: Counter[str] = field(default_factory=Counter)
    older_states: int = 0
    diverged: dict[str, str] = field(default_factory=dict)
    apart: Callable[[Entry, State, Decision], None] | None = None

    def __post_init__(self) -> None:
        self.recorded = Recorded(self.app, self.newest)
        # What was decided under others may have forgotten no doubt where these do, and its thread goes on with it.
        self._others = dataclasses.replace(self.limits, doubts_max=sys.maxsize)

    def follow(self, entry: Entry) -> Standing:
        """Take the entry over without deciding it again: "followed", "repeat" or "void"."""
        standing, self.states[entry.thread] = apply(self._state(entry), entry, self.limits)
        return "followed" if standing == "applied" else standing

    def check(self, entry: Entry, input: Input | None) -> Outcome:
        """Decide the entry's input again and compare; None: the journal does not hold it. Then follow the entry."""
        state = self._state(entry)
        if input is None or self._follows_a_divergence(entry.thread, state):
            return self._followed(entry, "unchecked" if input is None else "consequence")
        if entry.limits_digest != self.limits.digest:
            self.other_limits[entry.limits_digest] += 1
        self.older_states += _on_older_form(state, entry)
        app = self.recorded.app_of(entry)
        decision, mine, crash = self._decide(state, input, app, entry)
        for other in () if mine == entry else self.recorded.older(input.type, app):
            tried, same, _ = self._decide(state, input, other, entry)
            if same == entry:
                decision, mine = tried, same
        if decision is not None and mine == entry:
            if mine is not decision.entry:  # made under other limits: the head of the state must be the recorded one
                return self._followed(entry, "equal")
            self.states[entry.thread] = follow(state, decision)
            return Outcome("equal")
        standing, _ = apply(State(state.small, MemoryMaps()), entry, self.limits)
        if standing != "applied":
            return Outcome(standing)
        if self.apart is not None and decision is not None and not _breaks_off(decision):
            self.apart(entry, state, decision)
            return self._followed(entry, "diverged")
        found = self._how(entry, mine, crash)
        place, note = locate(state, input, app, self.limits, found, entry) if mine is not None else (None, "")
        return self._diverge(entry, state, found, place, note)

    def unreadable(self, entry: Entry, error: Unreadable) -> Outcome:
        """The entry's input cannot be read by today's code and schemas: that is a divergence too."""
        state = self._state(entry)
        if apply(State(state.small, MemoryMaps()), entry, self.limits)[0] != "applied":
            return self._followed(entry, "unchecked")
        return self._diverge(entry, state, Differences("input", error.code, [], [], [], None), None, str(error))

    def _state(self, entry: Entry) -> State:
        state = self.states.get(entry.thread)
        if state is None:
            state = state_before(entry) if entry.seq > 1 else None
            if state is not None:
                self.cut[entry.thread] = entry.seq
            else:
                state = new_state(entry.thread)
            self.states[entry.thread] = state
        return state

    def _follows_a_divergence(self, thread: str, state: State) -> bool:
        run = self.diverged.get(thread)
        if run is None:
            return False
        if state.small["run"].get("id") == run:
            return True
        del self.diverged[thread]
        return False

    def _followed(self, entry: Entry, standing: Standing) -> Outcome:
        followed = self.follow(entry)
        return Outcome(standing if followed == "followed" else followed)

    def _decide(self, state: State, input: Input, app: App, entry: Entry) -> tuple[Decision | None, Entry | None, str]:
        """The decision, its entry as it is under the recorded limits' digest, and how the engine failed, if it did."""
        limits = self.limits if entry.limits_digest == self.limits.digest else self._others
        try:
            decision = step(state, input, app, limits, self.live)
        except Exception as error:  # ours, not the log's: it is told with the decision that it befell
            return None, None, f"{type(error).__name__}: {error}"
        mine = None if decision is None else decision.entry
        if mine is not None and entry.limits_digest != mine.limits_digest:
            # When there is a snapshot is up to the limits alone; what is in it is compared where both have one.
            absent = None in (entry.snapshot, mine.snapshot)
            snapshot = entry.snapshot if absent else mine.snapshot
            mine = replace(mine, limits_digest=entry.limits_digest, snapshot=snapshot).sealed()
        if mine is not None and _on_older_form(state, entry):
            older = {"patch": entry.patch, "state_hash": entry.state_hash, "snapshot": entry.snapshot}
            mine = replace(mine, **older).sealed()
        return decision, mine, ""

    def _how(self, entry: Entry, mine: Entry | None, crash: str) -> Differences:
        if mine is not None:
            found = differences(entry, mine)
            tool = self._lacks(found, entry)
            return replace(found, kind="tool", about=tool) if tool else found
        return Differences("crash" if crash else "input", crash or "taken for a record handled before", [], [], [])

    def _lacks(self, found: Differences, entry: Entry) -> str:
        """The tool that the log says was called and the app lacks: it explains more than what came of that."""
        effect = None if found.at is None else next(iter(msgspec.json.decode(entry.effects)[found.at :]), None)
        if effect is None or effect["do"] != "call":
            return ""
        tool = self.app.tools.get(effect["tool"])
        return "" if tool is not None and tool.effect == effect["effect"] else str(effect["tool"])

    def _diverge(self, entry: Entry, state: State, found: Differences, place: Place | None, note: str) -> Outcome:
        self.states[entry.thread] = state
        self.follow(entry)
        run = self.states[entry.thread].small["run"].get("id")
        if run is not None and run == entry.run_id:
            self.diverged[entry.thread] = run
        came = entry.input
        return Outcome("diverged", Divergence(
            entry.thread, entry.seq, entry.kind, entry.verdict, came.topic, came.partition, came.offset, entry.time_ms,
            entry.agent, entry.version, entry.run_id, found, place, note,
        ))  # fmt: skip


def _breaks_off(decision: Decision) -> bool:
    """Whether a run that other code has begun cannot go on: what would have come of it is not to be known."""
    errors = (effect["error"]["type"] for effect in decision.effects if effect["do"] == "park_run")
    return not {"NondeterminismError", "VersionMissing"}.isdisjoint(errors)


def _on_older_form(state: State, entry: Entry) -> bool:
    """Whether an entry was decided on a state of an older version than this code works with."""
    version = state.small["core"]["v"]
    if version == newest():
        return False
    try:
        patch = msgspec.json.decode(entry.patch)
        return bool(patch["put"].get("core", {}).get("v", version) < newest())
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):  # such an entry is void
        return False
