# SPDX-License-Identifier: Apache-2.0
"""`step` decides, `apply` follows the journal. Pure: no clock, no chance, no I/O.

    step(state, input)  -> Decision (entry, effects, state after)     runs user code, once, at the head of the log
    apply(state, entry) -> state after                                runs none: recovery, audit, indexes

Both end in `state.evolve`, so a state that was followed is bit for bit the state that was decided. An entry whose
`prev` is not the thread's head is void for every reader: an equal hash is a harmless repeat, anything else is a fork or
a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from threadlog.app import App
from threadlog.canonical import chain, digest, text
from threadlog.decide import decide
from threadlog.entry import Entry, InputRef
from threadlog.errors import BrokenInvariant, LimitError
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.runs import park
from threadlog.state import MemoryMaps, Patch, Small, State, dump, evolve, position_key
from threadlog.turn import Turn


@dataclass(frozen=True, slots=True)
class Decision:
    """What one input made of a thread: the journal entry, effects in order, the small state after it, map writes."""

    entry: Entry
    effects: list[dict[str, Any]]
    state: Small
    maps: Patch


def step(state: State, input: Input, app: App, limits: Limits, cache: LiveRuns | None = None) -> Decision | None:
    """Decide one input. None if the source gave this very record before: its decision is in the journal.

    Raises BrokenInvariant only where the state cannot be; whatever the input or the user's code does is a verdict.
    """
    if _handled_before(state, input):
        return None
    live_runs = cache if cache is not None else LiveRuns(0)
    try:
        turn = Turn(state, input, app, limits)
        live = decide(turn, live_runs)
        decision = _decision(turn, by_reference=turn.verdict == "oversize")
        if _size(decision.entry) > limits.entry_bytes and not turn.has_written:
            # Refused, and only its own bytes are too many: the dead letter has them; no open run may suffer for it.
            decision = _decision(turn, by_reference=True)
        if _size(decision.entry) > limits.entry_bytes:
            if live is not None:
                live.close()
                live = None
            turn, decision = _too_large(state, input, app, limits, _size(decision.entry))
    except BaseException:
        live_runs.drop(input.thread)
        raise
    if live is not None:
        live_runs.keep(input.thread, decision.state["run"]["id"], decision.entry.hash, live)
    return decision


def _handled_before(state: State, input: Input) -> bool:
    if input.kind == "timer":
        return False
    last: int = state.small["positions"].get(position_key(input.topic, input.partition), -1)
    return input.offset <= last


def _decision(turn: Turn, by_reference: bool = False) -> Decision:
    core = turn.state.small["core"]
    patch = turn.patch()
    patch_text = text(patch)
    run_id, agent, version = turn.subject
    entry = Entry(
        thread=turn.thread, seq=core["seq"] + 1, prev=core["head"], kind=turn.input.kind, verdict=turn.verdict,
        reason=turn.reason, input=InputRef.of(turn.input, by_reference), time_ms=turn.now, agent=agent, version=version,
        run_id=run_id, app_digest=turn.app.digest, limits_digest=turn.limits.digest, effects=text(turn.effects),
        patch=patch_text, state_hash=chain(core["state_hash"], patch_text), outbox=turn.get("core", "outbox", ""),
        snapshot=_snapshot(turn, core["seq"] + 1),
    ).sealed()  # fmt: skip
    small, writes = evolve(turn.state, entry, patch, turn.limits.seen_window_ms)
    return Decision(entry, turn.effects, small, writes)


def _snapshot(turn: Turn, seq: int) -> str | None:
    """The whole state *before* this entry, now and then, so that a reader can begin here."""
    if seq % turn.limits.snapshot_every_entries:
        return None
    whole = dump(turn.state)
    snapshot = text({"state": whole, "hash": digest(whole)})
    return snapshot if len(snapshot) < turn.limits.entry_bytes // 2 else None


def _size(entry: Entry) -> int:
    """Bytes of the entry's long fields; the rest is bounded far below the margin the limit leaves."""
    snapshot = len(entry.snapshot or "")
    return len(entry.effects.encode()) + len(entry.patch.encode()) + len(entry.input.value) + snapshot


def _too_large(state: State, input: Input, app: App, limits: Limits, size: int) -> tuple[Turn, Decision]:
    """A decision that no record can hold: the open run is parked, or the input refused, by reference either way."""
    turn = Turn(state, input, app, limits)
    error = LimitError("entry_bytes", size, limits.entry_bytes)
    turn.refuse("oversize", str(error), dead_letter=input.kind != "timer")
    if turn.get("run", "id") is not None and turn.get("run", "parked") is None:
        turn.subject = (turn.get("run", "id"), turn.get("run", "agent"), turn.get("run", "version"))
        park(turn, error)
    if input.kind == "timer":
        turn.delete("timers", input.id)
    return turn, _decision(turn, by_reference=True)


Standing = Literal["applied", "repeat", "void"]


def apply(state: State, entry: Entry, limits: Limits) -> tuple[Standing, State]:
    """Follow one entry of the journal. Returns how it stands to the thread, and the state after it.

    "repeat": the head again, harmless. "void": a fork, a gap, or an entry that does not carry its own hash; the state
    does not move. Works on maps in memory; raises BrokenInvariant on others.
    """
    core = state.small["core"]
    if entry.hash == core["head"] and entry.seq == core["seq"]:
        return "repeat", state
    if entry.prev != core["head"] or entry.seq != core["seq"] + 1 or entry.computed_hash() != entry.hash:
        return "void", state
    if entry.state_hash != chain(core["state_hash"], entry.patch):
        return "void", state
    if not isinstance(state.maps, MemoryMaps):
        raise BrokenInvariant("entries are applied to maps in memory")
    patch = msgspec.json.decode(entry.patch)
    small, writes = evolve(state, entry, patch, limits.seen_window_ms)
    state.maps.write(writes)
    return "applied", State(small, state.maps)


def follow(state: State, decision: Decision) -> State:
    """The state after a decision, for who keeps states in memory."""
    if not isinstance(state.maps, MemoryMaps):
        raise BrokenInvariant("only maps in memory are followed here; an operator writes its own")
    state.maps.write(decision.maps)
    return State(decision.state, state.maps)
