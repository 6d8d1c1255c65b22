# SPDX-License-Identifier: Apache-2.0
"""A thread's state after any of its decisions: the index knows where its entries lie, the log has them.

Only entries of the thread are read, from the last snapshot on: some 500 of them in most threads.
They are applied as any follower of the journal applies them, so the state is the one that the engine had.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ops.context import Trouble
from ops.index.tables import OFFSET_BITS, OFFSET_MAX
from schemas.codec import Codec
from schemas.errors import Unreadable
from threadlog.engine import apply
from threadlog.entry import Entry
from threadlog.limits import Limits
from threadlog.snapshots import state_before
from threadlog.state import State, dump, new_state
from wire.frames import Record
from wire.journal import entry_of

Row = tuple[int, int, int]  # seq, id, whether the entry has a snapshot
_STALE = "`threadlog index rebuild` reads the journal anew."


class Places(Protocol):
    """The journal's topic, as `wire.kafka.TopicReader` reads it by place."""

    def at(self, places: Sequence[tuple[int, int]]) -> Iterator[Record]:
        """The records at (partition, offset), in that order."""


def states_at(db: sqlite3.Connection, log: Places, codec: Codec, thread: str, seqs: list[int]) -> dict[int, Any]:
    """The whole state after each of these decisions, as from `threadlog.state.dump`; 0 is before the first.

    Raises Trouble for a decision that is not there, or whose entries are gone or cannot be followed."""
    _check(db, thread, seqs)
    rows = _rows(db, thread, max(seqs))
    found: dict[int, Any] = {}
    state: State | None = None
    for seq in sorted(set(seqs)):
        start = max((row[0] for row in rows if row[0] <= seq and row[2]), default=1)
        at = state.small["core"]["seq"] if state else -1
        if state is None or start > at + 1:
            state, at = None, start - 1
        wanted = [row for row in rows if at < row[0] <= seq]
        for entry in _entries(log, codec, thread, wanted):
            state = _applied(_begun(entry, thread) if state is None else state, entry)
        state = state or new_state(thread)
        found[seq] = dump(state)
    return found


def _rows(db: sqlite3.Connection, thread: str, seq: int) -> list[Row]:
    asked = "SELECT seq, id, snapshot FROM decisions WHERE thread = ? AND seq <= ? ORDER BY seq"
    return db.execute(asked, (thread, seq)).fetchall()


def _check(db: sqlite3.Connection, thread: str, seqs: list[int]) -> None:
    asked = "SELECT first_seq, seq FROM threads WHERE thread = ?"
    first, last = db.execute(asked, (thread,)).fetchone() or (0, 0)
    if not last:
        raise Trouble(f"The journal holds nothing of thread {thread!r}.", "`threadlog threads` lists threads.")
    for seq in seqs:
        if not first - (first == 1) <= seq <= last:
            raise Trouble(f"Thread {thread!r} has no decision {seq}.", f"It has {first} to {last}.")


def _entries(log: Places, codec: Codec, thread: str, rows: list[Row]) -> Iterator[Entry]:
    places = [(id >> OFFSET_BITS, id & OFFSET_MAX) for _, id, _ in rows]
    records = log.at(places)
    for place, (seq, _, _) in zip(places, rows, strict=True):
        record = next(records, None)
        try:
            entry = entry_of(record.value, codec) if record and (record.partition, record.offset) == place else None
        except Unreadable:
            entry = None
        if entry is None or (entry.thread, entry.seq) != (thread, seq):
            raise Trouble(
                f"The log no longer holds decision {seq} of {thread!r} at {place[0]}/{place[1]}.",
                f"Retention has removed it, or the index is of another log: {_STALE}",
            )
        yield entry


def _begun(entry: Entry, thread: str) -> State:
    """The state before the first entry that is read."""
    state = state_before(entry)
    if state is not None:
        return state
    if entry.seq != 1:
        raise Trouble(
            f"The start of {thread!r} is gone, and decision {entry.seq} has no snapshot of the state before it.",
            "Ask for a later decision.",
        )
    return new_state(thread)


def _applied(state: State, entry: Entry) -> State:
    standing, after = apply(state, entry, Limits())
    if standing != "applied":
        raise Trouble(f"Decision {entry.seq} of {entry.thread!r} does not follow from the state before it.", _STALE)
    return after
