# SPDX-License-Identifier: Apache-2.0
"""Which inputs the log says were decided, and whether a state holds decisions that the log lacks.

A checkpoint is complete before its transactions are committed. Where the broker aborts one in between, the state has
handled inputs of which nobody can read what was decided. The last records that it has read of each partition tell: each
must have an entry or a dead letter. Several of them, because each subtask of the job has a transaction of its own.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Container, Iterator, Mapping
from itertools import islice

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
# What a job takes along of them, some 30 bytes each. Those above are written once more when inputs are read again.
LETTERS_MAX = 10_000
# Brokers' clocks differ: what was decided of a record is looked for from a little before the record on.
_CLOCKS_MS = 5_000
# Almost every decision is written so soon after its input; what is not is looked for in all that came since.
_SOON_MS = 60_000
# How many records of a partition's end are asked about, and of how long before the last.
_LAST, _LAST_MS = 100, 60_000

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


def without_thread(bootstrap: str, namespace: str, codec: Codec) -> frozenset[Place]:
    """Inputs of no thread, of which the conversation has made dead letters; no more than LETTERS_MAX.

    Raises KafkaException."""
    letters = read_topic(bootstrap, kafka_name(namespace, LETTERS), missing=True)
    places = (place_in_letter(letter, namespace) for letter in letters if not thread_in(letter.key))
    return frozenset(islice((place for place in places if place is not None), LETTERS_MAX))


def lost_at_the_end(bootstrap: str, namespace: str, codec: Codec, read: Mapping[str, int]) -> Place | None:
    """An input that a state has handled and of which the log has neither an entry nor a dead letter; None where each
    of the last ones has. `read`: by "topic/partition" the offset at which the state's sources go on.

    Not asked of what is as old as the first record that retention has left of any partition of the journal whose
    beginning it has deleted: the entry may be gone too. Raises KafkaException, RegistryUnavailable."""
    since_ms, late = _left_since(bootstrap, kafka_name(namespace, JOURNAL)), dict[Place, int]()
    for name, offset in sorted(read.items()):
        topic, _, partition = name.rpartition("/")
        last = _last_of_threads(bootstrap, kafka_name(namespace, topic), int(partition), offset)
        asked = {(topic, r.partition, r.offset): r.timestamp_ms for r in last if r.timestamp_ms > since_ms}
        if asked:
            first, until = min(asked.values()) - _CLOCKS_MS, max(asked.values()) + _SOON_MS
            late |= _without(asked, decided(bootstrap, namespace, codec, asked, max(1, first), until))
    if late:
        late = _without(late, decided(bootstrap, namespace, codec, late, max(1, min(late.values()) - _CLOCKS_MS)))
    if late:  # once more without any clock: a topic may say other times than the broker's
        late = _without(late, decided(bootstrap, namespace, codec, late))
    return min(late, default=None)


def _without(asked: Mapping[Place, int], found: Container[Place]) -> dict[Place, int]:
    return {place: time_ms for place, time_ms in asked.items() if place not in found}


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


def _last_of_threads(bootstrap: str, topic: str, partition: int, before: int) -> list[Record]:
    """The last committed records of a partition below an offset whose keys name threads, none where none is left."""
    with TopicReader(bootstrap, topic) as reader:
        low, high = reader.marks().get(partition, (0, 0))
        end, back = min(before, high), _LAST
        while low < end:
            first = max(low, end - back)
            read = [record for record in reader.read({partition: first}, {partition: end}) if thread_in(record.key)]
            if read or first == low:
                return [r for r in read[-_LAST:] if r.timestamp_ms > read[-1].timestamp_ms - _LAST_MS]
            back *= 10
    return []


def _left_since(bootstrap: str, journal: str) -> int:
    """When the youngest record was written that is the first one left of a partition whose beginning is deleted, or now
    where such a partition has none left; -1 where all of the journal is there."""
    cut = {partition: low for partition, (low, _) in bounds(bootstrap, journal).items() if low > 0}
    written = []
    for partition in cut:
        first = next(iter(read_topic(bootstrap, journal, partitions={partition})), None)
        written.append(int(time.time() * 1000) if first is None else first.timestamp_ms)
    return max(written, default=-1)
