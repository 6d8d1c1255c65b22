# SPDX-License-Identifier: Apache-2.0
"""One partition of the journal, verified record by record: the reader's rule, then each decision made again.

    record ─► entry ─► does it continue its thread? ─► decided again ─► equal, or a finding; each is counted

A thread lives in one partition, so a partition is verified by itself and its records are counted without a gap.

States of threads of late are kept decoded. They are written into `threads` when `store` is called, and never else: to
write a state after each of its decisions costs more than to decide, and states of different moments are none to go on
from. So who keeps `checked` at the same time has a partition as it was after the record `checked.last`.

Of a thread whose beginning retention has deleted only the head is kept, until an entry comes that continues it and has
a snapshot.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec
from msgspec.structs import replace

from schemas.errors import Unreadable
from threadlog.app import App
from threadlog.differences import Differences, Field
from threadlog.entry import Entry
from threadlog.following import Head, advance, head_before, judge
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.replay import Divergence, Outcome, Replay
from threadlog.snapshots import state_before
from threadlog.state import MemoryMaps, State, dump, state_of

# Of one partition, some 10 kB each. A thread that was left out is read from `threads` again.
THREADS_KEPT_MAX = 5_000
# A finding must fit a record, whatever it is about: so many effects of each side around the first that differs, ...
LINES_MAX = 40
# ... and so much of each.
CHARS_MAX = 1_000


class Threads(Protocol):
    """Where states lie as JSON, by thread."""

    def get(self, thread: str) -> str | None:
        """What was put last, None where nothing was."""

    def put(self, thread: str, state: str) -> None:
        """Keep a state."""


class Checked(msgspec.Struct):
    """What of a partition was verified: the offsets of its first and last record, -1 before any, and counts.

    `low`: the first offset that retention had left when its first record was read, -1 before that. Above 0 the
    beginning of the partition is deleted; `first` alone does not say so, for what is before it may have been aborted.
    `standings` counts the entries by how they stand; an entry that stands before the first snapshot of a thread, where
    the beginning of the partition is deleted, is `lost` instead. `cut` threads begin at a snapshot. Other
    counts are as in `Replay`.
    """

    low: int = -1
    first: int = -1
    last: int = -1
    last_log_ms: int = 0
    records: int = 0
    threads: int = 0
    cut: int = 0
    lost: int = 0
    standings: dict[str, int] = msgspec.field(default_factory=dict)
    other_limits: dict[str, int] = msgspec.field(default_factory=dict)
    older_states: int = 0


class Read(msgspec.Struct, frozen=True):
    """A record of the journal as it could be read. `thread` is its key; `error`: why there is no entry, or no input."""

    offset: int
    log_time_ms: int
    thread: str
    entry: Entry | None = None
    input: Input | None = None
    error: Unreadable | None = None


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it should be, and where. `divergence` is None for a void entry."""

    what: Literal["divergence", "void"]
    thread: str
    seq: int
    offset: int
    log_time_ms: int
    reason: str
    divergence: Divergence | None = None


class _Thread(msgspec.Struct, omit_defaults=True):
    """A thread as stored: its state as from `dump`, and the run that went its own way, or ""; or its head alone."""

    state: dict[str, Any] = {}
    diverged: str = ""
    head: Head | None = None


_encode = msgspec.json.Encoder().encode
_decode_thread = msgspec.json.Decoder(_Thread).decode


@dataclass(eq=False)
class Verifier:
    """Verifies the records of one partition in their order. `checked` is where it stands; `live` may be shared."""

    app: App
    threads: Threads
    checked: Checked
    live: LiveRuns = field(default_factory=LiveRuns)
    limits: Limits = field(default_factory=Limits)
    kept_max: int = THREADS_KEPT_MAX

    def __post_init__(self) -> None:
        self._states: OrderedDict[str, State] = OrderedDict()
        self._heads: OrderedDict[str, Head] = OrderedDict()  # of threads that wait for their first snapshot
        self._replay = Replay(self.app, self.limits, self.live, states=self._states)
        self._changed = set[str]()

    @property
    def is_full(self) -> bool:
        """Whether there is no more room for threads that are not stored: time to `store`."""
        return max(len(self._states), len(self._heads)) > self.kept_max

    def take(self, read: Read) -> Finding | None:
        """Verify the next record; what is wrong with it."""
        checked, entry = self.checked, read.entry
        checked.records += 1
        checked.first = read.offset if checked.first < 0 else checked.first
        checked.last, checked.last_log_ms = read.offset, read.log_time_ms
        if entry is None:
            return self._void(read, 0, str(read.error))
        if entry.thread != read.thread:
            return self._void(read, entry.seq, f"wrong key: the entry is of thread {entry.thread}")
        is_new = not self._load(entry.thread)
        if is_new:
            begins, reason = self._begin(entry)
            if not begins:
                return self._void(read, entry.seq, reason) if reason else None
        outcome = self._check(entry, read)
        self._sum(is_decision=outcome.standing not in ("repeat", "void"))
        if outcome.standing == "void":
            return self._left_out(read, entry, is_new)
        self._count(entry.thread, outcome.standing, is_new)
        if outcome.divergence is None:
            return None
        return _divergence(read, outcome.divergence)

    def store(self) -> None:
        """Write down the threads that have changed since they were; `checked` is the caller's to keep."""
        for thread in self._changed:
            self._write(thread)
        self._changed.clear()
        self._make_room()

    def _begin(self, entry: Entry) -> tuple[bool, str]:
        """Whether a thread without a state begins with an entry, and why the entry is void, if it is."""
        thread = entry.thread
        before = head_before(entry, self._heads.get(thread, Head()), self.checked.low > 0)
        standing, reason = judge(entry, thread, before)
        if standing == "repeat":
            self._stand(standing)
        if standing != "applied":
            return False, reason
        if entry.seq == 1 or state_before(entry) is not None:
            return True, ""
        self.checked.lost += 1
        self._heads[thread] = Head(entry.seq, entry.hash)
        self._keep(thread, self._heads)
        return False, ""

    def _check(self, entry: Entry, read: Read) -> Outcome:
        if read.error is not None:
            return self._replay.unreadable(entry, read.error)
        return self._replay.check(entry, read.input)

    def _sum(self, is_decision: bool) -> None:
        """Take over what the replay has counted, if it is of a decision that counts."""
        checked, replay = self.checked, self._replay
        if is_decision:
            for digest, count in replay.other_limits.items():
                checked.other_limits[digest] = checked.other_limits.get(digest, 0) + count
            checked.older_states += replay.older_states
        replay.other_limits.clear()
        replay.older_states = 0

    def _load(self, thread: str) -> bool:
        """Bring a thread's state to hand, or its head; False where it has no state yet."""
        if thread in self._states or thread in self._heads:
            return thread in self._states
        stored = self.threads.get(thread)
        if stored is None:
            return False
        kept = _decode_thread(stored)
        if kept.head is not None:
            self._heads[thread] = kept.head
            return False
        self._states[thread] = state_of(kept.state)
        if kept.diverged:
            self._replay.diverged[thread] = kept.diverged
        return True

    def _count(self, thread: str, standing: str, is_new: bool) -> None:
        self._stand(standing)
        if is_new:
            self.checked.threads += 1
            self.checked.cut += self._replay.cut.pop(thread, None) is not None
            self._heads.pop(thread, None)
        self._keep(thread, self._states)

    def _stand(self, standing: str) -> None:
        standings = self.checked.standings
        standings[standing] = standings.get(standing, 0) + 1

    def _keep(self, thread: str, kept: OrderedDict[str, Any]) -> None:
        kept.move_to_end(thread)
        self._changed.add(thread)
        self._make_room()

    def _make_room(self) -> None:
        """Let go of threads that were not seen for longest, as far as they are stored."""
        for kept in (self._states, self._heads):
            while len(kept) > self.kept_max and (thread := next(iter(kept))) not in self._changed:
                del kept[thread]
                self._replay.diverged.pop(thread, None)
                self.live.drop(thread)

    def _write(self, thread: str) -> None:
        state = self._states.get(thread)
        if state is None:
            kept = _Thread(head=self._heads[thread])
        else:
            kept = _Thread(dump(state), self._replay.diverged.get(thread, ""))
        self.threads.put(thread, _encode(kept).decode())

    def _left_out(self, read: Read, entry: Entry, is_new: bool) -> Finding:
        """Why an entry does not continue its thread. One that nobody has heard of is none for that."""
        state = self._states[entry.thread]
        reason = advance(State(state.small, MemoryMaps()), entry, self.limits).reason
        if is_new:
            del self._states[entry.thread]
            self._replay.cut.pop(entry.thread, None)
        return self._void(read, entry.seq, reason)

    def _void(self, read: Read, seq: int, reason: str) -> Finding:
        self._stand("void")
        return Finding("void", read.thread, seq, read.offset, read.log_time_ms, _cut(reason))


def _divergence(read: Read, found: Divergence) -> Finding:
    of = found.differences
    reason = f"{of.kind}: {of.about}" if of.about else of.kind
    shown = replace(found, differences=_bounded(of), note="\n".join(map(_cut, found.note.splitlines())))
    return Finding("divergence", found.thread, found.seq, read.offset, read.log_time_ms, _cut(reason), shown)


def _bounded(of: Differences) -> Differences:
    """The differences as a record can hold them."""
    first = max(0, (of.at or 0) - LINES_MAX // 4)
    sides = ([_cut(line) for line in side[first : first + LINES_MAX]] for side in (of.recorded, of.now))
    recorded, now = sides
    fields = [Field(_cut(one.path), _side(one.recorded), _side(one.now)) for one in of.fields]
    return Differences(of.kind, _cut(of.about), recorded, now, fields, of.at)


def _side(value: str | None) -> str | None:
    return None if value is None else _cut(value)


def _cut(text: str) -> str:
    return text if len(text) <= CHARS_MAX else f"{text[: CHARS_MAX - 1]}…"
