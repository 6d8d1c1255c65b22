# SPDX-License-Identifier: Apache-2.0
"""A decision's records and dead letters: what the sink is given, it can write."""

from __future__ import annotations

import pytest

from schemas.codec import Codec, FixedSchemas
from schemas.limits import DEAD_LETTER_BYTES, TOPIC_MESSAGE_BYTES
from udfs.outputs import Outputs
from wire.frames import OutRecord, Record, pack_out

HEADERS: list[tuple[str, bytes | None]] = [("ce_id", b"1"), ("none", None)]


def letter_of(record: Record) -> tuple[bytes | None, bytes | None, dict[str, bytes | None]]:
    letter = Outputs(Codec(FixedSchemas()), "ns").dead_letter(record, "unreadable", "magic: the first byte is 1")
    return letter.key, letter.value, dict(letter.headers)


def record(value: bytes | None, headers: list[tuple[str, bytes | None]] | None = None) -> Record:
    return Record("ns.agent-events", 3, 14, 15, b"key", value, HEADERS if headers is None else headers)


@pytest.mark.parametrize("value", [None, b"", b"?", b"?" * (DEAD_LETTER_BYTES - 100)])
def test_dead_letter_is_the_record_as_it_was_with_its_reason(value: bytes | None) -> None:
    """Key, value and headers unchanged, nulls included."""
    key, found, headers = letter_of(record(value))
    assert (key, found, headers["ce_id"], headers["none"]) == (b"key", value, b"1", None)
    assert headers["__streams.errors.exception"] == b"unreadable"
    assert headers["__streams.errors.offset"] == b"14"


@pytest.mark.parametrize(
    "large",
    [
        record(b"?" * DEAD_LETTER_BYTES),
        record(b"?" * 50_000_000),
        record(b"?", [("h", b"?" * 100_000)] * 30),
        record(b"?", [("", None)] * 200_000),
        record(b"?", [("h", None)] * 65_535),
        record(b"?", [("\ufffd" * 30_000, None)]),
        record(b"?", [("n" * 0xFFFF, None)]),
    ],
    ids=[
        "value",
        "value that was compressed",
        "headers",
        "many headers",
        "as many as a pack counts",
        "a long name",
        "a cut name",
    ],
)
def test_dead_letter_that_fits_no_topic_is_one_by_reference(large: Record) -> None:
    """What was compressed on its way in may be far larger than what a topic accepts: the letter says where it lies."""
    key, value, headers = letter_of(large)
    assert pack_out([OutRecord("t", key, value, list(headers.items()))])
    assert (key, value, set(headers) & {"h", ""}) == (None, None, set())
    assert b"left out" in (headers["__streams.errors.message"] or b"")
    assert headers["__streams.errors.topic"] == b"ns.agent-events"


def test_dead_letter_leaves_room_for_its_reasons() -> None:
    """The largest record that is kept fits a topic with the longest reason that the engine gives."""
    assert DEAD_LETTER_BYTES + 4 * 1000 < TOPIC_MESSAGE_BYTES


def test_outputs_say_which_start_has_written_them() -> None:
    """Every record in a header, a letter beside its reasons, not among what it came with; none where there is none."""
    letters = [Outputs(Codec(FixedSchemas()), "ns", start).dead_letter(record(b"?"), "c", "m") for start in (0, 12)]
    without, with_it = (letter.headers for letter in letters)
    assert with_it == [*without, ("__streams.errors.generation", b"12")]
