# SPDX-License-Identifier: Apache-2.0
"""Canonical bytes: one JSON value, one byte string, whatever process made it.

Keys of calls and hashes of the journal rest on these bytes, so the input is checked first: JSON encoders silently turn
NaN into null and accept keys that are no strings, and a silent change of what a key stands for is a second refund.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="sorted")
_PREFIXED_MAX = 512
_PREFIXES = [b"%d:" % size for size in range(_PREFIXED_MAX)]
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class NotPlain(ValueError):
    """A value that is no plain JSON. The message says where and why."""


def check_plain(value: Any, depth_max: int = 64, path: str = "$") -> None:
    """Raise NotPlain unless `value` is all dict (string keys), list, str, int (64 bit), finite float, bool, None."""
    kind = type(value)
    if kind is str:
        _check_text(value, path)
    elif kind is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise NotPlain(f"{path}: an integer that does not fit 64 bits")  # to write it down may be an error too
    elif kind is float:
        if not math.isfinite(value):
            raise NotPlain(f"{path}: {value} is not JSON")
    elif kind is dict or kind is list or kind is tuple:
        if depth_max <= 0:
            raise NotPlain(f"{path}: nested too deeply")
        _check_children(value, depth_max - 1, path)
    elif value is not None and kind is not bool:
        raise NotPlain(f"{path}: {kind.__name__} is not JSON")


def _check_text(value: str, path: str) -> None:
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise NotPlain(f"{path}: a string that is not UTF-8") from None


def _check_children(value: Any, depth_max: int, path: str) -> None:
    if type(value) is dict:
        for key, child in value.items():
            if type(key) is not str:
                raise NotPlain(f"{path}: a key of type {type(key).__name__} is not a string")
            _check_text(key, path)
            check_plain(child, depth_max, f"{path}.{key}")
    else:
        for index, child in enumerate(value):
            check_plain(child, depth_max, f"{path}[{index}]")


def parse(text: str, depth_max: int = 64) -> Any:
    """Plain JSON from outside. Raises NotPlain, also for what is nested deeper than any parser's stack."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotPlain(f"not JSON: {error}") from error
    check_plain(value, depth_max)
    return value


def canonical(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no white space. The value must be plain (see `check_plain`)."""
    return _encoder.encode(value)


def text(value: Any) -> str:
    """`canonical` as a string."""
    return _encoder.encode(value).decode("utf-8")


def copy(value: Any) -> Any:
    """A deep copy of plain JSON; tuples become lists, as they would in the log."""
    if value is None or isinstance(value, str | int | float):
        return value
    return msgspec.json.decode(_encoder.encode(value))


def digest(value: Any) -> str:
    """SHA-256 over the canonical bytes, 64 hex digits."""
    return hashlib.sha256(_encoder.encode(value)).hexdigest()


def framed(*parts: str | bytes) -> bytes:
    """Parts one after the other, each preceded by its length in bytes and a colon: no two lists have the same bytes."""
    frames: list[bytes] = []
    for part in parts:
        raw = part.encode("utf-8") if isinstance(part, str) else part
        size = len(raw)
        frames.append(_PREFIXES[size] if size < _PREFIXED_MAX else b"%d:" % size)
        frames.append(raw)
    return b"".join(frames)


def chain(previous: str, *parts: str | bytes) -> str:
    """The next hash of a chain: SHA-256 over the previous hash and length-prefixed parts, 64 hex digits.

    The parts are the bytes as they are carried in the record, so a verifier needs no JSON at all.
    """
    return hashlib.sha256(previous.encode("ascii") + framed(*parts)).hexdigest()
