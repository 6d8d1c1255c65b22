# SPDX-License-Identifier: Apache-2.0
"""Records as Kafka would hold them, for tests of what reads them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import fastavro

from schemas.cloudevents import write_headers
from schemas.codec import Codec, FixedSchemas, Schema
from tests.threadlog.desk import BEGAN_MS
from wire.frames import Record

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
GO = {"type": "record", "name": "t.Go", "fields": [{"name": "order", "type": "string"}]}


@dataclass
class Log:
    """The input topics of the namespace `ns`, one partition each."""

    schemas: FixedSchemas = field(default_factory=FixedSchemas)
    offsets: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.go_id = self.schemas.register("t.Go", Schema("AVRO", json.dumps(GO)))
        self.codec = Codec(self.schemas)

    def go(self, thread: str, id: str, order: str = "o-1") -> Record:
        """An event that begins a run."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(GO), {"order": order})
        return self.record("agent-events", thread, "t.Go", id, b"\0" + self.go_id.to_bytes(4, "big") + out.getvalue())

    def result(self, call: dict[str, Any], value: Any) -> Record:
        """The answer to a call."""
        data = {
            key: call[key] for key in ("thread", "run_id", "ordinal", "call_id", "tool", "args_digest", "quota_key")
        }
        data |= {"status": "done", "value": json.dumps(value), "error_type": "", "error_message": "", "attempts": []}
        bytes_ = self.codec.encode("threadlog.ToolResult", {**data, "asked_ms": BEGAN_MS, "finished_ms": BEGAN_MS})
        return self.record(
            "tool-results", call["thread"], "threadlog.ToolResult", f"{call['call_id']}/result/1", bytes_
        )

    def record(self, topic: str, thread: str, type: str, id: str, value: bytes) -> Record:
        """The next record of a topic."""
        offset = self.offsets[topic] = self.offsets.get(topic, -1) + 1
        headers = write_headers(
            id=id, source="/shop", type=type, thread=thread, time_ms=BEGAN_MS, value=value, traceparent=TRACE
        )
        return Record(f"ns.{topic}", 0, offset, BEGAN_MS + offset, thread.encode(), value, headers)
