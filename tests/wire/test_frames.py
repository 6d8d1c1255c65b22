# SPDX-License-Identifier: Apache-2.0
"""Frames between Java and Python: golden bytes, and everything survives the round trip."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from wire.frames import OutRecord, Record, pack_in, pack_out, unpack_each, unpack_in, unpack_out

bytes_or_none = st.none() | st.binary(max_size=50)
headers = st.lists(st.tuples(st.text(max_size=10), bytes_or_none), max_size=5)
offsets = st.integers(0, 2**63 - 1)
records = st.builds(
    Record,
    st.text(max_size=20),
    st.integers(0, 2**31 - 1),
    offsets,
    offsets,
    bytes_or_none,
    bytes_or_none,
    headers,
    st.booleans(),
)
outs = st.builds(OutRecord, st.text(max_size=20), bytes_or_none, bytes_or_none, headers)


def test_frame_golden_bytes() -> None:
    """What KafkaInput writes: lengths before bytes, -1 for null, big-endian; at the end whether the key is legal."""
    frame = pack_in(Record("t", 1, 2, 3, b"k", None, [("h", b"v")]))
    assert frame.hex() == "0001740000000100000000000000020000000000000003000000016bffffffff0001000168000000017601"


def test_pack_golden_bytes() -> None:
    """What KafkaOutput cuts."""
    assert pack_out([OutRecord("t", b"k", None, [])]).hex() == "0000000e00017400000" + "0016bffffffff0000"


@given(records)
def test_frame_survives(record: Record) -> None:
    """unpack(pack(record)) is the record."""
    assert unpack_in(pack_in(record)) == record
    assert unpack_in(pack_in(record), with_headers=False) == replace(record, headers=[])


@given(st.lists(records, max_size=4))
def test_frames_lie_one_behind_the_other(held: list[Record]) -> None:
    """As many as there are, each without its headers."""
    assert list(unpack_each(b"".join(map(pack_in, held)))) == [replace(record, headers=[]) for record in held]


@given(st.lists(outs, max_size=4))
def test_pack_survives(written: list[OutRecord]) -> None:
    """Cutting a pack gives its records in order."""
    assert unpack_out(pack_out(written)) == written
