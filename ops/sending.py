# SPDX-License-Identifier: Apache-2.0
"""Sending events as a well-behaved producer does: registered schema, full envelope, idempotent, acknowledged."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import time
from types import TracebackType
from typing import Any

import fastavro

from ops.context import Trouble
from ops.settings import Settings
from schemas.cloudevents import root_traceparent, write_headers
from schemas.errors import RegistryUnavailable, UnknownSchema
from schemas.topics import kafka_name
from wire.kafka import producer
from wire.registry import Registry

SOURCE = "/threadlog/cli"
_FLUSH_S = 30


class Sender:
    """Sends events to agent-events; leaves only when the broker has acknowledged them."""

    def __init__(self, settings: Settings) -> None:
        self._registry = Registry(settings.registry_url)
        self._producer = producer(settings.bootstrap)
        self._topic = kafka_name(settings.namespace, "agent-events")
        self._where, self._failed = settings.bootstrap, ""
        self._schemas: dict[str, tuple[int, Any]] = {}

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self._producer.flush(_FLUSH_S)
        if kind is None and (left or self._failed):
            raise Trouble(
                f"{left or 'Some'} events were not acknowledged by {self._where}. {self._failed}", "`threadlog status`"
            )

    def send(self, thread: str, type: str, data: dict[str, Any], id: str = "", source: str = SOURCE) -> str:
        """Send one event; its id. Raises Trouble for data that is no record of its type."""
        schema_id, schema = self._schema(type)
        id = id or secrets.token_hex(12)
        body = io.BytesIO()
        try:
            fastavro.schemaless_writer(body, schema, data, strict=True)
        except Exception as error:  # the library raises many kinds on data that does not fit
            fields = ", ".join(field["name"] for field in schema["fields"])
            raise Trouble(f"The data is no {type}: {error}", f"Its fields are {fields}.") from error
        value = b"\0" + schema_id.to_bytes(4, "big") + body.getvalue()
        headers = write_headers(
            id=id, source=source, type=type, thread=thread, time_ms=int(time.time() * 1000), value=value,
            traceparent=root_traceparent(source, id),
        )  # fmt: skip
        self._producer.produce(self._topic, value, thread.encode(), headers=[*headers], on_delivery=self._delivered)
        self._producer.poll(0)
        return id

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed = str(error)

    def _schema(self, type: str) -> tuple[int, Any]:
        if type not in self._schemas:
            try:
                id = self._registry.id_of(type)
                self._schemas[type] = id, fastavro.parse_schema(json.loads(self._registry.by_id(id).text))
            except UnknownSchema as error:
                raise Trouble(
                    f"No event type {type!r} is registered.", "Register its schema under that subject."
                ) from error
            except RegistryUnavailable as error:
                raise Trouble(str(error), "Is the stack up? `threadlog status`.") from error
        return self._schemas[type]


def stable_id(line: str) -> str:
    """The id of an event that came without one: the same line sent again is the same event."""
    return hashlib.sha256(line.encode()).hexdigest()[:24]
