# SPDX-License-Identifier: Apache-2.0
"""A big journal in a file, made of the support desk's mix by the engine itself: for benches that need no stack.

A group of threads goes in step, as customers do who write at the same time; each entry goes into the partition of its
thread, encoded as the conversation job encodes it. Some threads stop in the middle, with calls open, and some are
parked by code that lacks their handler. The file holds frames with their length in front.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import random
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import fastavro
from msgspec.structs import replace

from bench.app import app
from bench.customer import LIMITS, Customer
from examples.support_desk.traffic import SCHEMAS, schema_text
from schemas.codec import Codec, FixedSchemas, Schema
from threadlog import App
from threadlog.engine import follow, step
from threadlog.entry import Entry
from threadlog.inputs import Input
from threadlog.live import LiveRuns
from wire.frames import Record, pack_in, unpack_in

PARTITIONS = 8
GROUP = 5_000  # threads that are under way at the same time
SLOTS, MAKERS = 6, 2  # what a customer sends, about; processes that make a group each
STOPS, PARKS = 40, 500  # one thread in so many stops in the middle, and one is parked
TOPIC = "bench.agent-decisions"
_LENGTH = struct.Struct(">I")
_LATER_CODE = App("later")  # it lacks the handlers of every run


def schemas() -> FixedSchemas:
    """A registry in memory with our schemas and the support desk's."""
    source = FixedSchemas()
    for name in SCHEMAS:
        source.register(name, Schema("AVRO", schema_text(name)))
    return source


class Writer:
    """Values as topics hold them."""

    def __init__(self, source: FixedSchemas) -> None:
        self._codec = Codec(source)
        self._heads = {name: b"\0" + source.id_of(name).to_bytes(4, "big") for name in SCHEMAS}
        self._parsed = {name: fastavro.parse_schema(json.loads(schema_text(name))) for name in SCHEMAS}

    def value(self, type: str, data: Any) -> bytes:
        """A record of a registered type."""
        if type not in SCHEMAS:
            return self._codec.encode(type, data)
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self._parsed[type], data)
        return self._heads[type] + body.getvalue()

    def entry(self, entry: Entry) -> bytes:
        """A record of the journal."""
        return self._codec.encode("threadlog.Decision", entry.to_dict())


@dataclass
class Recorder(Customer):
    """A customer whose entries are kept, with the bytes of their inputs. `stops_after`: the last slot that is sent."""

    writer: Writer = field(default_factory=lambda: Writer(schemas()))
    stops_after: int = 1_000_000
    is_parked: bool = False
    made: list[Entry] = field(default_factory=list)

    def batches(self) -> Iterator[list[Entry]]:
        """The entries of one slot after the other."""
        for number, _ in enumerate(self.slots()):
            entries, self.made = self.made, []
            yield entries
            if number == self.stops_after:
                break
        if self.is_parked and self._state.small["calls"]:
            answers = [self._answer(ask, None, "failed") for ask in self._open_calls()][:1]
            self._cache = LiveRuns(0)
            self._take(answers)
            yield self.made

    def _step(self, input: Input) -> None:
        if input.kind in ("event", "result"):
            input = replace(input, value=self.writer.value(input.type, input.data))
        code = _LATER_CODE if self.is_parked and self._cache.runs_max == 0 else app
        decision = step(self._state, input, code, LIMITS, self._cache)
        if decision is None:
            raise RuntimeError(f"{self.thread}: the engine took {input.id} for a record it had handled")
        self._state = follow(self._state, decision)
        self.made.append(decision.entry)


def of_group(seed: int, group: int, slots: int = SLOTS) -> Iterator[Entry]:
    """The entries of a group in the order of a log. They are the same whoever makes the other groups."""
    writer, numbers = Writer(schemas()), range(group * GROUP, (group + 1) * GROUP)
    scripts = [_recorder(seed, number, slots, writer).batches() for number in numbers]
    while scripts:
        open_ = []
        for script in scripts:
            batch = next(script, None)
            if batch is None:
                continue
            open_.append(script)
            yield from batch
        scripts = open_


def _begin(code: str) -> None:
    """A maker writes the digest of the app's code that the process has which began it."""
    app.digest = code


def _records_of(part: tuple[int, int, int]) -> list[tuple[bytes, bytes]]:
    """Keys and values of the records of one group (seed, group, at most so many)."""
    seed, group, most = part
    writer = Writer(schemas())
    return [(entry.thread.encode(), writer.entry(entry)) for entry in islice(of_group(seed, group), most)]


def _recorder(seed: int, number: int, slots: int, writer: Writer) -> Recorder:
    draw = random.Random(f"{seed}/{number}")
    one = Recorder(f"customer-{number:07d}", draw, slots, writer=writer, is_parked=number % PARKS == 0)
    if one.is_parked or number % STOPS == 1:
        one.stops_after = 0
    return one


class FileLog:
    """A topic in a file, with what a reader of an index asks a broker for."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._places = [array("Q") for _ in range(PARTITIONS)]
        at = 0
        while head := self._file.read(_LENGTH.size + 2 + len(TOPIC) + 4):
            self._places[int.from_bytes(head[-4:], "big")].append(at)
            at += _LENGTH.size + _LENGTH.unpack_from(head)[0]
            self._file.seek(at)
        self.size = at
        self._hidden = 0

    def identity(self) -> str:
        """There is one."""
        return "bench"

    def hide(self, records: int) -> None:
        """Be without the last so many records, shared out among the partitions, until this is called again."""
        self._hidden = records // PARTITIONS

    def __len__(self) -> int:
        return sum(map(len, self._places))

    def marks(self) -> dict[int, tuple[int, int]]:
        """For each partition the first offset and the one after the last record."""
        return {partition: (0, max(0, len(places) - self._hidden)) for partition, places in enumerate(self._places)}

    def read(self, first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        """The records from `first` up to `end`, in the order in which they were written."""
        left = sum(end[p] - first[p] for p in end)
        start = min((self._places[p][first[p]] for p in end if first[p] < end[p]), default=0)
        self._file.seek(start)
        while left:
            record = self._next()
            if first[record.partition] <= record.offset < end[record.partition]:
                left -= 1
                yield record

    def at(self, places: Sequence[tuple[int, int]]) -> Iterator[Record]:
        """The records at these places."""
        for partition, offset in places:
            self._file.seek(self._places[partition][offset])
            yield self._next()

    def _next(self) -> Record:
        return unpack_in(self._file.read(_LENGTH.unpack(self._file.read(_LENGTH.size))[0]))


def make(path: Path, seed: int, count: int) -> None:
    """Write a journal of so many entries, group by group. The same seed and count give the same."""
    offsets, fresh = [0] * PARTITIONS, path.with_suffix(".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A thread has one entry at least, so there are groups enough; the makers of those that are not needed are ended.
    parts = [(seed, group, count) for group in range(count // GROUP + 1)]
    makers = multiprocessing.get_context("spawn").Pool(MAKERS, _begin, (app.digest,))
    with fresh.open("wb") as file, makers as pool:
        records = chain.from_iterable(pool.imap(_records_of, parts))
        for number, (key, value) in enumerate(islice(records, count)):
            partition = zlib.crc32(key) % PARTITIONS
            frame = pack_in(Record(TOPIC, partition, offsets[partition], number, key, value, []))
            offsets[partition] += 1
            file.write(_LENGTH.pack(len(frame)) + frame)
    fresh.replace(path)
