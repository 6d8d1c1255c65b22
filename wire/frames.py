# SPDX-License-Identifier: Apache-2.0
"""Kafka records in one byte array each way, as the connector's classes write and read them. Big-endian.

    in    u16 topic | i32 partition | i64 offset | i64 timestamp | i32 key | i32 value
          | u16 count | (u16 name, i32 value)* | u8 legal key
    out   u32 length of what follows | u16 topic | i32 key | i32 value | u16 count | (u16 name, i32 value)*    repeated

A length stands before its bytes; -1 is null. One array crosses from Java to Python far cheaper than a row with a map.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from threadlog.limits import Limits

_PLACE = struct.Struct(">iqq")
_U16 = struct.Struct(">H")
_I32 = struct.Struct(">i")
_NULL = _I32.pack(-1)
_KEY_BYTES_MAX = Limits().thread_id_bytes
_SIZES = [_I32.pack(size) for size in range(512)]  # of nearly every header

Headers = list[tuple[str, bytes | None]]


class Record(msgspec.Struct, frozen=True):
    """A record as a topic holds it; timestamp in milliseconds of the Unix epoch.

    `legal_key`: its key, or the header that the stream is keyed by, can name a thread. Who keys it judges that."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    legal_key: bool = True


class OutRecord(msgspec.Struct, frozen=True):
    """A record to be written; `topic` is the Kafka name."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


def thread_in(key: bytes | None) -> str:
    """The thread that a key names, "" where it names none; the same judgement as that of the connector's KafkaInput."""
    try:
        thread = (key or b"").decode("utf-8")
    except UnicodeDecodeError:
        return ""
    legal = len(key or b"") <= _KEY_BYTES_MAX and not any(c < " " or "\x7f" <= c <= "\x9f" for c in thread)
    return thread if legal else ""


def unpack_in(frame: bytes, with_headers: bool = True) -> Record:
    """The record in a frame. Raises struct.error or ValueError on a frame that KafkaInput cannot have made.

    `with_headers=False`: without its headers, for who asks for none; to read them takes most of the time."""
    record, at = _before_headers(frame, 0)
    if not with_headers:
        return Record(*record, [], frame[-1] == 1)
    headers, at = _read_headers(frame, at)
    if at + 1 != len(frame):
        raise ValueError(f"{len(frame) - at} bytes are left after the headers, expected one")
    return Record(*record, headers, frame[at] == 1)


def unpack_each(frames: bytes) -> Iterator[Record]:
    """The records of frames that lie one behind the other, without their headers. Raises as `unpack_in`."""
    at = 0
    while at < len(frames):
        record, at = _before_headers(frames, at)
        _, at = _read_headers(frames, at)
        yield Record(*record, [], frames[at] == 1)
        at += 1


def pack_in(record: Record) -> bytes:
    """The frame of a record, as KafkaInput makes it."""
    topic = record.topic.encode("utf-8")
    place = _PLACE.pack(record.partition, record.offset, record.timestamp_ms)
    parts = [_U16.pack(len(topic)), topic, place, *_sized(record.key), *_sized(record.value)]
    return b"".join([*parts, *_headers(record.headers), b"\1" if record.legal_key else b"\0"])


def pack_out(records: Iterable[OutRecord]) -> bytes:
    """Records one after the other, as KafkaOutput cuts them."""
    pack = []
    for record in records:
        parts = [_name(record.topic), *_sized(record.key), *_sized(record.value), *_headers(record.headers)]
        body = b"".join(parts)
        pack += [_I32.pack(len(body)), body]
    return b"".join(pack)


def unpack_out(pack: bytes) -> list[OutRecord]:
    """The records of a pack: for tests."""
    records, at = [], 0
    while at < len(pack):
        at += 4
        size = _U16.unpack_from(pack, at)[0]
        topic = pack[at + 2 : at + 2 + size].decode("utf-8")
        key, at = _bytes(pack, at + 2 + size)
        value, at = _bytes(pack, at)
        headers, at = _read_headers(pack, at)
        records.append(OutRecord(topic, key, value, headers))
    return records


def _before_headers(frame: bytes, at: int) -> tuple[tuple[str, int, int, int, bytes | None, bytes | None], int]:
    """What a frame says before its headers, and where those begin."""
    size = _U16.unpack_from(frame, at)[0]
    at += 2
    topic = frame[at : at + size].decode("utf-8")
    partition, offset, timestamp = _PLACE.unpack_from(frame, at + size)
    key, at = _bytes(frame, at + size + _PLACE.size)
    value, at = _bytes(frame, at)
    return (topic, partition, offset, timestamp, key, value), at


def _bytes(frame: bytes, at: int) -> tuple[bytes | None, int]:
    size = _I32.unpack_from(frame, at)[0]
    at += 4
    return (None, at) if size < 0 else (frame[at : at + size], at + size)


def _read_headers(frame: bytes, at: int) -> tuple[Headers, int]:
    count = _U16.unpack_from(frame, at)[0]
    at += 2
    headers: Headers = []
    for _ in range(count):
        size = _U16.unpack_from(frame, at)[0]
        at += 2 + size
        name = _text(frame[at - size : at])
        size = _I32.unpack_from(frame, at)[0]
        at += 4
        if size < 0:
            headers.append((name, None))
        else:
            headers.append((name, frame[at : at + size]))
            at += size
    return headers, at


def _sized(value: bytes | None) -> tuple[bytes, ...]:
    if value is None:
        return (_NULL,)
    size = len(value)
    return (_SIZES[size] if size < len(_SIZES) else _I32.pack(size), value)


def _headers(headers: Headers) -> list[bytes]:
    parts = [_U16.pack(len(headers))]
    for name, value in headers:
        parts.append(_name(name))
        parts += _sized(value)
    return parts


@lru_cache(maxsize=256)
def _text(name: bytes) -> str:
    """A header's name as it is read."""
    return name.decode("utf-8", "replace")


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    """A header's name as it is packed: there are a dozen of them, on every record."""
    raw = name.encode("utf-8")
    return _U16.pack(len(raw)) + raw
