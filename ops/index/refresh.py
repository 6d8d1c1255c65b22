# SPDX-License-Identifier: Apache-2.0
"""Bringing the index up to date: what the log has and the index has not, batch by batch.

The places up to which the log was read are written in the transaction that writes the rows: a process that dies
anywhere leaves an index that goes on exactly where it is. The reader's rule holds across refreshes, because the head of
each thread is in its outline. Where retention has cut the start of a thread, it begins at a snapshot; entries before
that are counted as cut, and of the thread there is no more than its head.
"""

from __future__ import annotations

import gc
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ops.index import database
from ops.index.outline import Outline
from ops.index.rows import WRITES, Rows
from ops.index.tables import INDEXES, OFFSET_BITS, OFFSET_MAX
from ops.voids import Void
from schemas.codec import Codec
from schemas.errors import Unreadable
from threadlog.entry import Entry
from threadlog.following import Head, head_before, judge
from threadlog.snapshots import snapshot_of, state_before
from threadlog.state import read_patch
from wire.frames import Record
from wire.journal import entry_of

BATCH = 10_000
_OUTLINES_MAX = 100_000  # kept between batches; about 1 kB each
_read_outline, _write_outline = msgspec.json.Decoder(Outline).decode, msgspec.json.Encoder().encode


class Log(Protocol):
    """The journal's topic: `wire.kafka.TopicReader`, or a file."""

    def identity(self) -> str:
        """Names this very log among all of its name."""

    def marks(self) -> dict[int, tuple[int, int]]:
        """For each partition the first offset and the one after the last."""

    def read(self, first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        """The records from `first` on and before `end`."""


@dataclass
class Progress:
    """What a refresh did. `anew`: why it began at the start of the log; empty where it went on."""

    decisions: int = 0
    voids: int = 0
    cut: int = 0
    anew: str = ""


Tell = Callable[[int, int], None]


def refresh(
    path: Path, namespace: str, log: Log, codec: Codec, anew: bool = False, tell: Tell | None = None
) -> Progress:
    """Bring the index at `path` up to the log's end as of now; `anew`: from its start. Safe to repeat and to kill.

    tell: is given, after each batch, how many records were read and how many are left. Raises what the log raises, and
    RegistryUnavailable."""
    with database.locked(path):
        identity, marks = log.identity(), log.marks()
        if anew:
            database.remove(path)
        with database.writing(path) as db:
            why = _stale(db, identity, namespace, marks)
        if why:
            database.remove(path)
        with database.writing(path) as db, _collecting_seldom():
            return _Refresh(db, identity, namespace, log, marks, codec, tell).run(why)


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Rows of a batch are many and hold no cycles: Python's collector would walk them again and again for nothing."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _stale(db: sqlite3.Connection, identity: str, namespace: str, marks: Mapping[int, tuple[int, int]]) -> str:
    """Why what the index holds is not the start of this log; empty when it is, or when there is nothing in it."""
    known = database.meta(db)
    if known.get("identity", identity) != identity or known.get("namespace", namespace) != namespace:
        return "it was of another cluster, topic or namespace"
    for partition, after in db.execute("SELECT partition, next FROM log"):
        low, high = marks.get(partition, (0, 0))
        if high < after:
            return f"partition {partition} ends at {high}, before {after}, where the index was"
        if low > after:
            return f"retention has removed {after} to {low} of partition {partition}, which the index had not read"
    return ""


class _Unfit(Exception):
    """A valid entry that says what no entry of ours says; it is void."""

    def __init__(self, place: tuple[int, int], cause: Exception) -> None:
        self.place, self.reason = (
            place,
            f"its patch, effects or snapshot cannot be read: {type(cause).__name__}: {cause}"[:300],
        )
        super().__init__(self.reason)


class _Misfit(Exception):
    """Somewhere in a batch is an entry whose rows the database does not take."""


class _Refresh:
    """One refresh, under the lock."""

    def __init__(
        self, db: sqlite3.Connection, identity: str, namespace: str, log: Log, marks: Mapping[int, tuple[int, int]],
        codec: Codec, tell: Tell | None,
    ) -> None:  # fmt: skip
        self._db, self._log, self._codec, self._tell = db, log, codec, tell
        self._meta = {"identity": identity, "namespace": namespace}
        self._ends = {partition: high for partition, (_, high) in marks.items()}
        known = {p: (first, after) for p, first, after in db.execute("SELECT partition, first, next FROM log")}
        self._known = set(known)
        self._first = {p: known.get(p, (low, low))[0] for p, (low, _) in marks.items()}
        self._next = {p: known.get(p, (low, low))[1] for p, (low, _) in marks.items()}
        self._unfit = dict[tuple[int, int], str]()
        self._batch = BATCH
        self._forget()

    def run(self, why: str) -> Progress:
        """Read to the end."""
        done, todo = Progress(anew=why), sum(self._ends.values()) - sum(self._next.values())
        while True:
            try:
                self._read(done, todo)
            except _Unfit as found:  # nothing of its batch is kept: the batch is read again without it
                self._unfit[found.place], self._batch = found.reason, BATCH
                self._forget()
            except _Misfit:  # it is found by writing one at a time
                self._batch = 1
                self._forget()
            else:
                for statement in INDEXES:
                    self._db.execute(statement)
                return done

    def _forget(self) -> None:
        self._outlines, self._touched = dict[str, Outline](), set[str]()
        self._begin_batch()

    def _begin_batch(self) -> None:
        self._rows, self._voids, self._cut = Rows(self._result), list[Void](), Counter[int]()
        self._touched.clear()
        if len(self._outlines) > _OUTLINES_MAX:
            self._outlines.clear()

    def _read(self, done: Progress, todo: int) -> None:
        at = dict(self._next)
        for count, record in enumerate(self._log.read(self._next, self._ends), 1):
            self._take(record)
            at[record.partition] = record.offset + 1
            if count % self._batch == 0:
                self._write(at, done)
                if self._tell and self._batch == BATCH:
                    self._tell(count, todo - count)
        self._write(self._ends, done)

    def _take(self, record: Record) -> None:
        thread = "" if record.key is None else record.key.decode("utf-8", "backslashreplace")
        place = record.partition, record.offset
        try:
            entry = entry_of(record.value, self._codec)
        except Unreadable as error:
            self._voids.append(Void(thread, *place, str(error)))
            return
        outline = self._outline(thread)
        head = Head(outline.seq, outline.head) if outline else Head()
        standing, reason = judge(entry, thread, head_before(entry, head, self._first[record.partition] > 0))
        if standing == "repeat":
            return
        reason = reason or self._unfit.get(place, "")
        if reason:
            self._voids.append(Void(thread, *place, reason))
            return
        try:
            self._outlines[thread] = self._follow(entry, outline, record)
        except (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise _Unfit(place, error) from error
        self._touched.add(thread)

    def _follow(self, entry: Entry, outline: Outline | None, record: Record) -> Outline:
        """The outline of a thread after a valid entry, whose rows are added. Raises what is unfit."""
        if outline is None or outline.is_waiting:
            outline = self._begun_at(entry)
            if outline.is_waiting:
                self._cut[record.partition] += 1
                return outline
        place, size = (record.partition, record.offset), len(record.value or b"")
        self._rows.take(entry, read_patch(entry.patch), outline, place, size)
        return outline

    def _begun_at(self, entry: Entry) -> Outline:
        """The outline before the first entry of a thread, or by its snapshot; one that waits where it has none."""
        if entry.seq == 1:
            return Outline(began_ms=entry.time_ms, since_ms=entry.time_ms)
        state = snapshot_of(entry)
        if state is None or state_before(entry) is None:  # as every reader: what lacks a section is no snapshot
            return Outline(entry.seq, entry.hash, is_waiting=True)
        return self._rows.begin(entry, state)

    def _outline(self, thread: str) -> Outline | None:
        if found := self._outlines.get(thread):
            return found
        row = self._db.execute("SELECT outline FROM outlines WHERE thread = ?", (thread,)).fetchone()
        return _read_outline(row[0]) if row else None

    def _result(self, value: bytes) -> dict[str, Any]:
        try:
            type, _, data = self._codec.decode(value)
        except Unreadable:  # too large for its entry, which then holds none
            return {}
        return dict(data) if type == "threadlog.ToolResult" else {}

    def _write(self, at: Mapping[int, int], done: Progress) -> None:
        """One transaction: the rows of the batch and how far it was read. Nothing where nothing is new."""
        if at == self._next and self._meta.items() <= database.meta(self._db).items() and at.keys() == self._known:
            return
        threads = [(name, self._outlines[name]) for name in self._touched]
        begun = [one.row(name) for name, one in threads if not one.is_waiting]
        with database.transaction(self._db):
            self._write_rows()
            self._db.executemany(_THREAD, begun)
            self._db.executemany(_OUTLINE, [(name, _write_outline(one)) for name, one in threads])
            self._db.executemany(_VOID, [(v.partition, v.offset, v.thread, v.reason) for v in self._voids])
            self._db.executemany(_LOG, [(p, self._first[p], at[p], self._cut[p]) for p in at])
            self._db.executemany(_META, self._meta.items())
        self._next, self._known = dict(at), set(at)
        done.decisions += len(self._rows.tables["decisions"])
        done.voids += len(self._voids)
        done.cut += self._cut.total()
        self._begin_batch()

    def _write_rows(self) -> None:
        try:
            for table, statement in WRITES.items():
                self._db.executemany(statement, self._rows.of(table))
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError, OverflowError) as error:
            decisions = self._rows.tables["decisions"]
            if len(decisions) != 1:
                raise _Misfit from error
            raise _Unfit((decisions[0][0] >> OFFSET_BITS, decisions[0][0] & OFFSET_MAX), error) from error


_THREAD = f"""INSERT INTO threads VALUES ({", ".join("?" * 16)}) ON CONFLICT (thread) DO UPDATE SET
    state = excluded.state, waiting_on = excluded.waiting_on, since_ms = excluded.since_ms, last_ms = excluded.last_ms,
    seq = excluded.seq, agent = excluded.agent, version = excluded.version, run_id = excluded.run_id,
    open_calls = excluded.open_calls, queued = excluded.queued, tools = excluded.tools, error = excluded.error,
    head = excluded.head"""
_OUTLINE = "INSERT OR REPLACE INTO outlines VALUES (?, ?)"
_VOID = "INSERT INTO voids VALUES (?, ?, ?, ?)"
_LOG = """INSERT INTO log VALUES (?, ?, ?, ?) ON CONFLICT (partition) DO UPDATE SET
    next = excluded.next, cut = cut + excluded.cut"""
_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
