# SPDX-License-Identifier: Apache-2.0
"""`step` decides, `apply` follows the journal. Pure: no clock, no chance, no I/O.

    step(state, input)  -> Decision (entry, effects, state after)     runs user code, once, at the head of the log
    apply(state, entry) -> state after                                runs none: recovery, audit, indexes

Both end in `state.evolve`, so a state that was followed is bit for bit the state that was decided. What of a journal
counts is the reader's rule, in `following`.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from zlib import crc32

import msgspec
from msgspec.structs import replace

from threadlog.app import App
from threadlog.calls import forget_doubts
from threadlog.canonical import chain, text
from threadlog.decide import CHAIN_TIMER, decide
from threadlog.entry import Entry, InputRef
from threadlog.errors import BrokenInvariant, LimitError
from threadlog.execution import Execution
from threadlog.following import Standing, advance
from threadlog.inputs import Input, poison, unfit
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.snapshots import snapshot_text
from threadlog.state import MemoryMaps, Patch, Small, State, evolve, position_key
from threadlog.turn import Turn


class Decision(msgspec.Struct, frozen=True):
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
        turn = Turn(state, input, app, limits, chain_runs_max=limits.chain_runs_max)
        live = decide(turn, live_runs)
        decision = _decision(turn, by_reference=turn.verdict == "oversize")
        if not _fits(decision, limits):
            decision, live = _smaller(turn, decision, live)
    except BaseException:
        live_runs.drop(input.thread)
        if not (wrong := unfit(input)):
            raise
        return step(state, poison(input, wrong), app, limits, cache)
    if live is not None:
        live_runs.keep(input.thread, decision.state["run"]["id"], decision.entry.hash, live)
    return decision


def _handled_before(state: State, input: Input) -> bool:
    if input.kind == "timer":
        return False
    last: int = state.small["positions"].get(position_key(input.topic, input.partition), -1)
    return input.offset <= last


def _decision(turn: Turn, by_reference: bool = False) -> Decision:
    core, is_due = turn.state.small["core"], _snapshot_is_due(turn)
    if is_due and turn.has_written:  # a refusal moves nothing
        forget_doubts(turn)
    patch = turn.patch()
    patch_text = text(patch)
    run_id, agent, version = turn.subject
    entry = Entry(
        thread=turn.thread, seq=core["seq"] + 1, prev=core["head"], kind=turn.input.kind, verdict=turn.verdict,
        reason=turn.reason, input=InputRef.of(turn.input, by_reference), time_ms=turn.now, agent=agent, version=version,
        run_id=run_id, app_digest=turn.app.digest, limits_digest=turn.limits.digest, effects=text(turn.effects),
        patch=patch_text, state_hash=chain(core["state_hash"], patch_text), outbox=turn.get("core", "outbox", ""),
    )  # fmt: skip
    if is_due:
        entry = _with_snapshot(turn, entry)
    entry = entry.sealed()
    small, writes = evolve(turn.stored, entry, patch, turn.limits.seen_window_ms)
    return Decision(entry, turn.effects, small, writes)


# A snapshot costs what the thread holds, most of it the events that it remembers. So there are at least a quarter as
# many entries between two of them, and a turn does not get dearer with the conversation.
_REMEMBERED_PER_ENTRY = 4


def _snapshot_is_due(turn: Turn) -> bool:
    core, window = turn.state.small["core"], turn.state.small["window"]
    remembered: int = window.get("next", 0) - window.get("first", 0)
    every = turn.limits.snapshot_every_entries
    while every * _REMEMBERED_PER_ENTRY < remembered:  # doubled, because a period that moved could be stepped over
        every *= 2
    since: int = core["seq"] + 1 - core["snapshot_seq"]
    return since % every == 0 or _begins_a_time(turn)  # where one did not fit, the next is tried as much later


def _begins_a_time(turn: Turn) -> bool:
    """Whether the decision is the thread's first after a mark that stands every `snapshot_every_ms` in its time.

    So of two entries with a mark between them the later one's past is in a snapshot. The marks of different threads
    stand at different moments: the journal does not get all snapshots at once."""
    core, every = turn.state.small["core"], turn.limits.snapshot_every_ms
    offset = crc32(turn.thread.encode("utf-8", "surrogatepass")) % every
    return bool(core["seq"] and (core["now"] + offset) // every < (turn.now + offset) // every)


def _with_snapshot(turn: Turn, entry: Entry) -> Entry:
    """The entry with the whole state *before* it, if a record holds that, so that a reader can begin here."""
    snapshot = snapshot_text(turn.state)
    fits = len(snapshot.encode()) <= turn.limits.snapshot_bytes
    return replace(entry, snapshot=snapshot) if fits else entry


def _size(entry: Entry) -> int:
    """Bytes of the entry's long fields but the snapshot, which has a bound of its own; the rest is bounded far below
    the margin the limit leaves."""
    return len(entry.effects.encode()) + len(entry.patch.encode()) + len(entry.input.value)


def _fits(decision: Decision, limits: Limits) -> bool:
    return _size(decision.entry) <= limits.entry_bytes


def _smaller(turn: Turn, decision: Decision, live: Execution | None) -> tuple[Decision, Execution | None]:
    """Another decision of an input whose decision no record can hold. What caused it pays, and nobody else:

    1. a refusal is made without the input's bytes: the dead letter has them
    2. the runs that would begin behind the input wait for a timer, which begins them one by one
    3. no handler goes on: what the input says is recorded, and the run that it would have moved is parked
    4. the input itself is too large to be recorded: it is refused
    """
    if not turn.has_written:
        return _decision(turn, by_reference=True), live
    if live is not None:
        live.close()
    error = LimitError("entry_bytes", _size(decision.entry), turn.limits.entry_bytes)
    again = partial(Turn, turn.stored, turn.input, turn.app, turn.limits)
    fewest = 1 if turn.input.kind == "timer" and turn.input.id == CHAIN_TIMER else 0
    if turn.chained > fewest:
        alone = again(chain_runs_max=fewest)
        live = decide(alone, LiveRuns(0))
        decision = _decision(alone)
        if _fits(decision, turn.limits):
            return decision, live
        if live is not None:
            live.close()
    held = again(chain_runs_max=fewest, held=error, reason=str(error))
    decide(held, LiveRuns(0))
    for by_reference in (False, True):
        decision = _decision(held, by_reference)
        if _fits(decision, turn.limits):
            return decision, None
    if turn.input.kind == "timer":  # it has no bytes of its own, so this is small; refused, what it woke would be lost
        return decision, None
    refused = again()
    refused.refuse("oversize", str(error), dead_letter=True)
    return _decision(refused, by_reference=True), None


def apply(state: State, entry: Entry, limits: Limits) -> tuple[Standing, State]:
    """Follow one entry of the journal. Returns how it stands to the thread, and the state after it.

    "repeat": the head again, harmless. "void": a fork, a gap, an entry of another thread, or one that does not carry
    its own hash or cannot be read; the state does not move. Works on maps in memory; raises BrokenInvariant on others.
    """
    followed = advance(state, entry, limits)
    if followed.small is None or followed.maps is None:
        return followed.standing, state
    if not isinstance(state.maps, MemoryMaps):
        raise BrokenInvariant("entries are applied to maps in memory; an operator writes its own")
    state.maps.write(followed.maps)
    return followed.standing, State(followed.small, state.maps)


def follow(state: State, decision: Decision) -> State:
    """The state after a decision, for who keeps states in memory."""
    if not isinstance(state.maps, MemoryMaps):
        raise BrokenInvariant("only maps in memory are followed here; an operator writes its own")
    state.maps.write(decision.maps)
    return State(decision.state, state.maps)
