# SPDX-License-Identifier: Apache-2.0
"""Reads the journal for a catch-up, and puts together what of it is of one thread.

    slice ──► its records, read here ──► by thread ──► of each thread one byte array of frames

A thread is loaded and stored once for all of its entries in a slice; one by one, that and what Flink does around a
record were more than half of a rebuild. A slice that a crash has cut off comes again, with what was given of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor

from schemas.errors import WireError
from udfs.slices import Slice, SliceReader
from wire.frames import Record, pack_in, thread_in
from wire.kafka import TopicReader

# Given away before the slice ends: of larger ones, so that they lie in no one's memory together.
BYTES_MAX = 16_000_000
# Of all partitions together.
AHEAD_KB = 131_072
# A transaction that was left open is waited out, like a broker that restarts: what fails so seldom may do so for ever
# (`ops.stack.catch_up`). A task may take no longer than three minutes to be cancelled.
STALLED_S = 150.0


class OutOfOrder(WireError):
    """A slice came that is not the next one of its partition, which Flink's state does not allow."""

    def __init__(self, piece: Slice, wanted: int) -> None:
        super().__init__(f"{piece} came where the slice from offset {wanted} on is the next: begin anew")


class JournalSlices(KeyedProcessFunction):
    """All partitions of one subtask. Takes slices; gives Row(key, frames), keyed as KafkaInput keys a record."""

    def __init__(self, bootstrap: str, topic: str, group: str, ends: Mapping[int, int]) -> None:
        """topic: the journal's Kafka name. group: whose place shows how far this is. ends: of each partition."""
        self._bootstrap, self._topic, self._group, self._ends = bootstrap, topic, group, dict(ends)

    def open(self, context: RuntimeContext) -> None:
        self._next = context.get_state(ValueStateDescriptor("next", Types.STRING()))
        self._readers: dict[int, SliceReader] = {}

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        piece = Slice.unpack(value)
        if (wanted := int(self._next.value() or piece.first)) != piece.first:
            raise OutOfOrder(piece, wanted)
        self._next.update(str(piece.before))
        return together(self._reader(piece.partition).read(piece, goes_on=True))

    def _reader(self, partition: int) -> SliceReader:
        """The reader of a partition: what it has fetched beyond a slice is not fetched again."""
        if partition not in self._readers:
            ahead_kb = max(AHEAD_KB // len(self._ends), 1_024)
            reader = TopicReader(self._bootstrap, self._topic, self._group, stalled_s=STALLED_S, ahead_kb=ahead_kb)
            self._readers[partition] = SliceReader(reader, partition, self._ends[partition])
        return self._readers[partition]


def together(records: Iterable[Record]) -> Iterator[Row]:
    """Records by the thread that their key names, in the order of each; by partition where it names none."""
    threads, size = defaultdict[str, list[bytes]](list), 0
    for record in records:
        thread = thread_in(record.key)
        frame = pack_in(replace(record, headers=[], legal_key=bool(thread)))
        threads[thread or f"\0{record.topic}-{record.partition}"].append(frame)
        size += len(frame)
        if size >= BYTES_MAX:
            yield from _rows(threads)
            threads.clear()
            size = 0
    yield from _rows(threads)


def _rows(threads: Mapping[str, list[bytes]]) -> Iterator[Row]:
    return (Row(key, b"".join(frames)) for key, frames in threads.items())
