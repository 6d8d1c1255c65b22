# SPDX-License-Identifier: Apache-2.0
"""The operator that verifies the journal: it hands records to `threadlog.verifying`, and writes down what that finds.

An adapter only. Its key is a partition of the journal. Tools are never run, and while handlers are, this thread reaches
nothing.

States are written to Flink's state now and then, with how far they are true; a checkpoint takes them as of then, and
what has come since is not in it. So after a restore, before the first record of a partition:

    states as of `last` ──► the journal behind `last` is read here and verified, nothing is told ──► the first record

All of that lay before the checkpoint: what it found is in the transaction that the checkpoint committed.

The sum of a partition is told when its source has ended, by a timer for the end of time. A partition that has no record
left after a restore is brought up to its end there.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Mapping
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
from wire.frames import OutRecord, Record, pack_out, thread_in, unpack_in
from wire.journal import TOPIC as JOURNAL
from wire.journal import entry_of
from wire.kafka import TopicReader
from wire.registry import Registry
from wire.sealed import sealed

# Flink's last watermark is the largest number; what is due a moment before fires when the sources have ended.
END_OF_TIME = 2**63 - 2
# Executions kept live, a few KB each; threads of a log are mixed, and one that was dropped is executed from its start.
LIVE_RUNS = 20_000
KEY_BYTES_SHOWN = 100  # of a key that names no thread
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
        self._ends = dict(sorted(ends.items()))

    def open(self, context: RuntimeContext) -> None:
        self._app = self._code.load()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        schemas = Registry(self._registry_url)
        self._codec, self._live = Codec(schemas), LiveRuns(LIVE_RUNS)
        patiently(partial(schemas.id_of, TYPE))
        self._threads = context.get_map_state(MapStateDescriptor("threads", Types.STRING(), Types.STRING()))
        self._checked = context.get_state(ValueStateDescriptor("checked", Types.STRING()))
        self._verifiers: dict[int, Verifier] = {}

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> list[bytes]:
        record = unpack_in(value, with_headers=False)
        verifier = self._verifiers.get(record.partition) or self._begin(record.partition, record.offset, ctx)
        found = self._take(verifier, record)
        return [] if found is None else [pack_out([self._finding(record.partition, found)])]

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> list[bytes]:
        partition = int(ctx.get_current_key().partition(".")[0])  # the rest spreads the partitions among the subtasks
        verifier = self._verifiers.get(partition) or self._begin(partition, self._ends[partition], ctx)
        checked = verifier.checked
        detail = {**msgspec.to_builtins(checked), "ends": {str(p): end for p, end in self._ends.items()}}
        place = {"thread": "", "seq": 0, "offset": checked.last, "log_time_ms": checked.last_log_ms}
        return [pack_out([self._record(partition, SUMMARY, **place, reason="", detail=text(detail))])]

    def _begin(self, partition: int, before: int, ctx: Any) -> Verifier:
        """The verifier of the current partition, which has everything behind it that lies before an offset."""
        stored = self._checked.value()
        checked = Checked() if stored is None else _decode_checked(stored)
        verifier = Verifier(self._app, self._threads, checked, self._live)
        if stored is None:  # the first record of all, and what it leaves is stored at once
            ctx.timer_service().register_event_time_timer(END_OF_TIME)
        else:
            for record in self._behind(partition, checked.last, before):
                self._take(verifier, record)
            self._store(verifier)  # or a job that dies often would do the same again and again
        self._verifiers[partition] = verifier
        return verifier

    def _behind(self, partition: int, last: int, before: int) -> Iterator[Record]:
        """The records of the journal between two offsets. Raises RuntimeError where some may be gone."""
        if last + 1 >= before:
            return
        with TopicReader(self._bootstrap, self._journal) as reader:
            if reader.marks()[partition][0] > last + 1:
                raise RuntimeError(
                    f"{self._journal}/{partition}: what follows offset {last} was deleted by retention while it was"
                    " verified: replay under another name"
                )
            yield from reader.read({partition: last + 1}, {partition: before})

    def _take(self, verifier: Verifier, record: Record) -> Finding | None:
        read = patiently(lambda: self._read(record))
        with sealed():
            found = verifier.take(read)
        if verifier.is_due:
            self._store(verifier)
        return found

    def _store(self, verifier: Verifier) -> None:
        """Write down the current partition: states and where they stand are of the same moment."""
        verifier.store()
        self._checked.update(text(msgspec.to_builtins(verifier.checked)))

    def _read(self, record: Record) -> Read:
        place = record.offset, record.timestamp_ms
        thread = thread_in(record.key)
        if not thread:
            shown = (record.key or b"")[:KEY_BYTES_SHOWN].decode("utf-8", "backslashreplace")
            return Read(*place, shown, error=Unreadable("illegal_key", "its key names no thread"))
        try:
            entry = entry_of(record.value, self._codec)
        except Unreadable as error:
            return Read(*place, thread, error=error)
        try:
            return Read(*place, thread, entry, input_of(entry, self._codec.decode))
        except Unreadable as error:
            return Read(*place, thread, entry, error=error)

    def _finding(self, partition: int, found: Finding) -> OutRecord:
        detail = found.divergence
        if detail is not None and detail.place is not None:
            detail = replace(detail, place=seen_from_path(detail.place))
        fields = {name: getattr(found, name) for name in ("thread", "seq", "offset", "log_time_ms", "reason")}
        return self._record(partition, found.what, **fields, detail=text(msgspec.to_builtins(detail)))

    def _record(self, partition: int, what: str, **fields: Any) -> OutRecord:
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


def seen_from_path(place: Place) -> Place:
    """A place with its file as it is imported: where Flink unpacks the code is nobody's business."""
    folders = [folder for path in sys.path if place.file.startswith(folder := os.path.join(path, ""))]
    return replace(place, file=place.file.removeprefix(max(folders, key=len, default="")))
