# SPDX-License-Identifier: Apache-2.0
"""The operator that verifies the journal where retention has deleted its beginning, or deletes it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy

import pytest

from tests.ops.replays import mix
from tests.udfs.test_replay_function import CUT, KEY, Journal, Replaying, data_of, in_memory, records
from udfs.slices import Deleted
from wire.frames import Record

__all__ = ["in_memory"]


def test_replay_function_passes_over_what_retention_had_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices that were gone before it began hold nothing; of one that was cut the rest is read."""
    journal = Journal(records(), low=75)
    replaying = Replaying(monkeypatch, journal)
    replaying.read(CUT)
    assert (replaying.sum["first"], replaying.sum["records"]) == (75, 45)
    assert journal.read_from == [75]


def test_replay_function_takes_a_lost_beginning_for_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first offsets were rolled back and not deleted, though slices without a record were read before."""
    replaying = Replaying(monkeypatch, Journal(records()[60:]))
    replaying.read(CUT[:1])
    again = Replaying(monkeypatch, replaying.journal, flink=replaying.checkpoint())
    again.read(CUT[1:])
    late = sum(entry.seq > 1 for entry in mix(120)[60:])
    assert late and (again.sum["low"], again.sum["first"], again.sum["lost"]) == (0, 60, 0)
    assert again.sum["standings"]["void"] == len(again.found) - 1 >= late // 2
    assert {data_of(record)["reason"].partition(":")[0] for record in again.found[:-1]} == {"gap"}


@pytest.mark.parametrize("low", [0, 30])
def test_replay_function_keeps_where_its_partition_began(low: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever retention deletes behind it, a restart takes a gap for one, and what was deleted before for deleted."""
    journal = Journal(records()[30:70] + records()[75:], low)
    replaying = Replaying(monkeypatch, journal)
    replaying.read(CUT[:1])
    journal.low = 50
    again = Replaying(monkeypatch, journal, flink=replaying.checkpoint())
    again.read(CUT[1:])
    assert (again.sum["low"], again.sum["lost"] > 0) == (low, low > 0)


@pytest.mark.parametrize(("first", "low", "wanted"), [(0, 50, 0), (30, 0, 0), (30, 50, 30)])
def test_replay_function_goes_on_from_where_it_noted_no_beginning(
    first: int, low: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that was taken before that was noted: only what can be cut is taken for that."""
    journal = Journal(records()[first:])
    replaying = Replaying(monkeypatch, journal)
    replaying.read(CUT[:1])
    state = replaying.checkpoint()
    [(name, checked)] = state.stored["checked"][KEY].items()
    state.stored["checked"][KEY] = {name: checked.replace('"low":0,', "")}
    journal.low = low
    again = Replaying(monkeypatch, journal, flink=state)
    again.read(CUT[1:])
    assert again.sum["low"] == wanted


@pytest.mark.parametrize("low", [101, 150])
def test_replay_function_fails_where_retention_was_faster(low: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted since a checkpoint cannot be verified any more: better no sum than a wrong one."""
    journal = Journal(records())
    replaying = Replaying(monkeypatch, journal)
    replaying.read(CUT[:2])
    journal.low = CUT[2].first
    Replaying(monkeypatch, journal, flink=replaying.checkpoint()).read(CUT[2:3])
    journal.low = low
    again = Replaying(monkeypatch, journal, flink=replaying.checkpoint())
    with pytest.raises(Deleted, match=f"offsets 100 to {low - 1} of partition 3 were deleted by retention"):
        again.read(CUT[2:3])


@pytest.mark.parametrize("piece", [0, 1])
def test_replay_function_fails_where_retention_came_while_it_read(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the reader was not given may have been there: nothing is stored of that slice, and it comes again."""
    journal = Journal(records())
    replaying = Replaying(monkeypatch, journal)
    replaying.read(CUT[:piece])
    before = deepcopy(replaying.of_partition)
    pack = replaying.flink.function.process_element(CUT[piece].pack(), replaying.flink)
    read = journal.read
    if piece:  # its reader is there already
        journal.low = CUT[piece].first + 10

    def late(first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        for record in read(first, end):
            journal.low = CUT[piece].first + 10
            yield record

    monkeypatch.setattr(journal, "read", late)
    with pytest.raises(Deleted, match="deleted by retention"):
        list(pack)
    assert replaying.of_partition == before
    assert journal.told == [one.before for one in CUT[:piece]]
