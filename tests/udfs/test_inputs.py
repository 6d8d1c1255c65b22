# SPDX-License-Identifier: Apache-2.0
"""Kafka records as inputs of the engine: what can be read is taken over whole, what cannot is poison with a reason."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from schemas.codec import Codec, FixedSchemas, Schema
from schemas.errors import RegistryUnavailable
from tests.udfs.kafka import TRACE, Log
from threadlog.inputs import Input
from udfs.inputs import Inputs
from wire.frames import Record

CALL = {
    "thread": "t-1", "run_id": "r", "ordinal": "0", "call_id": "c", "tool": "pay", "args_digest": "a",
    "quota_key": "pay",
}  # fmt: skip


@pytest.fixture
def log() -> Log:
    return Log()


def taken(log: Log, record: Record, thread: str = "t-1") -> Input:
    return Inputs(log.codec, "ns").of_record(record, thread, 77)


def test_input_of_an_event_is_the_record_whole(log: Log) -> None:
    """Place, times, identity, type, data, bytes and trace."""
    log.go("t-1", "e-0")
    record = log.go("t-1", "e-1", "o-7")
    assert taken(log, record) == Input(
        "event", "t-1", "agent-events", 0, 1, record.timestamp_ms, 77, source="/shop", id="e-1", type="t.Go",
        data={"order": "o-7"}, schema_id=log.go_id, value=record.value or b"", traceparent=TRACE,
    )  # fmt: skip


def test_input_of_a_result_is_a_result(log: Log) -> None:
    """Its topic says so."""
    input = taken(log, log.result(CALL, {"paid": 1}))
    assert (input.kind, input.topic, input.type) == ("result", "tool-results", "threadlog.ToolResult")
    assert (input.data["call_id"], input.data["value"]) == ("c", '{"paid": 1}')


def without(record: Record, name: str) -> Record:
    return replace(record, headers=[header for header in record.headers if header[0] != name])


def with_(record: Record, name: str, value: bytes) -> Record:
    return replace(record, headers=[*without(record, name).headers, (name, value)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: replace(r, value=None), "truncated: "),
        (lambda r: replace(r, value=b"\1" + r.value[1:]), "magic: "),
        (lambda r: replace(r, value=b"\0\0\1\0\0" + r.value[5:]), "unknown_schema: "),
        (lambda r: replace(r, value=r.value + b"!"), "trailing: "),
        (lambda r: replace(r, headers=[]), "ce_specversion: "),
        (lambda r: without(r, "ce_id"), "ce_id: "),
        (lambda r: with_(r, "ce_type", b"t.More"), "ce_type: the header says 't.More', the value is a 't.Go'"),
        (lambda r: with_(r, "ce_subject", b"t-2"), "ce_subject: the header says 't-2', the key says 't-1'"),
        (lambda r: replace(r, topic="ns.tool-results"), "misplaced: a 't.Go' does not belong into tool-results"),
    ],
)
def test_input_that_cannot_be_read_is_poison_in_its_place(log: Log, change: object, reason: str) -> None:
    """It keeps its place, times and bytes; envelope and data are nobody's."""
    record = change(log.go("t-1", "e-1"))  # type: ignore[operator]
    input = taken(log, record)
    assert input.reason.startswith(reason)
    place = (record.topic.removeprefix("ns."), 0, 0, record.timestamp_ms, 77)
    assert input == Input("poison", "t-1", *place, value=record.value or b"", reason=input.reason)


def test_input_of_a_result_among_the_events_is_poison(log: Log) -> None:
    """Who may write events may not answer calls."""
    record = replace(log.result(CALL, 1), topic="ns.agent-events")
    assert taken(log, record).reason == "misplaced: a 'threadlog.ToolResult' does not belong into agent-events"


def test_input_without_a_trace_has_none(log: Log) -> None:
    """A record is no less an event for it."""
    input = taken(log, without(log.go("t-1", "e-1"), "traceparent"))
    assert (input.kind, input.traceparent) == ("event", "")


def test_input_is_not_poison_because_the_registry_is_away(log: Log) -> None:
    """That says nothing about the record: it is somebody else's to try again."""

    class Away(FixedSchemas):
        def by_id(self, id: int) -> Schema:
            raise RegistryUnavailable("no answer")

    with pytest.raises(RegistryUnavailable):
        Inputs(Codec(Away()), "ns").of_record(log.go("t-1", "e-1"), "t-1", 77)
