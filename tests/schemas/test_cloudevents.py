# SPDX-License-Identifier: Apache-2.0
"""The envelope: what we write we read, and a header that is wrong costs its record, not the job."""

from __future__ import annotations

import pytest

from schemas.cloudevents import child_traceparent, quote_key, read_headers, root_traceparent, unquote_key, write_headers
from schemas.errors import Unreadable

TRACE = root_traceparent("t", "s", "1")


def headers() -> dict[str, bytes | None]:
    return dict(write_headers(
        id="1", source="/s", type="a.B", thread="t", time_ms=1_700_000_000_123, value=b"\0\0\0\0\7", traceparent=TRACE,
        idempotency_key='k"1', quota_key="refund",
    ))  # fmt: skip


def test_envelope_golden_headers() -> None:
    """Names, order and form of the headers."""
    assert [(name, value.decode()) for name, value in headers().items() if value is not None] == [
        ("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/s"), ("ce_type", "a.B"), ("ce_subject", "t"),
        ("ce_time", "2023-11-14T22:13:20.123Z"), ("ce_dataschema", "/schemas/ids/7"), ("ce_partitionkey", "t"),
        ("content-type", "application/vnd.confluent.avro"), ("traceparent", TRACE), ("idempotency-key", '"k\\"1"'),
        ("quota-key", "refund"),
    ]  # fmt: skip


def test_envelope_reads_back_what_it_wrote() -> None:
    """Every attribute survives."""
    read = read_headers(list(headers().items()))
    assert (read.id, read.source, read.type, read.subject, read.traceparent) == ("1", "/s", "a.B", "t", TRACE)
    assert (read.idempotency_key, read.quota_key) == ('k"1', "refund")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("ce_specversion", b"0.3", "ce_specversion"), ("ce_id", b"", "ce_id"), ("ce_source", None, "ce_source"),
        ("ce_type", b"\xff", "ce_utf8"), ("ce_time", b"yesterday", "ce_time"), ("ce_id", b"x" * 600, "ce_oversize"),
    ],
)  # fmt: skip
def test_envelope_refuses_a_wrong_attribute(name: str, value: bytes | None, code: str) -> None:
    """Each is told apart by its code."""
    with pytest.raises(Unreadable) as raised:
        read_headers(list({**headers(), name: value}.items()))
    assert raised.value.code == code


def test_envelope_refuses_a_doubled_attribute() -> None:
    """Two ids are no identity."""
    with pytest.raises(Unreadable, match="ce_twice"):
        read_headers([*headers().items(), ("ce_id", b"2")])


def test_envelope_drops_a_malformed_traceparent() -> None:
    """Tracing must never cost an event."""
    assert read_headers(list({**headers(), "traceparent": b"00-zz"}.items())).traceparent == ""


@pytest.mark.parametrize("values", [[b"a=1", b"b=2"], [b"\xff"], [b"a" * 5000], [b""]])
def test_envelope_takes_no_notice_of_tracestate(values: list[bytes]) -> None:
    """It is not carried on, so whatever it holds costs nothing."""
    assert read_headers([*headers().items(), *(("tracestate", value) for value in values)]).traceparent == TRACE


def test_trace_child_keeps_the_trace_and_changes_the_span() -> None:
    """A call, its result and its reply can be followed to the event."""
    child = child_traceparent(TRACE, "call")
    assert child[:36] == TRACE[:36] and child[36:52] != TRACE[36:52] and len(child) == len(TRACE)
    assert child == child_traceparent(TRACE, "call")


def test_key_quoting_is_undone() -> None:
    """A structured-field string and back."""
    assert unquote_key(quote_key('a"b\\c')) == 'a"b\\c'


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ((TRACE, TRACE), TRACE),
        ((TRACE, "00-zz"), TRACE),
        ((b"\xff", TRACE), TRACE),
        ((TRACE, b"\xff"), TRACE),
        (("x" * 5_000,), ""),
        ((root_traceparent("t", "s", "2"), TRACE), TRACE),
    ],
)
def test_envelope_is_never_lost_for_its_trace(values: tuple[str | bytes, ...], taken: str) -> None:
    """A forwarder adds its own to what it was given; of several the last good one counts."""
    raw = [("traceparent", v.encode() if isinstance(v, str) else v) for v in values]
    others = [pair for pair in headers().items() if pair[0] != "traceparent"]
    assert read_headers([*others, *raw]).traceparent == taken
