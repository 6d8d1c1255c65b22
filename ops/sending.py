# SPDX-License-Identifier: Apache-2.0
"""Sending events as a well-behaved producer does: registered schema, full envelope, idempotent, acknowledged."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import fastavro
from confluent_kafka import KafkaException

from ops.context import Trouble
from ops.hints import hints
from ops.printable import printable
from ops.reading import check_broker
from ops.settings import Settings
from schemas.cloudevents import AVRO, JSON, PROTOBUF, read_headers, root_traceparent, write_headers
from schemas.codec import Schema, encode_note
from schemas.errors import UnknownSchema, Unreadable
from schemas.limits import ATTRIBUTE_BYTES, VALUE_BYTES
from schemas.topics import kafka_name
from wire.kafka import SILENT, producer
from wire.registry import Registry

SOURCE = "/threadlog/cli"
CONTENT_TYPES = {"AVRO": AVRO, "PROTOBUF": PROTOBUF, "JSON": JSON}
_FLUSH_S = 30
_IDS_SHOWN = 5


class Unacknowledged(Trouble):
    """Events may have arrived, or may yet; what is sent again under its id is the same event."""


class Sender:
    """Sends events to agent-events; leaves only when the broker has acknowledged them. Raises Unacknowledged.

    `acknowledged`: is told id and thread of each that was."""

    def __init__(self, settings: Settings, acknowledged: Callable[[str, str], None] = lambda id, thread: None) -> None:
        check_broker(settings)
        self._registry = Registry(settings.registry_url)
        self._producer = producer(settings.bootstrap, SILENT)
        self._topic = kafka_name(settings.namespace, "agent-events")
        self._where, self._up, self._failed, self._refused = settings.bootstrap, hints(settings).up, "", 0
        self._acknowledged = acknowledged
        self._open: dict[object, str] = {}  # of what is not acknowledged, the ids
        self._schemas: dict[str, tuple[int, Schema, Any]] = {}

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.flush(_FLUSH_S)
        if self._open and kind in (None, Unacknowledged):
            raise self._unacknowledged() from None

    def send(self, thread: str, type: str, data: dict[str, Any], id: str = "", source: str = SOURCE) -> str:
        """Send one event; its id. Raises Trouble for what is no event, or no record of its type."""
        id = id or secrets.token_hex(12)
        _, schema, _ = self._schema(type)
        value = self._value(type, data)
        try:
            check_thread(thread)
            headers = write_headers(
                id=id, source=source, type=type, thread=thread, time_ms=int(time.time() * 1000), value=value,
                traceparent=root_traceparent(source, id), content_type=CONTENT_TYPES[schema.kind],
            )  # fmt: skip
            read_headers(headers)
        except UnicodeEncodeError as error:
            raise Trouble(f"{error.object!r} is not UTF-8.", "Thread, id and type are text.") from error
        except Unreadable as error:
            raise Trouble(f"This is no event: {error.message}.", "It would only become a dead letter.") from error
        if len(value) > VALUE_BYTES:
            raise Trouble(
                f"The event has {len(value):,} bytes, {VALUE_BYTES:,} are allowed.",
                "Put what is large elsewhere, and its address into the event.",
            )
        self._produce(id, thread, value, headers)
        return id

    def _produce(self, id: str, thread: str, value: bytes, headers: list[tuple[str, bytes | None]]) -> None:
        until, one = time.monotonic() + _FLUSH_S, object()

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self._failed, self._refused = str(error), self._refused + 1
            else:
                self._open.pop(one)
                self._acknowledged(id, thread)

        self._open[one] = id
        while True:
            try:
                self._producer.produce(self._topic, value, thread.encode(), headers=[*headers], on_delivery=delivered)
            except BufferError:  # so far ahead of the broker that the producer holds no more
                if self._producer.poll(0.1):
                    until = time.monotonic() + _FLUSH_S
                elif self._failed or time.monotonic() > until:
                    raise self._unacknowledged() from None
            except KafkaException as error:
                raise Trouble(f"{self._where} does not take the event: {error.args[0].str()}") from error
            else:
                self._producer.poll(0)
                return

    def _unacknowledged(self) -> Unacknowledged:
        ids, count = [*self._open.values()], len(self._open)
        more = f" and {count - _IDS_SHOWN} more" if count > _IDS_SHOWN else ""
        told = f"{printable(', '.join(ids[:_IDS_SHOWN]))}{more}"
        said = f"Not acknowledged by {self._where}: {count} of the events ({told})."
        yet = "They may arrive yet. " if count > self._refused else ""
        return Unacknowledged(f"{said} {self._failed}".strip(), f"{yet}{self._up}")

    def _schema(self, type: str) -> tuple[int, Schema, Any]:
        """The id, the schema and what writes it. Raises Trouble, or RegistryUnavailable."""
        if type not in self._schemas:
            try:
                id = self._registry.id_of(type)
                schema = self._registry.by_id(id)
            except UnknownSchema as error:
                raise Trouble(
                    f"No event type {type!r} is registered.",
                    "`threadlog register FILE` registers its schema, a .avsc or .json.",
                ) from error
            self._schemas[type] = id, schema, writer_of(type, schema)
        return self._schemas[type]

    def _value(self, type: str, data: dict[str, Any]) -> bytes:
        """The data in the Confluent wire format."""
        schema_id, schema, writer = self._schema(type)
        return event_value(type, schema_id, schema.kind, writer, data)


def event_value(type: str, schema_id: int, kind: str, writer: Any, data: dict[str, Any]) -> bytes:
    """An event in the Confluent wire format; `writer` as from `writer_of`. Raises Trouble for no record of its type."""
    prefix = b"\0" + schema_id.to_bytes(4, "big")
    try:
        if kind == "JSON":
            return prefix + json.dumps(data).encode()
        if kind == "PROTOBUF":
            return encode_note(schema_id, **data)
        body = io.BytesIO()
        fastavro.schemaless_writer(body, writer, data, strict=True)
    except Exception as error:  # the libraries raise many kinds on data that does not fit
        fields = [field["name"] for field in writer["fields"]] if writer else ["text", "data"]
        raise Trouble(f"The data is no {type}: {error}", f"Its fields are {', '.join(fields)}.") from error
    return prefix + body.getvalue()


def writer_of(type: str, schema: Schema) -> Any:
    """The parsed Avro schema; None for the other kinds."""
    if schema.kind == "PROTOBUF" and type != "threadlog.Note":
        raise Trouble(
            f"{type} is Protobuf, and of that only threadlog.Note can be sent here.", "Use a client of yours."
        )
    if schema.kind != "AVRO":
        return None
    try:
        parsed: Any = fastavro.parse_schema(json.loads(schema.text))
    except Exception as error:  # as above: a schema that is none is whoever registered it to mend
        raise Trouble(f"The schema of {type} cannot be used: {error}") from error
    if parsed["type"] != "record":
        raise Trouble(f"{type} is of the kind {parsed['type']}, an event is a record.")
    return parsed


def check_thread(thread: str) -> None:
    """Raises Unreadable for what the conversation would not take as a thread, UnicodeEncodeError for half a letter."""
    size = len(thread.encode())
    if not 0 < size <= ATTRIBUTE_BYTES:
        raise Unreadable("thread", f"a thread has 1 to {ATTRIBUTE_BYTES} bytes, this one {size}")


def stable_id(line: str) -> str:
    """The id of an event that came without one: the same line sent again is the same event."""
    return hashlib.sha256(line.encode()).hexdigest()[:24]
