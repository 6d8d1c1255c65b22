# SPDX-License-Identifier: Apache-2.0
"""Which inputs the log says were decided, and whether a state holds decisions that the log lacks.

A checkpoint is complete before its transaction is committed. Where the broker aborts that in between, the state has
handled inputs of which nobody can read what was decided. The last record that it has read of each partition tells: what
is decided of a partition is committed in the order of its offsets, so where anything of its end is lost, the last is.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping

from schemas.codec import Codec
from schemas.errors import Unreadable
from schemas.topics import kafka_name
from threadlog.entry import Entry
from wire.frames import Record, thread_in
from wire.inputs import place_in_letter
from wire.journal import TOPIC as JOURNAL
from wire.journal import entry_of
from wire.kafka import TopicReader, bounds, offsets_since, read_topic

LETTERS = "dead-letters"
# Brokers' clocks differ: what was decided of a record is looked for from a little before the record on.
_CLOCKS_MS = 5_000
# Almost every decision is written so soon after its input; what is not is looked for in all that the log holds.
_SOON_MS = 60_000
# How many records are read at first to find the last one of a partition that is a thread's.
_BACK = 100

Place = tuple[str, int, int]  # a topic of ours, a partition, an offset


def place_of(entry: Entry) -> Place | None:
    """Where the log holds what was decided on; None for what is no record, such as a timer."""
    return None if entry.kind == "timer" else (entry.input.topic, entry.input.partition, entry.input.offset)


def decided(
    bootstrap: str, namespace: str, codec: Codec, places: Collection[Place], since_ms: int = 0, until_ms: int = 0
) -> set[Place]:
    """Those of these inputs of which the log has an entry, valid or not, or a dead letter, written since `since_ms`
    and, unless that is 0, before `until_ms`.

    Raises KafkaException, RegistryUnavailable."""
    left, found = set(places), set[Place]()
    for topic in (JOURNAL, LETTERS):
        for record in _between(bootstrap, kafka_name(namespace, topic), since_ms, until_ms):
            place = place_in_letter(record, namespace) if topic == LETTERS else _decided_on(record, codec)
            if place in left:
                left.remove(place)
                found.add(place)
            if not left:
                return found
    return found


def lost_at_the_end(bootstrap: str, namespace: str, codec: Codec, read: Mapping[str, int]) -> Place | None:
    """An input that a state has handled and of which the log has neither an entry nor a dead letter; None where each
    of the last ones has. `read`: by "topic/partition" the offset at which the state's sources go on.

    Not asked of what is as old as the first record that retention has left of any partition of the journal whose
    beginning it has deleted: the entry may be gone too. Raises KafkaException, RegistryUnavailable."""
    since_ms = _left_since(bootstrap, kafka_name(namespace, JOURNAL))
    for name, offset in sorted(read.items()):
        topic, _, partition = name.rpartition("/")
        last = _last_of_a_thread(bootstrap, kafka_name(namespace, topic), int(partition), offset)
        if last is None or last.timestamp_ms <= since_ms:
            continue
        place, began = (topic, last.partition, last.offset), max(0, last.timestamp_ms - _CLOCKS_MS)
        if not decided(bootstrap, namespace, codec, [place], began, last.timestamp_ms + _SOON_MS) and not decided(
            bootstrap, namespace, codec, [place]
        ):
            return place
    return None


def _decided_on(record: Record, codec: Codec) -> Place | None:
    try:
        return place_of(entry_of(record.value, codec))
    except Unreadable:
        return None


def _between(bootstrap: str, topic: str, since_ms: int, until_ms: int) -> Iterator[Record]:
    first = offsets_since(bootstrap, topic, since_ms) if since_ms else {}
    if not until_ms:
        yield from read_topic(bootstrap, topic, first)
        return
    until = offsets_since(bootstrap, topic, until_ms)
    with TopicReader(bootstrap, topic) as reader:
        marks = reader.marks()
        begin = {p: max(low, first.get(p, low)) for p, (low, _) in marks.items()}
        yield from reader.read(begin, {p: min(high, until.get(p, high)) for p, (_, high) in marks.items()})


def _last_of_a_thread(bootstrap: str, topic: str, partition: int, before: int) -> Record | None:
    """The last committed record of a partition below an offset whose key names a thread; None where none is left."""
    with TopicReader(bootstrap, topic) as reader:
        low, high = reader.marks().get(partition, (0, 0))
        end, back = min(before, high), _BACK
        while low < end:
            first = max(low, end - back)
            read = [record for record in reader.read({partition: first}, {partition: end}) if thread_in(record.key)]
            if read or first == low:
                return read[-1] if read else None
            back *= 10
    return None


def _left_since(bootstrap: str, journal: str) -> int:
    """When the youngest record was written that is the first one left of a partition whose beginning is deleted, or now
    where such a partition has none left; -1 where all of the journal is there."""
    cut = {partition: low for partition, (low, _) in bounds(bootstrap, journal).items() if low > 0}
    written = []
    for partition in cut:
        first = next(iter(read_topic(bootstrap, journal, partitions={partition})), None)
        written.append(int(time.time() * 1000) if first is None else first.timestamp_ms)
    return max(written, default=-1)
