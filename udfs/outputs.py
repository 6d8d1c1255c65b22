# SPDX-License-Identifier: Apache-2.0
"""A decision as records: the journal entry first, then what it asks of the world.

Pure: the same decision gives the same ids, headers and bytes whenever it is written, so a reader can tell a repeat from
news.

Calls that only read leave on a lane of their own, at once; everything else leaves with the checkpoint's transaction.
"""

from __future__ import annotations

from typing import Any

from schemas.cloudevents import GENERATION, child_traceparent, root_traceparent, write_headers
from schemas.codec import Codec
from schemas.limits import DEAD_LETTER_BYTES
from schemas.topics import kafka_name
from threadlog.engine import Decision
from threadlog.entry import Entry
from wire.frames import OutRecord, Record

SOURCE = "/threadlog/conversation"
JOURNAL, OUTBOX, READS, REPLIES, SIGNALS = (
    "agent-decisions",
    "tool-invocations",
    "tool-reads",
    "agent-replies",
    "agent-signals",
)
DEAD_LETTERS = "dead-letters"
# The record's full name, for each topic that has one.
RECORDS = {
    JOURNAL: "threadlog.Decision", OUTBOX: "threadlog.ToolCall", READS: "threadlog.ToolCall",
    REPLIES: "threadlog.Reply", SIGNALS: "threadlog.Signal",
}  # fmt: skip


_HEADER_BYTES = 12  # what Kafka adds to a header's name and value at most
# A frame and a pack count both in two bytes: below that there is room for the reasons that a letter adds, and nothing
# that was cut off on its way in passes for whole.
HEADERS_MAX, HEADER_NAME_BYTES = 60_000, 60_000


class Outputs:
    """Turns decisions into Kafka records of one namespace.

    generation: the start of the job that writes them, which every record carries in a header; 0 for none."""

    def __init__(self, codec: Codec, namespace: str, generation: int = 0) -> None:
        self._codec = codec
        self._written_by: list[tuple[str, bytes | None]] = (
            [(GENERATION, str(generation).encode())] if generation else []
        )
        self._names = {topic: kafka_name(namespace, topic) for topic in (*RECORDS, DEAD_LETTERS)}

    def of_decision(self, decision: Decision, cause: Record | None) -> tuple[list[OutRecord], list[OutRecord]]:
        """The records of a decision: (committed with the checkpoint, written at once).

        `cause` is the record that was decided on; a timer has none."""
        committed, at_once = [self._entry(decision.entry)], []
        for effect in decision.effects:
            match effect["do"]:
                case "call" if effect["effect"] == "read":
                    at_once.append(self._call(READS, effect, decision.entry.time_ms))
                case "call":
                    committed.append(self._call(OUTBOX, effect, decision.entry.time_ms))
                case "reply":
                    committed.append(self._record(REPLIES, effect["reply_id"], effect, decision.entry.time_ms))
                case "signal":
                    committed.append(self._record(SIGNALS, effect["signal_id"], effect, decision.entry.time_ms))
                case "dead_letter" if cause is not None:
                    committed.append(self.dead_letter(cause, effect["code"], effect["message"]))
        return committed, at_once

    def ask(self, call: dict[str, Any], time_ms: int) -> OutRecord:
        """The record of an effect call that was decided at that time of its thread, as `of_decision` writes it."""
        return self._call(OUTBOX, call, time_ms)

    def dead_letter(self, record: Record, code: str, message: str) -> OutRecord:
        """The record as it was, with headers that say what is wrong with it and where it was read.

        A record that no letter can hold is left out, key, value and headers: a sink that cannot write stops the job.
        """
        kept = (record.key, record.value, record.headers)
        if too_much := _too_much(record):
            kept = (None, None, [])
            message = f"{message} (left out: {too_much}; it lies where it was read)"
        reasons = {
            "exception": code, "message": message, "stacktrace": "", "topic": record.topic,
            "partition": str(record.partition), "offset": str(record.offset),
        }  # fmt: skip
        added: list[tuple[str, bytes | None]] = [
            (f"__streams.errors.{name}", value.encode("utf-8", "replace")) for name, value in reasons.items()
        ]
        added += [(f"__streams.errors.{name}", value) for name, value in self._written_by]
        key, value, headers = kept
        return OutRecord(self._names[DEAD_LETTERS], key, value, [*headers, *added])

    def _entry(self, entry: Entry) -> OutRecord:
        came = entry.input
        trace = came.traceparent or root_traceparent(entry.thread, came.source, came.id)
        fields = {**entry.to_dict(), "traceparent": child_traceparent(trace, entry.hash)}
        return self._record(JOURNAL, f"{entry.thread}/{entry.seq}", fields, entry.time_ms)

    def _call(self, topic: str, call: dict[str, Any], time_ms: int) -> OutRecord:
        key, quota_key = call["call_id"], call["quota_key"]
        return self._record(topic, f"{key}/{call['ask']}", call, time_ms, idempotency_key=key, quota_key=quota_key)

    def _record(self, topic: str, id: str, fields: dict[str, Any], time_ms: int, **keys: str) -> OutRecord:
        """A record of ours: its value from the fields of its schema, its envelope derived from them."""
        name, thread = RECORDS[topic], fields["thread"]
        value = self._codec.encode(name, fields)
        headers = write_headers(
            id=id, source=SOURCE, type=name, thread=thread, time_ms=time_ms, value=value,
            traceparent=fields["traceparent"], **keys,
        )  # fmt: skip
        return OutRecord(self._names[topic], thread.encode(), value, headers + self._written_by)


def _too_much(record: Record) -> str:
    """Why no letter can hold the record, or "". In a pack the number of headers and a name's length have two bytes."""
    names = [len(name.encode("utf-8")) for name, _ in record.headers]
    if len(names) > HEADERS_MAX or max(names, default=0) > HEADER_NAME_BYTES:
        return (
            f"{len(names)} headers, the longest name of {max(names)} bytes; {HEADERS_MAX} and {HEADER_NAME_BYTES} fit"
        )
    headers = sum(names) + sum(len(value or b"") + _HEADER_BYTES for _, value in record.headers)
    size = len(record.key or b"") + len(record.value or b"") + headers
    return f"{size} bytes, {DEAD_LETTER_BYTES} fit" if size > DEAD_LETTER_BYTES else ""
