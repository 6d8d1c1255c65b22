# SPDX-License-Identifier: Apache-2.0
"""The journal cut into slices: each offset lies in one, whatever the ends are."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from udfs.slices import SLICE, Cut, Slice, slices, slices_in_turn

ENDS = st.dictionaries(st.integers(0, 9), st.integers(0, 40), max_size=5)


@given(ends=ENDS, size=st.integers(1, 15))
def test_each_offset_lies_in_one_slice(ends: dict[int, int], size: int) -> None:
    """Of a partition in their order; the last ends where the partition does, which is when it is summed up."""
    cut = slices(ends, size)
    for partition, end in ends.items():
        offsets = [n for piece in cut if piece.partition == partition for n in range(piece.first, piece.before)]
        assert offsets == list(range(end))
    assert all(0 < piece.before - piece.first <= size for piece in cut)


@given(ends=ENDS, size=st.integers(1, 15), first=st.integers(0, 50))
def test_slices_in_turn_begin_where_they_are_told(ends: dict[int, int], size: int, first: int) -> None:
    """Each partition has one, be it empty: a source of no numbers at all would not start. None gets a second one before
    each has had its first."""
    begin = {partition: min(first, end) for partition, end in ends.items()}
    cut = slices_in_turn(begin, ends, size)
    assert [piece.partition for piece in cut[: len(ends)]] == sorted(ends)
    for partition, end in ends.items():
        offsets = [n for piece in cut if piece.partition == partition for n in range(piece.first, piece.before)]
        assert offsets == list(range(begin[partition], end))
    assert all(piece.before - piece.first <= size for piece in cut)


def test_slice_is_keyed_by_its_partition() -> None:
    """In a row, as the source of records gives them."""
    cut = Cut(["zero", "one", "two"], partial(slices, {0: 1, 2: SLICE + 1}))
    cut.open(None)
    key, packed = cut.map(2)
    assert (key, Slice.unpack(packed)) == ("two", Slice(2, SLICE, SLICE + 1))
