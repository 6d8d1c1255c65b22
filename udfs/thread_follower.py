# SPDX-License-Identifier: Apache-2.0
"""The conversation operator while it catches up: it follows the journal and decides nothing.

It stands in the job graph where `ThreadFunction` stands and has its state, so what it leaves in a savepoint is what
that goes on with. It writes no record. It runs no code of the app, so a state can be rebuilt whatever became of that.

Timers are not fired but held back: while a thread has any, one Flink timer is armed for it, at a time when the catch-up
may be over, and armed anew as long as it is not. In the live job that timer is soon due and fires whatever is.

Of a journal whose beginning retention has cut, a thread is followed from its first snapshot on. One that has none, and
that the restored state does not reach, is left behind its journal; the live job decides nothing for it (`Kept.is_cut`).
"""

from __future__ import annotations

import gc
import sys
from functools import partial
from typing import Any

from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from schemas.codec import Codec, SchemaSource
from schemas.errors import Unreadable
from threadlog.following import Head, catch_up
from threadlog.limits import Limits
from threadlog.state import State
from udfs.app_guard import OwnCode
from udfs.thread_function import COLLECT_AFTER, earliest, now_ms, patiently, rearmed, thread_state
from udfs.thread_state import NO_HEAD, NO_TIMER, Kept
from wire.control import CONVERSATION
from wire.frames import Record, unpack_each
from wire.journal import TYPE, entry_of
from wire.kafka import prompt_producer
from wire.leases import TYPE as LEASE
from wire.leases import Lease

HOLD_MS = 5_000
# How many void entries a TaskManager's log names; the journal holds them all, and its readers name each.
VOIDS_TOLD_MAX = 20


class ThreadFollower(KeyedProcessFunction):
    """All threads of one subtask. Takes frames of the journal, one or more of a thread; gives nothing."""

    def __init__(
        self,
        schemas: SchemaSource,
        generation: str,
        namespace: str = "",
        bootstrap: str = "",
        cut: frozenset[int] = frozenset(),
    ) -> None:
        """namespace, bootstrap: where the conversation's lease is held, so that nobody starts it; "" for nowhere.

        cut: the partitions of the journal whose first records are gone."""
        self._cut = cut
        self._code = OwnCode()
        self._schemas, self._generation, self._bootstrap = schemas, generation, bootstrap
        self._lease = Lease(CONVERSATION, namespace)

    def open(self, context: RuntimeContext) -> None:
        self._code.check()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        self._codec, self._limits = Codec(self._schemas), Limits()
        patiently(partial(self._schemas.id_of, TYPE))
        self._state, self._voids = thread_state(context), 0
        if self._bootstrap:
            patiently(partial(self._schemas.id_of, LEASE))
            self._lease.hold(prompt_producer(self._bootstrap), self._codec)

    def close(self) -> None:
        self._lease.release()

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> list[Any]:
        kept: Kept | None = None
        before = head = NO_HEAD
        for record in unpack_each(value):
            if record.key is None or not record.legal_key:
                self._void(record, "its key names no thread")
                continue
            if kept is None:
                kept = self._state.load(record.key.decode("utf-8"))
                before = head = kept.read(self._generation)
            head = self._follow(kept, head, record)
        if kept is not None and head != before:
            kept.store(self._held_back(ctx, kept, kept.timer_ms), head, self._generation)
        return []

    def _follow(self, kept: Kept, head: Head, record: Record) -> Head:
        """Follow one entry of the thread, which has been read up to `head`; how far it is read then."""
        try:
            entry = patiently(lambda: entry_of(record.value, self._codec))
        except Unreadable as error:
            self._void(record, str(error))
            return head
        followed = catch_up(State(kept.small, kept), head, entry, self._limits, record.partition in self._cut)
        if followed.standing == "void":
            self._void(record, followed.reason)
            return head
        if followed.begun is not None:
            kept.begin(followed.begun)
        if followed.small is not None and followed.maps is not None:
            kept.follow(followed.small, followed.maps)
        return followed.head

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> list[Any]:
        kept = self._state.load(ctx.get_current_key())
        kept.store(self._held_back(ctx, kept, NO_TIMER), kept.read(self._generation), self._generation)
        return []

    def _held_back(self, ctx: Any, kept: Kept, armed: int) -> int:
        due = earliest(kept.small)
        return armed if due is None else rearmed(ctx.timer_service, armed, max(due, now_ms() + HOLD_MS))

    def _void(self, record: Record, reason: str) -> None:
        self._voids += 1
        if self._voids <= VOIDS_TOLD_MAX:
            place = f"{record.topic} at {record.partition}/{record.offset}"
            print(f"threadlog: void and left out, {place}: {reason}", file=sys.stderr, flush=True)
