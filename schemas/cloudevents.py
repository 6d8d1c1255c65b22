# SPDX-License-Identifier: Apache-2.0
"""The envelope: CloudEvents 1.0 in binary mode as Kafka headers, and W3C trace context beside it.

Of the trace context only traceparent is read: it is in the journal, so every record can be followed to its event.
tracestate is what other tracing systems note for themselves; nothing here needs it.

Ids and spans we write are derived from what they name, so the same record written twice is the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime  # pure: writes a time that it is given
from functools import lru_cache

import msgspec

from schemas.errors import Unreadable
from schemas.limits import ATTRIBUTE_BYTES

Headers = list[tuple[str, bytes | None]]
AVRO, PROTOBUF, JSON = "application/vnd.confluent.avro", "application/vnd.confluent.protobuf", "application/json"
# Which start of the conversation has written a record; what the start protocol asks of it is in docs/operations.md.
GENERATION = "generation"
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_READ = frozenset({
    "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_partitionkey", "traceparent",
    "idempotency-key", "quota-key",
})  # fmt: skip


class Envelope(msgspec.Struct, frozen=True):
    """What the headers of a record say. Absent attributes are ""."""

    id: str
    source: str
    type: str
    subject: str = ""
    time: str = ""
    traceparent: str = ""
    idempotency_key: str = ""
    quota_key: str = ""


def read_headers(headers: Iterable[tuple[str, bytes | None]]) -> Envelope:
    """The envelope of a record. Raises Unreadable for what is missing, doubled, oversize or malformed.

    A traceparent that is malformed is dropped instead, and of several the last good one is taken: tracing must never
    cost an event.
    """
    found: dict[str, str] = {}
    for name, raw in headers:
        if name not in _READ or raw is None:
            continue
        if name == "traceparent":
            if len(raw) <= ATTRIBUTE_BYTES and _valid(trace := raw.decode("utf-8", "replace")):
                found[name] = trace
            continue
        if name in found:
            raise Unreadable("ce_twice", f"the header {name} stands twice")
        if len(raw) > ATTRIBUTE_BYTES:
            raise Unreadable("ce_oversize", f"the header {name} has {len(raw)} bytes, {ATTRIBUTE_BYTES} are allowed")
        try:
            found[name] = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise Unreadable("ce_utf8", f"the header {name} is not UTF-8") from None
    _check(found)
    return Envelope(
        id=found["ce_id"], source=found["ce_source"], type=found["ce_type"], subject=found.get("ce_subject", ""),
        time=found.get("ce_time", ""), traceparent=found.get("traceparent", ""),
        idempotency_key=unquote_key(found.get("idempotency-key", "")),
        quota_key=found.get("quota-key", ""),
    )  # fmt: skip


def _check(found: dict[str, str]) -> None:
    if found.get("ce_specversion") != "1.0":
        raise Unreadable("ce_specversion", f"expected 1.0, found {found.get('ce_specversion', 'nothing')!r}")
    for name in ("ce_id", "ce_source", "ce_type"):
        if not found.get(name):
            raise Unreadable(name, f"the header {name} is missing or empty")
    time = found.get("ce_time", "")
    if time and not _RFC3339.fullmatch(time):
        raise Unreadable("ce_time", f"{time[:60]!r} is not an RFC 3339 time")


def write_headers(
    *,
    id: str,
    source: str,
    type: str,
    thread: str,
    time_ms: int,
    value: bytes,
    traceparent: str = "",
    idempotency_key: str = "",
    quota_key: str = "",
    content_type: str = AVRO,
) -> Headers:
    """The headers of a record; `value` is in the Confluent wire format, `time_ms` of the Unix epoch."""
    subject, schema_id = thread.encode("utf-8"), int.from_bytes(value[1:5], "big")
    headers: Headers = [
        ("ce_specversion", b"1.0"), ("ce_id", id.encode("utf-8")), ("ce_source", source.encode("utf-8")),
        ("ce_type", type.encode("utf-8")), ("ce_subject", subject), ("ce_time", rfc3339(time_ms).encode("ascii")),
        ("ce_dataschema", b"/schemas/ids/%d" % schema_id), ("ce_partitionkey", subject),
        ("content-type", content_type.encode("utf-8")),
    ]  # fmt: skip
    if traceparent:
        headers.append(("traceparent", traceparent.encode("utf-8")))
    if idempotency_key:
        headers.append(("idempotency-key", quote_key(idempotency_key).encode("utf-8")))
    if quota_key:
        headers.append(("quota-key", quota_key.encode("utf-8")))
    return headers


def rfc3339(time_ms: int) -> str:
    """A time of the Unix epoch as RFC 3339, UTC, milliseconds."""
    return f"{_second(time_ms // 1000)}.{time_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    """Thousands of records are written within one second."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def quote_key(key: str) -> str:
    """A key as a structured-field string (RFC 8941), the form the Idempotency-Key header asks for."""
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote_key(text: str) -> str:
    """The key inside a structured-field string; text that is none is returned as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    key = text[1:-1]
    return re.sub(r"\\(.)", r"\1", key) if "\\" in key else key  # our own keys are hex digits


def _valid(traceparent: str) -> bool:
    found = _TRACEPARENT.fullmatch(traceparent)
    return found is not None and found[1].strip("0") != "" and found[2].strip("0") != ""


def root_traceparent(*parts: str) -> str:
    """A trace of its own for what came without one, derived from what it is."""
    digest = hashlib.sha256("\0".join(("trace", *parts)).encode("utf-8")).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


def child_traceparent(parent: str, *parts: str) -> str:
    """A span below `parent`, derived from what it is; "" where there is no parent."""
    if not parent:
        return ""
    span = hashlib.sha256("\0".join((parent, *parts)).encode("utf-8")).hexdigest()[:16]
    return f"{parent[:36]}{span}{parent[52:]}"
