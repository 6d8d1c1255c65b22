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
from pyflink.common import Row
from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from udfs.slices import Slice, SliceReader
from wire.frames import Record, pack_in, thread_in
from wire.kafka import TopicReader

# Given away before the slice ends: of larger ones, so that they lie in no one's memory together.
BYTES_MAX = 16_000_000


class JournalSlices(KeyedProcessFunction):
    """All partitions of one subtask. Takes slices; gives Row(key, frames), keyed as KafkaInput keys a record."""

    def __init__(self, bootstrap: str, topic: str, group: str, ends: Mapping[int, int]) -> None:
        """topic: the journal's Kafka name. group: whose place shows how far this is. ends: of each partition."""
        self._bootstrap, self._topic, self._group, self._ends = bootstrap, topic, group, dict(ends)

    def open(self, context: RuntimeContext) -> None:
        self._reader: SliceReader | None = None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        piece = Slice.unpack(value)
        if self._reader is None or self._reader.partition != piece.partition:
            self.close()
            reader = TopicReader(self._bootstrap, self._topic, self._group)
            self._reader = SliceReader(reader, piece.partition, self._ends[piece.partition])
        return together(self._reader.read(piece, goes_on=True))


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
