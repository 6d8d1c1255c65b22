# SPDX-License-Identifier: Apache-2.0
"""What a catch-up reads of the journal: each record once, with those of its thread, in their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ops.stack.catch_up import APART_MS, DELETED
from tests.udfs.keyed import Keyed
from udfs import journal_slices
from udfs.journal_slices import JournalSlices, OutOfOrder, together
from udfs.slices import Deleted, Slice
from wire.frames import Record, thread_in, unpack_each

KEYS = (b"a", b"b", "é".encode(), None, b"", b"\0", b"\xff")


def record(offset: int, key: bytes | None = b"a", partition: int = 3, size: int = 5) -> Record:
    return Record("ns.agent-decisions", partition, offset, 7, key, b"v" * size, [("h", b"1")])


class Journal:
    """A topic as TopicReaders have it: these records, from `low` on. `told`: how far the group is."""

    def __init__(self, records: list[Record], low: int = 0) -> None:
        self.records, self.low = records, low
        self.told, self.opened, self.closed = list[tuple[int, int]](), 0, 0

    def __call__(self, bootstrap: str, topic: str, group: str, stalled_s: float, ahead_kb: int) -> Journal:
        assert (bootstrap, topic, group) == ("broker:9092", "ns.agent-decisions", "ns.catchup.g")
        assert stalled_s * 1_000 > APART_MS, "a transaction that was left open would end the catch-up before its time"
        self.opened += 1
        return self

    def __exit__(self, *raised: object) -> None:
        self.closed += 1

    def first(self, partition: int) -> int:
        return self.low

    def read(self, first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        ((partition, begin),) = first.items()
        return (r for r in self.records if r.partition == partition and begin <= r.offset < end[partition])

    def commit(self, partition: int, offset: int) -> None:
        self.told.append((partition, offset))


class Reading:
    """The operator over a journal whose partitions end at 100."""

    def __init__(self, patch: pytest.MonkeyPatch, journal: Journal, flink: Keyed | None = None) -> None:
        patch.setattr(journal_slices, "TopicReader", journal)
        self.function = JournalSlices("broker:9092", "ns.agent-decisions", "ns.catchup.g", {3: 100, 4: 100})
        self.flink = flink or Keyed(None, 0)
        self.function.open(self.flink)

    def read(self, *pieces: Slice) -> dict[str, list[Record]]:
        """What it gives of these slices, by key."""
        found = defaultdict[str, list[Record]](list)
        for piece in pieces:
            self.flink.key = str(piece.partition)
            for key, records in given_of(self.function.process_element(piece.pack(), None)).items():
                found[key] += records
        return found


def given_of(rows: Iterator[Any]) -> dict[str, list[Record]]:
    """The records that rows hold, by key."""
    found = defaultdict[str, list[Record]](list)
    for key, frames in rows:
        found[key] += unpack_each(frames)
    return found


@given(keys=st.lists(st.sampled_from(KEYS), max_size=30), most=st.integers(1, 400))
def test_records_are_put_together_by_their_thread(keys: list[bytes | None], most: int) -> None:
    """In their order and each once, however little may lie in memory; what names no thread shares no thread's key."""
    held = [record(offset, key) for offset, key in enumerate(keys)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_slices, "BYTES_MAX", most)
        found = given_of(together(held))
    wanted = defaultdict[str, list[Record]](list)
    for one in held:
        thread = thread_in(one.key)
        wanted[thread or "\0ns.agent-decisions-3"].append(replace(one, headers=[], legal_key=bool(thread)))
    assert found == wanted


def test_no_more_lies_in_memory_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of a megabyte each would fill it with a slice of thousands."""
    monkeypatch.setattr(journal_slices, "BYTES_MAX", 1_000)
    rows = [len(frames) for _, frames in together(record(offset, size=300) for offset in range(50))]
    assert max(rows) < 1_500 and len(rows) > 10


def test_slices_are_read_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each partition by one reader; how far it is, the group tells."""
    held = [record(offset, KEYS[offset % 2], partition) for partition in (3, 4) for offset in range(10, 100)]
    journal = Journal(held, low=10)
    reading = Reading(monkeypatch, journal)
    found = reading.read(Slice(3, 10, 60), Slice(4, 10, 60), Slice(3, 60, 100), Slice(4, 60, 100))
    assert sorted(one.offset for records in found.values() for one in records) == sorted([*range(10, 100)] * 2)
    assert all(one.key == key.encode() for key, records in found.items() for one in records)
    assert (journal.told, journal.opened) == ([(3, 60), (4, 60), (3, 100), (4, 100)], 2)
    reading.function.close()
    assert journal.closed == 2


def test_an_empty_slice_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the partition was deleted before."""
    assert Reading(monkeypatch, Journal([], low=100)).read(Slice(3, 100, 100)) == {}


@pytest.mark.parametrize("again", [Slice(3, 0, 20), Slice(3, 40, 60)], ids=["twice", "one is missing"])
def test_a_slice_that_is_not_the_next_one_is_refused(again: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind a restart: else the entries of one that is missing would be gaps, which are left out."""
    journal = Journal([record(offset) for offset in range(100)])
    before = Reading(monkeypatch, journal)
    before.read(Slice(3, 0, 20))
    restarted = Reading(monkeypatch, journal, before.flink)
    with pytest.raises(OutOfOrder, match="where the slice from offset 20 on is the next"):
        restarted.read(again)


@pytest.mark.parametrize("piece", [Slice(3, 0, 60), Slice(3, 40, 60)])
def test_what_retention_takes_meanwhile_is_not_passed_over(piece: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state would lack it, and nobody would say so. No other attempt can read it: `wait_read` knows the words."""
    reading = Reading(monkeypatch, Journal([record(offset) for offset in range(50, 100)], low=50))
    with pytest.raises(Deleted, match=f"offsets {piece.first} to 49 of partition 3 {DELETED}"):
        reading.read(piece)
