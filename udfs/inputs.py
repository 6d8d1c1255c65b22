# SPDX-License-Identifier: Apache-2.0
"""A Kafka record as an input of the engine. What cannot be read is one too: it takes its place in the journal."""

from __future__ import annotations

from schemas.cloudevents import Envelope, read_headers
from schemas.codec import Codec
from schemas.errors import Unreadable
from schemas.topics import topic_of
from threadlog.inputs import Input, Kind
from wire.frames import Record

RESULTS = "tool-results"
RESULT_TYPE = "threadlog.ToolResult"


class Inputs:
    """Turns Kafka records of one namespace into inputs."""

    def __init__(self, codec: Codec, namespace: str) -> None:
        self._codec, self._namespace = codec, namespace

    def of_record(self, record: Record, thread: str, clock_ms: int) -> Input:
        """The input that a record is. Raises RegistryUnavailable, which says nothing about the record."""
        topic = topic_of(self._namespace, record.topic)
        place = (thread, topic, record.partition, record.offset, record.timestamp_ms, clock_ms)
        try:
            envelope = read_headers(record.headers)
            type_, schema_id, data = self._codec.decode(record.value)
            _check(envelope, type_, thread, topic)
        except Unreadable as error:
            return Input("poison", *place, value=record.value or b"", reason=f"{error.code}: {error.message}")
        kind: Kind = "result" if topic == RESULTS else "event"
        return Input(
            kind, *place, source=envelope.source, id=envelope.id, type=type_, data=data, schema_id=schema_id,
            value=record.value or b"", traceparent=envelope.traceparent,
        )  # fmt: skip


def _check(envelope: Envelope, type_: str, thread: str, topic: str) -> None:
    """Envelope, value and place must tell one story; what is forged or misplaced seldom does."""
    if envelope.type != type_:
        raise Unreadable("ce_type", f"the header says {envelope.type!r}, the value is a {type_!r}")
    if envelope.subject and envelope.subject != thread:
        raise Unreadable("ce_subject", f"the header says {envelope.subject!r}, the key says {thread!r}")
    if (topic == RESULTS) != (type_ == RESULT_TYPE):
        raise Unreadable("misplaced", f"a {type_!r} does not belong into {topic}")
