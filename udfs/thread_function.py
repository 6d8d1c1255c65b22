# SPDX-License-Identifier: Apache-2.0
"""The conversation operator: it hands each record and each due timer to the engine, and writes down the decision.

An adapter only. It knows frames, keyed state, timers and the clock; what a record means is decided in
`threadlog.engine`.

One Flink timer is registered per thread. It is never later than the earliest due time of the thread's state, but may be
earlier: most timers are deadlines of calls, and most calls are answered in time, so a timer that is no longer needed is
left to fire and find nothing due. To take it back and register the next deadline on every turn cost more.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, TimerService
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

from schemas.codec import Codec, SchemaSource
from schemas.errors import RegistryUnavailable
from schemas.topics import kafka_name
from threadlog.engine import step
from threadlog.inputs import Input, timer
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.state import Small, State
from udfs.app_guard import AppCode
from udfs.backlog import Backlog
from udfs.flink_io import lane
from udfs.inputs import Inputs
from udfs.outputs import RECORDS, Outputs
from udfs.thread_state import NO_TIMER, Kept, ThreadState
from wire import generations, inputs
from wire.control import CONVERSATION, Overtaken
from wire.decided import Place
from wire.frames import OutRecord, Record, pack_out, unpack_in
from wire.kafka import prompt_producer
from wire.leases import TYPE as LEASE
from wire.leases import Lease

READS = lane("tool-reads")
COLLECT_AFTER = (20_000, 20, 20)
CUT = (
    "the journal's entries of this thread are gone up to a point that no snapshot of it follows: what it was to go on "
    "from is not known"
)
REUSED = (
    "a record with this offset or a later one of the partition was decided before, and this one was appended since: "
    "the topic was made anew or has lost its end; `threadlog branch` makes inputs that begin behind what is known"
)
# Flink calls no one else while timers fire: what is still due after so many fires in the next round.
TIMERS_PER_ROUND_MAX = 64
# Together longer than a registry's restart; then the task fails, and Flink starts it again from the last checkpoint.
REGISTRY_PAUSES_S = (0.1, 0.3, 1.0, 2.0, 4.0)

R = TypeVar("R")
Outcome = list[Any]


class ThreadFunction(KeyedProcessFunction):
    """All threads of one subtask. Takes frames; gives packs, with reads on the side."""

    def __init__(
        self, app: str, app_digest: str, namespace: str, schemas: SchemaSource, bootstrap: str = "",
        generation: int = 0, told: frozenset[Place] = frozenset(),
    ) -> None:  # fmt: skip
        """bootstrap: the broker on which the job's lease is held; "" for none. generation: the start that this is of,
        0 for none. told: inputs of no thread whose dead letters are there; no thread knows that it has handled them."""
        self._code, self._generation = AppCode(app, app_digest), generation
        self._namespace, self._schemas, self._bootstrap = namespace, schemas, bootstrap
        self._lease = Lease(CONVERSATION, namespace, generation)
        self._told = frozenset((kafka_name(namespace, topic), partition, offset) for topic, partition, offset in told)

    def open(self, context: RuntimeContext) -> None:
        self._app = self._code.load()
        # What is loaded by now stays: the collector need not look at it again and again, nor after every 700 objects
        # of a turn. A seventh of a turn's time in Python went there.
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        self._limits, self._live = Limits(), LiveRuns()
        codec = Codec(self._schemas)
        for name in set(RECORDS.values()):  # from here on, writing needs no registry
            patiently(partial(self._schemas.id_of, name))
        self._inputs = Inputs(codec, self._namespace)
        self._outputs = Outputs(codec, self._namespace, self._generation)
        self._state = thread_state(context)
        if self._bootstrap:
            self._hold(codec)
        self._backlog = Backlog(now_ms(), self._lease.steady_s)

    def _hold(self, codec: Codec) -> None:
        """Hold the lease. Raises Overtaken or LostInputs where this attempt may not go on; KafkaException."""
        # Not of `self`, which holds the lease: the next attempt's `gc.freeze` would keep such a ring for good.
        where, generation = (self._bootstrap, self._namespace, codec), self._generation

        def look() -> None:
            if generation:
                generations.check(*where, CONVERSATION, generation)

        def begin() -> None:
            if generation:
                mine = patiently(lambda: generations.check(*where, CONVERSATION, generation))
                generations.alone_since(*where, mine)
            patiently(lambda: inputs.check(*where, CONVERSATION))

        patiently(partial(self._schemas.id_of, LEASE))
        self._lease.hold(prompt_producer(self._bootstrap), codec, begin, look)

    def close(self) -> None:
        self._lease.release()

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Outcome:
        record = unpack_in(value)
        if record.key is None or not record.legal_key:
            if (record.topic, record.partition, record.offset) in self._told:
                return []
            reason = "the key names no thread: 1 to 512 bytes of UTF-8 without control characters are needed"
            return packs([self._outputs.dead_letter(record, "illegal_key", reason)], [])
        now = now_ms()
        self._backlog.came(record.timestamp_ms, now)
        # The key of the stream is the record's; to ask Flink for it costs a call into Java.
        outcome = self._handle(record, record.key.decode("utf-8"), now, ctx)
        self._backlog.took(now, now_ms())
        return outcome

    def _handle(self, record: Record, thread: str, now: int, ctx: KeyedProcessFunction.Context) -> Outcome:
        input = patiently(lambda: self._inputs.of_record(record, thread, now))
        kept = self._state.load(thread)
        if kept.is_cut:
            return packs([self._outputs.dead_letter(record, "history_cut", CUT)], [])
        committed, at_once = self._decide(kept, input, record)
        if committed:
            kept.store(rearmed(ctx.timer_service, kept.timer_ms, self._next(kept.small, now)))
        elif self._backlog.is_new(record.timestamp_ms, kept.small["core"]["now"]):
            return packs([self._outputs.dead_letter(record, "offset_reused", REUSED)], [])
        return packs(committed, at_once)  # nothing for a record that the source gave before

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Outcome:
        thread, now = ctx.get_current_key(), max(timestamp, now_ms())
        kept, committed, at_once = self._state.load(thread), [], []
        if kept.is_cut:
            return []
        for _ in range(TIMERS_PER_ROUND_MAX):
            due, timer_id = min(((due, id) for id, due in kept.small["timers"].items()), default=(now + 1, ""))
            if due > now or not self._backlog.may_fire(due, now):
                break
            more, reads = self._decide(kept, timer(thread, timer_id, due, now), None)
            committed += more
            at_once += reads
        kept.store(rearmed(ctx.timer_service, NO_TIMER, self._next(kept.small, now)))
        return packs(committed, at_once)

    def _next(self, small: Small, now: int) -> int | None:
        """When the thread has to be looked at again."""
        due = earliest(small)
        return None if due is None else self._backlog.not_before(due, now)

    def _decide(self, kept: Kept, input: Input, cause: Record | None) -> tuple[list[OutRecord], list[OutRecord]]:
        """One step of the current thread; the records to send, none where its decision is in the journal already.

        Raises Overtaken once a later start of the job has been made."""
        if trouble := self._lease.why_not():
            raise Overtaken(trouble)
        decision = step(State(kept.small, kept), input, self._app, self._limits, self._live)
        if decision is None:
            return [], []
        kept.follow(decision.state, decision.maps)
        return self._outputs.of_decision(decision, cause)


def thread_state(context: RuntimeContext) -> ThreadState:
    """The keyed state of threads, under the names by which a savepoint gives it back."""
    small = context.get_state(ValueStateDescriptor("thread", Types.STRING()))
    maps = context.get_map_state(MapStateDescriptor("maps", Types.STRING(), Types.STRING()))
    return ThreadState(small, maps)


def rearmed(service: Callable[[], TimerService], armed: int, due: int | None) -> int:
    """See that the thread's Flink timer fires no later than `due`; when it fires now. `armed`: when it did so far."""
    if due is None or NO_TIMER < armed <= due:
        return armed
    timers = service()
    if armed != NO_TIMER:
        timers.delete_processing_time_timer(armed)
    timers.register_processing_time_timer(due)
    return due


def earliest(small: Small) -> int | None:
    """When the next timer of a thread is due."""
    return min(small["timers"].values(), default=None)


def packs(committed: list[OutRecord], at_once: list[OutRecord]) -> Outcome:
    """What an operator gives to Flink: at most one pack for each lane."""
    main = [pack_out(committed)] if committed else []
    return [*main, (READS, pack_out(at_once))] if at_once else main


def patiently(read: Callable[[], R]) -> R:
    """The result of something that may need the registry, which may be restarting just now."""
    for pause_s in REGISTRY_PAUSES_S:
        try:
            return read()
        except RegistryUnavailable:
            time.sleep(pause_s)
    return read()


def now_ms() -> int:
    """The operator's clock, Unix epoch in milliseconds: an input of the engine, recorded in the journal."""
    return time.time_ns() // 1_000_000
