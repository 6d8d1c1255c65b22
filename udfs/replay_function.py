# SPDX-License-Identifier: Apache-2.0
"""The operator that verifies the journal: it reads slices of it, hands the records to `threadlog.verifying`, and
writes down what that finds.

An adapter only. Its key is a partition of the journal, whose slices come in their order:

    slice ──► its records, read here ──► verified; findings ──► states, and how far they are true, are stored

Flink takes no checkpoint within a slice, so each holds states, and the findings before it, of one moment. A slice that
a crash has cut off comes again. Tools are never run, and while handlers are, this thread reaches nothing. The sum of a
partition is told behind its last slice.
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
from schemas.codec import Codec, SchemaSource
from schemas.errors import Unreadable
from schemas.topics import kafka_name
from threadlog.canonical import text
from threadlog.live import LiveRuns
from threadlog.places import Place
from threadlog.replay import input_of
from threadlog.verifying import Checked, Finding, Read, Verifier
from udfs.app_guard import AppCode
from udfs.slices import Slice, SliceReader
from udfs.thread_function import COLLECT_AFTER, patiently
from wire.findings import SOURCE, SUMMARY, TOPIC, TYPE, group
from wire.frames import OutRecord, Record, pack_out, thread_in
from wire.journal import TOPIC as JOURNAL
from wire.journal import entry_of
from wire.kafka import TopicReader
from wire.sealed import sealed

# Executions kept live, a few KB each; threads of a log are mixed, and one that was dropped is executed from its start.
LIVE_RUNS = 20_000
KEY_BYTES_SHOWN = 100  # of a key that names no thread
_decode_checked = msgspec.json.Decoder(Checked).decode


class ReplayFunction(KeyedProcessFunction):
    """All partitions of one subtask. Takes slices; gives packs of findings."""

    def __init__(
        self,
        app: str,
        app_digest: str,
        namespace: str,
        schemas: SchemaSource,
        bootstrap: str,
        run: str,
        ends: Mapping[int, int],
    ) -> None:
        """run: the name of this replay; ends: for each partition the offset at which its last slice ends."""
        self._code, self._schemas, self._bootstrap = AppCode(app, app_digest), schemas, bootstrap
        self._journal, self._topic, self._run = kafka_name(namespace, JOURNAL), kafka_name(namespace, TOPIC), run
        self._group = group(namespace, run)
        self._ends = dict(sorted(ends.items()))

    def open(self, context: RuntimeContext) -> None:
        self._app = self._code.load()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        self._codec, self._live = Codec(self._schemas), LiveRuns(LIVE_RUNS)
        patiently(partial(self._schemas.id_of, TYPE))
        self._threads = context.get_map_state(MapStateDescriptor("threads", Types.STRING(), Types.STRING()))
        self._checked = context.get_state(ValueStateDescriptor("checked", Types.STRING()))
        self._verifiers: dict[int, Verifier] = {}
        self._reader: SliceReader | None = None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[bytes]:
        piece = Slice.unpack(value)
        verifier = self._verifier(piece.partition)
        for record in self._records(piece, verifier.checked):
            if (found := self._take(verifier, record)) is not None:
                yield pack_out([self._finding(piece.partition, found)])
        verifier.store()
        self._checked.update(text(msgspec.to_builtins(verifier.checked)))
        if piece.before == self._ends[piece.partition]:
            del self._verifiers[piece.partition]
            yield pack_out([self._sum(piece.partition, verifier.checked)])

    def _verifier(self, partition: int) -> Verifier:
        """The verifier of the current partition, from what is stored of it."""
        if partition not in self._verifiers:
            stored = self._checked.value()
            checked = Checked() if stored is None else _decode_checked(stored)
            self._verifiers[partition] = Verifier(self._app, self._threads, checked, self._live)
        return self._verifiers[partition]

    def _records(self, piece: Slice, checked: Checked) -> Iterator[Record]:
        """The records of a slice. Raises Deleted where some are gone that were there before."""
        if self._reader is None or self._reader.partition != piece.partition:
            self.close()
            reader = TopicReader(self._bootstrap, self._journal, self._group)
            self._reader = SliceReader(reader, piece.partition, self._ends[piece.partition])
        if not checked.records:
            checked.low = self._reader.low
        elif checked.low < 0:  # restored from a checkpoint of code that did not note it
            checked.low = min(self._reader.low, checked.first)
        return self._reader.read(piece, goes_on=checked.records > 0)

    def _take(self, verifier: Verifier, record: Record) -> Finding | None:
        read = patiently(lambda: self._read(record))
        with sealed():
            found = verifier.take(read)
        if verifier.is_full:
            verifier.store()
        return found

    def _sum(self, partition: int, checked: Checked) -> OutRecord:
        detail = {**msgspec.to_builtins(checked), "ends": {str(p): end for p, end in self._ends.items()}}
        place = {"thread": "", "seq": 0, "offset": checked.last, "log_time_ms": checked.last_log_ms}
        return self._record(partition, SUMMARY, **place, reason="", detail=text(detail))

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
