# SPDX-License-Identifier: Apache-2.0
"""The journal cut into slices: each offset lies in one, whatever the ends are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from udfs.slices import SLICE, Cut, Slice, slices

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
def test_slices_begin_where_they_are_told(ends: dict[int, int], size: int, first: int) -> None:
    """Each partition has one, be it empty: a source of no numbers at all would not start."""
    begin = {partition: min(first, end) for partition, end in ends.items()}
    cut = slices(ends, size, begin)
    assert list(dict.fromkeys(piece.partition for piece in cut)) == sorted(ends)
    for partition, end in ends.items():
        offsets = [n for piece in cut if piece.partition == partition for n in range(piece.first, piece.before)]
        assert offsets == list(range(begin[partition], end))
    assert all(piece.before - piece.first <= size for piece in cut)


def test_slice_is_keyed_by_its_partition() -> None:
    """In a row, as the source of records gives them."""
    cut = Cut(["zero", "one", "two"], {0: 1, 2: SLICE + 1})
    cut.open(None)
    key, packed = cut.map(2)
    assert (key, Slice.unpack(packed)) == ("two", Slice(2, SLICE, SLICE + 1))


def test_slices_of_a_size_and_a_beginning_are_numbered_as_they_are_cut() -> None:
    """The operator cuts by itself, and the job's graph only counts."""
    cut = Cut(["zero"], {0: 25}, 10, {0: 3})
    cut.open(None)
    cuts = [Slice.unpack(cut.map(number)[1]) for number in range(len(slices({0: 25}, 10, {0: 3})))]
    assert cuts == [Slice(0, 3, 13), Slice(0, 13, 23), Slice(0, 23, 25)]
