# SPDX-License-Identifier: Apache-2.0
"""The journal cut into slices of its partitions' offsets, the units of work of who reads all of it.

The cut depends on offsets alone that the job is told, so it is the same in each attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple, Self

from pyflink.common import Row
from pyflink.datastream import MapFunction, RuntimeContext

from schemas.errors import WireError
from wire.frames import Record
from wire.kafka import TopicReader

# No checkpoint is taken within a slice, nor is a task cancelled: a fraction of a second of work, a minute where each
# handler takes long. What changed in one is stored at its end, so smaller ones cost more.
SLICE = 1_000


class Slice(NamedTuple):
    """The offsets of a partition from `first` to the one before `before`."""

    partition: int
    first: int
    before: int

    def pack(self) -> bytes:
        """As bytes, for Flink."""
        return " ".join(map(str, self)).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """What `pack` packed."""
        return cls(*map(int, packed.split()))


def slices(ends: Mapping[int, int], size: int = SLICE) -> list[Slice]:
    """Everything before these offsets: one partition after the other, each in its order."""
    return [piece for partition, end in sorted(ends.items()) for piece in _pieces(partition, 0, end, size)]


def slices_in_turn(begin: Mapping[int, int], ends: Mapping[int, int], size: int = SLICE) -> list[Slice]:
    """Everything from `begin` on and before `ends`: the first slice of each partition, then the second of each, …

    So what retention deletes next is read first. Where nothing is left of a partition, its one slice is empty."""
    partitions = [_pieces(p, begin[p], end, size) or [Slice(p, end, end)] for p, end in sorted(ends.items())]
    return [piece for turn in zip_longest(*partitions) for piece in turn if piece is not None]


def _pieces(partition: int, first: int, end: int, size: int) -> list[Slice]:
    return [Slice(partition, at, min(at + size, end)) for at in range(first, end, size)]


class Cut(MapFunction):
    """Numbers to slices, each with the key of its partition, as a row that is keyed in Java."""

    def __init__(self, keys: Sequence[str], cut: Callable[[], list[Slice]]) -> None:
        """keys: of each partition. cut: makes the slices, of which a journal of millions has thousands."""
        self._keys, self._cut = list(keys), cut

    def open(self, context: RuntimeContext) -> None:
        self._slices = self._cut()

    def map(self, number: int) -> Row:
        piece = self._slices[number]
        return Row(self._keys[piece.partition], piece.pack())


class Deleted(WireError):
    """Retention has deleted what was about to be read; the message says which offsets."""

    def __init__(self, partition: int, first: int, left: int) -> None:
        super().__init__(
            f"offsets {first} to {left - 1} of partition {partition} were deleted by retention while the journal was"
            " read: begin anew, a replay under another name"
        )


class SliceReader:
    """Reads the slices of one partition in their order. What was fetched beyond one waits for the next.

    `low`: the first offset that retention had left when this last looked. Its methods raise KafkaException."""

    def __init__(self, reader: TopicReader, partition: int, end: int) -> None:
        """end: of the partition's last slice."""
        self.partition = partition
        self._reader, self._end, self._at = reader, end, -1
        self.low = reader.first(partition)
        self._rest: Iterator[Record] = iter(())
        self._next: Record | None = None

    def read(self, piece: Slice, goes_on: bool) -> Iterator[Record]:
        """The committed records of a slice that are left; when the last is taken, how far this is can be known.

        goes_on: records before were read, so none may be gone. Raises Deleted, at the end where a look back says
        that some may have gone while it was read."""
        begin = max(piece.first, self.low)
        if goes_on and begin > piece.first:
            raise Deleted(self.partition, piece.first, begin)
        if begin >= piece.before:
            return
        if begin != self._at:
            self._rest, self._next = self._reader.read({self.partition: begin}, {self.partition: self._end}), None
        while (record := self._next or next(self._rest, None)) is not None:
            self._next = record
            if record.offset >= piece.before:
                break
            self._next = None
            yield record
        self._at, self.low = piece.before, self._reader.first(self.partition)
        if self.low > begin:
            raise Deleted(self.partition, begin, self.low)
        self._reader.commit(self.partition, piece.before)

    def close(self) -> None:
        """Let go of the broker."""
        self._reader.__exit__()
