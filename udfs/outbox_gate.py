# SPDX-License-Identifier: Apache-2.0
"""The operator before the tools' queue: it reads the journal, and passes on what its valid entries ask for.

An adapter only; what is valid and what is held is decided in `threadlog.gate`. An ask leaves as the record that the
conversation writes of it, in a frame, keyed by its quota key. A void entry is a dead letter, whether it asks for
something or not: that tells a stop of the conversation that its state may be none of the journal's (`wire.chains`).

Of each thread the state holds its last valid entry, one short string, written on every entry and read once: the threads
of late stay in memory, as in `udfs.thread_state`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import asdict
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor

from schemas.codec import Codec, SchemaSource
from schemas.errors import Unreadable
from schemas.topics import kafka_name
from threadlog.gate import Asked, Kept, Taken, release, take
from udfs.app_guard import OwnCode
from udfs.flink_io import lane
from udfs.outputs import JOURNAL, OUTBOX, RECORDS, Outputs
from udfs.thread_function import now_ms, patiently
from udfs.thread_state import ValueState
from wire.frames import Record, pack_in, pack_out, unpack_in
from wire.journal import entry_of

REFUSED = lane("refused-asks")
VOID, ILLEGAL_KEY = "void", "illegal_key"
THREADS_KEPT_MAX = 50_000  # some 400 bytes each
# So long after the last entry of the past what is still open of it is passed on. Too early, and calls that have ended
# are repeated under their keys; each start of the job waits so long for calls of quiet threads.
QUIET_MS = 2_000

Bounds = Mapping[int, tuple[int, int]]  # by partition: the first offset that is left, and the one after the last
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Kept).decode


class OutboxGate(KeyedProcessFunction):
    """All threads of one subtask. Takes frames of the journal; gives Row(quota key, frame), letters aside."""

    def __init__(self, namespace: str, schemas: SchemaSource, bounds: Bounds) -> None:
        """bounds: of the journal when the job was submitted; what lies below its ends is the past."""
        self._code = OwnCode()
        self._namespace, self._schemas, self._bounds = namespace, schemas, dict(bounds)

    def open(self, context: RuntimeContext) -> None:
        self._code.check()
        self._codec = Codec(self._schemas)
        for name in (RECORDS[JOURNAL], RECORDS[OUTBOX]):
            patiently(partial(self._schemas.id_of, name))
        self._outputs = Outputs(self._codec, self._namespace)
        self._journal = kafka_name(self._namespace, JOURNAL)
        self._threads = Threads(context.get_state(ValueStateDescriptor("thread", Types.STRING())))
        self._past_ms = now_ms()  # when an entry of the past was last read, by any thread

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> list[Any]:
        record = unpack_in(value, with_headers=False)
        if record.key is None or not record.legal_key:
            return self._refuse(value, ILLEGAL_KEY, "the key names no thread, and so no history that could continue")
        try:
            entry = patiently(lambda: entry_of(record.value, self._codec))
        except Unreadable as error:
            return self._refuse(value, error.code, error.message)
        thread, (low, end) = record.key.decode("utf-8"), self._bounds.get(record.partition, (0, 0))
        kept, is_past = self._threads.load(thread), record.offset < end
        place = (record.partition, record.offset, record.timestamp_ms)
        taken = take(kept, entry, thread, place, past=is_past, is_cut=low > 0)
        if taken.kept is not kept:
            self._threads.store(thread, taken.kept)
        if is_past:
            self._past_ms = now_ms()
            self._look_again(ctx, taken.kept)
        refused = self._refuse(value, VOID, taken.refused) if taken.refused else []
        return [*refused, *self._rows(taken)]

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> list[Any]:
        thread = ctx.get_current_key()
        kept = self._threads.load(thread)
        if now_ms() < self._past_ms + QUIET_MS:
            self._look_again(ctx, kept)
            return []
        taken = release(kept)
        self._threads.store(thread, taken.kept)
        return self._rows(taken)

    def _look_again(self, ctx: Any, kept: Kept) -> None:
        """While something is held, see later whether it is over; the same timer for all entries of a while."""
        if kept.held:
            due = (now_ms() // QUIET_MS + 1) * QUIET_MS + QUIET_MS
            ctx.timer_service().register_processing_time_timer(due)

    def _rows(self, taken: Taken) -> list[Any]:
        return [Row(asked.ask.quota_key, self._frame(asked)) for asked in taken.asks]

    def _frame(self, asked: Asked) -> bytes:
        made = self._outputs.ask(asdict(asked.ask), asked.time_ms)
        return pack_in(Record(self._journal, *asked.place, made.key, made.value, made.headers))

    def _refuse(self, frame: bytes, code: str, reason: str) -> list[Any]:
        letter = self._outputs.dead_letter(unpack_in(frame), code, reason)
        return [(REFUSED, pack_out([letter]))]


class Threads:
    """What is kept of threads, in Flink's state of the current one; those of late in memory too."""

    def __init__(self, value: ValueState, kept_max: int = THREADS_KEPT_MAX) -> None:
        self._value, self._max = value, kept_max
        self._late: OrderedDict[str, Kept] = OrderedDict()

    def load(self, thread: str) -> Kept:
        """The current thread as it was stored last, or a new one."""
        found = self._late.get(thread)
        if found is None:
            stored = self._value.value()
            found = Kept() if stored is None else _decode(stored)
        return found

    def store(self, thread: str, kept: Kept) -> None:
        """Write the current thread down."""
        self._value.update(_encode(kept).decode())
        self._late[thread] = kept
        self._late.move_to_end(thread)
        if len(self._late) > self._max:
            self._late.popitem(last=False)
