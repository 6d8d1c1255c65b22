# SPDX-License-Identifier: Apache-2.0
"""The operator that verifies the journal: it hands records to `threadlog.verifying`, and writes down what that finds.

An adapter only. Its key is a partition of the journal. Tools are never run, and while handlers are, this thread reaches
nothing. The sum of a partition is told when its source has ended, by a timer for the end of time.

States of threads are written to Flink's state now and then, with the offset up to which they are true; to do so after
each decision costs more than to decide. So after a restore the source goes on behind that offset. What lies between was
verified before the checkpoint, and its findings are in the transaction that the checkpoint has committed: it is read
from the journal and decided once more, for states and counts, and what is found there is not told again.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace
from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

from schemas.cloudevents import root_traceparent, write_headers
from schemas.codec import Codec
from schemas.errors import Unreadable
from schemas.topics import kafka_name
from threadlog.canonical import text
from threadlog.live import LiveRuns
from threadlog.places import Place
from threadlog.replay import input_of
from threadlog.verifying import Checked, Finding, Read, Verifier
from udfs.app_guard import AppCode
from udfs.thread_function import COLLECT_AFTER, patiently
from wire.findings import SOURCE, SUMMARY, TOPIC, TYPE
from wire.frames import OutRecord, Record, pack_out, unpack_in
from wire.journal import TOPIC as JOURNAL
from wire.journal import entry_of, thread_in
from wire.kafka import TopicReader
from wire.registry import Registry
from wire.sealed import sealed

# Flink's last watermark is the largest number; what is due a moment before fires when the sources have ended.
END_OF_TIME = 2**63 - 2
# Executions kept live, a few KB each; threads of a log are mixed, and one that was dropped is executed from its start.
LIVE_RUNS = 20_000
KEY_BYTES_SHOWN = 100  # of a key that names no thread
# After so many records of a partition its states are written: what a restart may have to decide again of each.
STORE_RECORDS = 20_000
_decode_checked = msgspec.json.Decoder(Checked).decode


class ReplayFunction(KeyedProcessFunction):
    """All partitions of one subtask. Takes frames; gives packs of findings."""

    def __init__(
        self,
        app: str,
        app_digest: str,
        namespace: str,
        registry_url: str,
        bootstrap: str,
        run: str,
        ends: Mapping[int, int],
    ) -> None:
        """run: the name of this replay; ends: for each partition the offset at which the source ends."""
        self._code, self._registry_url, self._bootstrap = AppCode(app, app_digest), registry_url, bootstrap
        self._journal, self._topic, self._run = kafka_name(namespace, JOURNAL), kafka_name(namespace, TOPIC), run
        self._ends = {str(partition): end for partition, end in sorted(ends.items())}

    def open(self, context: RuntimeContext) -> None:
        self._app = self._code.load()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        schemas = Registry(self._registry_url)
        self._codec, self._live = Codec(schemas), LiveRuns(LIVE_RUNS)
        patiently(partial(schemas.id_of, TYPE))
        self._threads = context.get_map_state(MapStateDescriptor("threads", Types.STRING(), Types.STRING()))
        self._checked = context.get_state(ValueStateDescriptor("checked", Types.STRING()))
        self._verifiers: dict[str, Verifier] = {}
        self._unstored: dict[str, int] = {}

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> list[bytes]:
        key, record = ctx.get_current_key(), unpack_in(value, with_headers=False)
        verifier = self._verifier(key, record.offset, ctx)
        read = patiently(lambda: self._read(record))
        with sealed():
            found = verifier.take(read)
        self._unstored[key] = self._unstored.get(key, 0) + 1
        if self._unstored[key] >= STORE_RECORDS:
            self._store(key, verifier)
        return [] if found is None else [pack_out([self._finding(key, found)])]

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> list[bytes]:
        key = ctx.get_current_key()
        checked = self._verifier(key, self._ends[str(_partition(key))], ctx).checked
        detail = {**msgspec.to_builtins(checked), "ends": self._ends}
        place = {"thread": "", "seq": 0, "offset": checked.last, "log_time_ms": checked.last_log_ms}
        return [pack_out([self._record(key, SUMMARY, **place, reason="", detail=text(detail))])]

    def _verifier(self, key: str, before: int, ctx: Any) -> Verifier:
        """That of the current partition, which has verified all that lies before an offset."""
        found = self._verifiers.get(key)
        if found is not None:
            return found
        stored = self._checked.value()
        checked = Checked() if stored is None else _decode_checked(stored)
        found = self._verifiers[key] = Verifier(self._app, self._threads, checked, self._live)
        if stored is None:
            ctx.timer_service().register_event_time_timer(END_OF_TIME)
            self._store(key, found)  # that it was begun: the source may be far when it is restored
        else:
            self._decide_once_more(key, found, before)
        return found

    def _decide_once_more(self, key: str, verifier: Verifier, before: int) -> None:
        """What was verified behind the last stored states, and told; they are not there in memory any more."""
        partition, first = _partition(key), verifier.checked.last + 1
        with TopicReader(self._bootstrap, self._journal) as reader:
            for record in reader.read({partition: first}, {partition: before}):
                judged = replace(record, legal_key=thread_in(record.key) != "")
                read = patiently(partial(self._read, judged))
                with sealed():
                    verifier.take(read)

    def _store(self, key: str, verifier: Verifier) -> None:
        verifier.store()
        self._checked.update(text(msgspec.to_builtins(verifier.checked)))
        self._unstored[key] = 0

    def _read(self, record: Record) -> Read:
        place = record.offset, record.timestamp_ms
        if record.key is None or not record.legal_key:
            shown = (record.key or b"")[:KEY_BYTES_SHOWN].decode("utf-8", "backslashreplace")
            return Read(*place, shown, error=Unreadable("illegal_key", "its key names no thread"))
        thread = record.key.decode("utf-8")
        try:
            entry = entry_of(record.value, self._codec)
        except Unreadable as error:
            return Read(*place, thread, error=error)
        try:
            return Read(*place, thread, entry, input_of(entry, self._codec.decode))
        except Unreadable as error:
            return Read(*place, thread, entry, error=error)

    def _finding(self, key: str, found: Finding) -> OutRecord:
        detail = found.divergence
        if detail is not None and detail.place is not None:
            detail = replace(detail, place=seen_from_path(detail.place))
        fields = {name: getattr(found, name) for name in ("thread", "seq", "offset", "log_time_ms", "reason")}
        return self._record(key, found.what, **fields, detail=text(msgspec.to_builtins(detail)))

    def _record(self, key: str, what: str, **fields: Any) -> OutRecord:
        partition = _partition(key)
        fields |= {
            "run": self._run, "what": what, "partition": partition, "app": self._code.spec,
            "app_digest": self._code.digest,
        }  # fmt: skip
        value, subject = self._codec.encode(TYPE, fields), fields["thread"] or f"{self._run}/{partition}"
        id = f"{self._run}/{what}/{partition}/{fields['offset']}"
        headers = write_headers(
            id=id, source=SOURCE, type=TYPE, thread=subject, time_ms=fields["log_time_ms"], value=value,
            traceparent=root_traceparent(SOURCE, id),
        )  # fmt: skip
        return OutRecord(self._topic, subject.encode(), value, headers)


def _partition(key: str) -> int:
    return int(key.partition(".")[0])  # the rest spreads the partitions among the subtasks


def seen_from_path(place: Place) -> Place:
    """A place with its file as it is imported: where Flink unpacks the code is nobody's business."""
    folders = [folder for path in sys.path if place.file.startswith(folder := os.path.join(path, ""))]
    return replace(place, file=place.file.removeprefix(max(folders, key=len, default="")))
