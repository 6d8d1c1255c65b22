# SPDX-License-Identifier: Apache-2.0
"""The tools operator: it hands asks and results of a quota key to its queue, and carries out what the queue says.

An adapter only. A key with work holds a timer, which Flink restores with its state: it is due at once in a new process,
and fires again what was pending there. A quiet key would otherwise never wake up.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor

from schemas.cloudevents import Envelope, read_headers
from schemas.codec import Codec, SchemaSource
from schemas.errors import Unreadable
from schemas.topics import topic_of
from threadlog.queueing import Action, Queue, forged
from threadlog.runs import CALL_ERRORS
from udfs.answered import Answered
from udfs.app_guard import AppCode
from udfs.outputs import Outputs
from udfs.reactor import Reactor, now_ms, take_over
from udfs.results import ResultSink
from udfs.thread_function import patiently
from wire import inputs
from wire.control import TOOLS
from wire.frames import Record, pack_out, unpack_in
from wire.kafka import producer

WATCH_MS = 1_000
# Until what is written now lies in a completed checkpoint: one may be under way already, and the next takes its time.
HOLD_CHECKPOINTS, HOLD_MS = 3, 2_000
ASK, RESULT = "threadlog.ToolCall", "threadlog.ToolResult"
JOURNAL = "agent-decisions"  # the only topic whose asks are those of committed decisions; they come by the outbox gate
STATUSES = frozenset({"done", *CALL_ERRORS})
BELONGS = {"tool-results": RESULT, JOURNAL: ASK, "tool-reads": ASK}


class MapSlots:
    """The queue's state in Flink's map state: JSON strings."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def get(self, key: str) -> Any:
        stored = self._state.get(key)
        return None if stored is None else msgspec.json.decode(stored)

    def put(self, key: str, value: Any) -> None:
        self._state.put(key, msgspec.json.encode(value).decode())

    def remove(self, key: str) -> None:
        self._state.remove(key)

    def keys(self) -> list[str]:
        return list(self._state.keys())


class PendingSlots(MapSlots):
    """What is pending of the quota key `of`.

    Its keys are kept in memory too: the watch looks through them every second, and to walk a map of Flink's costs some
    20 us a pair. The instance is the only writer, so what it has read stays true."""

    of = ""

    def __init__(self, state: Any) -> None:
        super().__init__(state)
        self._known: dict[str, set[str]] = {}

    def put(self, key: str, value: Any) -> None:
        super().put(key, value)
        if self.of in self._known:
            self._known[self.of].add(key)

    def remove(self, key: str) -> None:
        super().remove(key)
        if self.of in self._known:
            self._known[self.of].discard(key)

    def keys(self) -> list[str]:
        known = self._known.get(self.of)
        if known is None:
            known = self._known[self.of] = set(super().keys())
        if not known:
            del self._known[self.of]
        return list(known)


class ToolQueue(KeyedProcessFunction):
    """All quota keys of one subtask. Takes frames; gives packs of dead letters."""

    def __init__(
        self,
        app: str,
        app_digest: str,
        namespace: str,
        bootstrap: str,
        schemas: SchemaSource,
        checkpoint_interval_ms: int,
        allowed: frozenset[str] | None = None,
    ) -> None:
        """allowed: in a branch the tools with an effect that may run."""
        self._allowed = allowed
        self._code = AppCode(app, app_digest)
        self._namespace, self._bootstrap, self._schemas = namespace, bootstrap, schemas
        self._hold_ms = HOLD_CHECKPOINTS * checkpoint_interval_ms + HOLD_MS

    def open(self, context: RuntimeContext) -> None:
        app = self._code.load()
        self._codec = Codec(self._schemas)
        patiently(partial(inputs.check, self._bootstrap, self._namespace, self._codec, TOOLS))
        for name in (ASK, RESULT):
            patiently(partial(self._schemas.id_of, name))
        self._outputs = Outputs(self._codec, self._namespace)
        # Two maps: each watch looks through what is pending, which is little, and not through what waits.
        waiting, pending = (
            context.get_map_state(MapStateDescriptor(name, Types.STRING(), Types.STRING()))
            for name in ("queue", "pending")
        )
        self._pending = PendingSlots(pending)
        answered = Answered(self._bootstrap, self._namespace, self._codec)
        self._queue = Queue(
            MapSlots(waiting), self._pending, app, now_ms(), self._hold_ms,
            lambda ask: patiently(partial(answered.has, ask)),
        )  # fmt: skip
        self._queue.allowed = self._allowed
        # A TaskManager has one slot, so a process has one subtask of this operator; PyFlink cannot tell its index here.
        self._reactor: Reactor = take_over(self._namespace, lambda: Reactor(app, self._sink()))

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> list[Any]:
        record = unpack_in(value)
        key = self._pending.of = ctx.get_current_key()
        try:
            actions = self._read(record, key)
        except Unreadable as error:
            return [pack_out([self._outputs.dead_letter(record, error.code, error.message)])]
        dead = [a for action in actions if (a := self._carry_out(action, record)) is not None]
        self._watch(ctx)
        return [pack_out(dead)] if dead else []

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> list[Any]:
        self._pending.of = ctx.get_current_key()
        for action in self._queue.recover(self._reactor.in_hand(), now_ms()):
            self._carry_out(action, None)
        self._watch(ctx)
        return []

    def _sink(self) -> ResultSink:
        return ResultSink(partial(producer, self._bootstrap), self._codec, self._namespace)

    def close(self) -> None:
        """No effect goes on after the task has ended; a task that did not open has nothing to end."""
        reactor = getattr(self, "_reactor", None)
        if reactor is not None:
            reactor.close()

    def _read(self, record: Record, key: str) -> list[Action]:
        if key.startswith("\0"):
            raise Unreadable("illegal_key", "the header quota-key is missing or names no quota")
        envelope = read_headers(record.headers)
        type_, _, data = patiently(lambda: self._codec.decode(record.value))
        topic = topic_of(self._namespace, record.topic)
        if type_ != BELONGS.get(topic):
            raise Unreadable("misplaced", f"a {type_!r} does not belong into {topic}")
        if type_ == RESULT:
            if data["quota_key"] != key or forged(data) or data["status"] not in STATUSES:
                return []  # not the answer of any call here; the conversation reports it
            self._reactor.forget(data["call_id"])
            return self._queue.finished(data["call_id"], now_ms())
        _check(envelope, data, key, topic)
        return self._queue.accept({**data, "traceparent": envelope.traceparent}, now_ms())

    def _carry_out(self, action: Action, record: Record | None) -> Any:
        if action.do == "fire":
            self._reactor.fire(action.ask, action.again)
        elif action.do == "answer":
            self._reactor.answer(action.ask, action.status, action.reason)
        elif record is not None:
            return self._outputs.dead_letter(record, "forged", action.reason)
        return None

    def _watch(self, ctx: Any) -> None:
        """While there is work, look again at the next full second; the same timer for all elements of a second."""
        if self._queue.busy():
            ctx.timer_service().register_processing_time_timer((now_ms() // WATCH_MS + 1) * WATCH_MS)


def _check(envelope: Envelope, ask: dict[str, Any], key: str, topic: str) -> None:
    """Envelope, ask and place must tell one story."""
    if envelope.subject != ask["thread"]:  # the result's own key and headers, which are bounded like these
        raise Unreadable("ce_subject", f"the header says {envelope.subject!r}, the ask {ask['thread'][:100]!r}")
    if ask["quota_key"] != key:  # its result would come back under that other key and never free the slot here
        raise Unreadable("misplaced", f"the header quota-key says {key!r}, the ask {ask['quota_key'][:100]!r}")
    if ask["effect"] != "read" and topic != JOURNAL:  # its decision may never have been committed
        raise Unreadable("misplaced", f"a call with an effect does not belong into {topic}")
