# SPDX-License-Identifier: Apache-2.0
"""What a journal asks of the world: the effect calls of its valid entries, each once, in order.

Whoever carries out calls takes them from here and from nowhere else. An ask lies in the entry that decided it, under
the entry's hash, so there is no second record that could be there without it, or say something else. What the reader's
rule calls void asks for nothing: a fork, a gap, a changed entry.

    valid entry      its asks are passed on
    repeat           nothing: they were passed on before
    void entry       it is refused, with the reason, and what it asks for with it

A thread begins with its first entry; where the log has lost that, with an entry that carries a snapshot, and with the
calls that are open there. What is left before that is followed, so that a fork does not begin the thread; what it asks
for is refused, for the snapshot says what of it is still open.

A reader that begins with nothing reads decisions of long ago, and most of their calls have ended, as later entries
tell. So what it asks of the *past* is held, by thread, until it is known what of it is still open: at the first entry
of the thread that is not of the past, or when its owner has read no such entry for a while, and says `release`.

Pure: the operator keeps the state and does the reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from threadlog.entry import Entry
from threadlog.following import Head, head_before, judge
from threadlog.snapshots import snapshot_of

Int = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Long = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Place = tuple[int, int, int]  # partition, offset, log time in milliseconds of the Unix epoch
TIME_MS_MAX = 253_402_300_800_000  # the year 10000, which no header can say
BEFORE_ALL = Head()


class Ask(msgspec.Struct, frozen=True):
    """An effect call as its entry asks for it: the fields of the schema `threadlog.ToolCall`, and its trace."""

    thread: str
    run_id: str
    ordinal: str
    call_id: str
    tool: str
    effect: str
    args: str
    args_digest: str
    quota_key: str
    ask: Int
    asked_ms: Long
    clock_ms: Long
    deadline_ms: Long
    agent: str
    version: Int
    outbox_seq: Long
    outbox_prev: str
    outbox_hash: str
    traceparent: str


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """An ask, the thread's time when it was decided, and where the log holds the entry that it was taken from."""

    ask: Ask
    time_ms: int
    place: Place


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a thread: its last valid entry, and what is held of the past, by call id in order.

    is_waiting: the log has lost its beginning, and there was no snapshot yet."""

    head: Head = BEFORE_ALL
    held: dict[str, Asked] = {}
    is_waiting: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What an entry made of a thread: what to keep, what to pass on, and why it is refused; "" if it is not.

    What lies before the first snapshot of a thread that the log has cut is refused only where it asks for something."""

    kept: Kept
    asks: list[Asked] = field(default_factory=list)
    refused: str = ""


class _Kind(msgspec.Struct):
    do: str
    effect: str = ""


class _Closing(msgspec.Struct):
    gone: dict[str, list[str]] = msgspec.field(name="del")


_kinds = msgspec.json.Decoder(list[_Kind]).decode
_closing = msgspec.json.Decoder(_Closing).decode
# What is hashed right and garbage all the same comes from no engine of ours; it must not stop a job.
_GARBAGE = (msgspec.DecodeError, RecursionError, UnicodeError, LookupError, TypeError)


def take(kept: Kept, entry: Entry, thread: str, place: Place, past: bool = False, is_cut: bool = False) -> Taken:
    """Take the next entry of a thread's journal.

    past: what it asks for may have ended in entries that are still to be read. is_cut: the log has lost its beginning,
    and perhaps the thread's."""
    before = head_before(entry, kept.head, is_cut)
    standing, reason = judge(entry, thread, before)
    if standing == "repeat":
        return Taken(kept)
    begun, after, is_before_all = kept, Head(entry.seq, entry.hash), False
    if standing == "applied" and (kept.is_waiting or before != kept.head):
        begun = _at_a_snapshot(entry, place)
        if begun.head != before:
            kept, is_before_all = Kept(after, is_waiting=True), True
            standing, reason = judge(entry, thread, BEFORE_ALL)
    try:
        asks = [Asked(ask, entry.time_ms, place) for ask in _asks(entry)]
    except _GARBAGE:
        reason = reason or f"wrong effects: what seq {entry.seq} asks for cannot be read"
        return Taken(kept if standing == "void" else Kept(after, begun.held), refused=reason)
    if standing == "void":
        if asks:
            reason = f"{reason}; {len(asks)} of its effect calls do not run"
        return Taken(kept, refused=reason if asks or not is_before_all else "")
    if not past and not begun.held:
        return Taken(Kept(after), asks)
    still = _without_closed(begun.held, entry) | {asked.ask.call_id: asked for asked in asks}
    return Taken(Kept(after, still)) if past else Taken(Kept(after), list(still.values()))


def release(kept: Kept) -> Taken:
    """What is held of the past is to be passed on: it is open as far as the log tells."""
    return Taken(Kept(kept.head, is_waiting=kept.is_waiting), list(kept.held.values()))


def _asks(entry: Entry) -> list[Ask]:
    """The effect calls that an entry asks for. Raises one of _GARBAGE."""
    if not any(effect.do == "call" and effect.effect != "read" for effect in _kinds(entry.effects)):
        return []
    effects: list[dict[str, Any]] = msgspec.json.decode(entry.effects)
    asks = [msgspec.convert(e, Ask) for e in effects if e["do"] == "call" and e["effect"] != "read"]
    if any(ask.thread != entry.thread for ask in asks) or not 0 <= entry.time_ms < TIME_MS_MAX:
        raise msgspec.ValidationError("an ask of another thread, or at no time")
    return asks


def _without_closed(held: dict[str, Asked], entry: Entry) -> dict[str, Asked]:
    """What of the held calls is still open after an entry."""
    try:
        closed = _closing(entry.patch).gone.get("calls", []) if held else []
    except _GARBAGE:
        closed = []
    return {call_id: asked for call_id, asked in held.items() if call_id not in closed}


def _at_a_snapshot(entry: Entry, place: Place) -> Kept:
    """What is known of a thread before an entry by its snapshot: nothing where it has none that can be read."""
    if (state := snapshot_of(entry)) is None:
        return Kept()
    try:
        asks = [msgspec.convert(ask, Ask) for ask in state["asks"].values() if ask["effect"] != "read"]
    except (*_GARBAGE, AttributeError):
        return Kept()
    asks.sort(key=lambda ask: ask.outbox_seq)
    held = {ask.call_id: Asked(ask, entry.time_ms, place) for ask in asks}
    return Kept(Head(entry.seq - 1, entry.prev), held)
