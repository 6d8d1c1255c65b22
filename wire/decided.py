# SPDX-License-Identifier: Apache-2.0
"""Which inputs the log says were decided, and whether a state holds decisions that the log lacks.

A checkpoint is complete before its transactions are committed. Where the broker aborts one in between, the state has
handled inputs of which nobody can read what was decided. The last records that it has read of each partition tell: each
must have an entry or a dead letter. Several of them, because each subtask of the job has a transaction of its own.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Container, Iterator, Mapping

from schemas.codec import Codec
from schemas.topics import kafka_name
from threadlog.entry import Entry
from wire.chains import LETTERS as LETTERS
from wire.chains import Chains, said_in
from wire.chains import Place as Place
from wire.frames import Record, thread_in
from wire.journal import TOPIC as JOURNAL
from wire.kafka import TopicReader, bounds, offsets_since, read_topic, settled_ends

# How many of the newest offsets of each partition are looked through. A job takes along what it finds, some 30 bytes
# each.
LETTERS_MAX = 2_000
# Brokers' clocks differ: what was decided of a record is looked for from a little before the record on.
CLOCKS_MS = 5_000
# Almost every decision is written so soon after its input; what is not is looked for in all that came since.
_SOON_MS = 60_000
# How many records of a partition's end are asked about, and of how long before the last.
_LAST, _LAST_MS = 100, 60_000

_GENERATION = "__streams.errors.generation"
# Read by both jobs, so a dead letter of it may be the tools job's, which says nothing of the conversation.
_OF_BOTH = "tool-results"


def place_of(entry: Entry) -> Place | None:
    """Where the log holds what was decided on; None for what is no record, such as a timer."""
    return None if entry.kind == "timer" else (entry.input.topic, entry.input.partition, entry.input.offset)


def place_in_letter(record: Record, namespace: str) -> tuple[str, int, int] | None:
    """Topic, partition and offset of what a dead letter of the conversation is of; None where it does not say, or where
    another job wrote it.

    The conversation's end with its generation."""
    if (said := said_in(record, namespace)) is None:
        return None
    place = said[2]
    return None if place[0] == _OF_BOTH and record.headers[-1][0] != _GENERATION else place


def places_decided(
    bootstrap: str, namespace: str, codec: Codec, since_ms: int = 0, until_ms: int = 0, void: bool = False
) -> Iterator[Place]:
    """Each input of which the log has a valid entry, and then each that has a dead letter of the conversation. Only
    what was written since `since_ms` is read, and before `until_ms`; 0 is no bound.

    By the reader's rule, as far as what is read shows it: since a time, the first entry of a thread begins it.
    `void`: each of which it has an entry, valid or not. Raises KafkaException, RegistryUnavailable."""
    journal = kafka_name(namespace, JOURNAL)
    chains = Chains(bootstrap, journal, codec, midway=since_ms > 0)
    for record in _between(bootstrap, journal, since_ms, until_ms):
        entry, reason = chains.judge(record)
        if entry is not None and (void or not reason) and (place := place_of(entry)) is not None:
            yield place
    for letter in _between(bootstrap, kafka_name(namespace, LETTERS), since_ms, until_ms):
        if (place := place_in_letter(letter, namespace)) is not None:
            yield place


def decided(
    bootstrap: str, namespace: str, codec: Codec, places: Collection[Place], since_ms: int = 0, until_ms: int = 0,
    void: bool = False,
) -> set[Place]:  # fmt: skip
    """Those of these inputs that are among `places_decided`, of which no more are read than it takes to know."""
    left, found = set(places), set[Place]()
    for place in places_decided(bootstrap, namespace, codec, since_ms, until_ms, void):
        if place in left:
            left.remove(place)
            found.add(place)
        if not left:
            break
    return found


def without_thread(bootstrap: str, namespace: str) -> frozenset[Place]:
    """Inputs of no thread, of which the conversation has made dead letters: those among the newest letters.

    Raises KafkaException."""
    name, found = kafka_name(namespace, LETTERS), set[Place]()
    newest = {p: max(low, high - LETTERS_MAX) for p, (low, high) in bounds(bootstrap, name).items()}
    for letter in read_topic(bootstrap, name, newest, missing=True):
        if not thread_in(letter.key) and (place := place_in_letter(letter, namespace)) is not None:
            found.add(place)
    return frozenset(found)


def lost_at_the_end(bootstrap: str, namespace: str, codec: Codec, read: Mapping[str, int]) -> Place | None:
    """An input that a state has handled and of which the log has neither a valid entry nor a dead letter; None where
    each of the last ones has. `read`: by "topic/partition" the offset at which the state's sources go on.

    Not asked of what is as old as the first record that retention has left of any partition of the journal whose
    beginning it has deleted: the entry may be gone too. Raises KafkaException, RegistryUnavailable."""
    asked = _last_read(bootstrap, namespace, read, _left_since(bootstrap, kafka_name(namespace, JOURNAL)))
    late = dict[Place, int]()
    for some in _together(asked):
        first, until = min(some.values()) - CLOCKS_MS, max(some.values()) + _SOON_MS
        late |= _without(some, decided(bootstrap, namespace, codec, some, max(1, first), until))
    if late:
        late = _without(late, decided(bootstrap, namespace, codec, late, max(1, min(late.values()) - CLOCKS_MS)))
    if late:  # a letter may be committed only now, and a topic may say other times than the broker's
        settled_ends(bootstrap, kafka_name(namespace, LETTERS))
        late = _without(late, decided(bootstrap, namespace, codec, late))
    return min(late, default=None)


def _last_read(bootstrap: str, namespace: str, read: Mapping[str, int], since_ms: int) -> dict[Place, int]:
    """The last records of threads that a state has read of each partition, and when the log took them."""
    asked = dict[Place, int]()
    for topic in sorted({name.rpartition("/")[0] for name in read}):
        before = {int(n.rpartition("/")[2]): offset for n, offset in read.items() if n.rpartition("/")[0] == topic}
        for r in _last_of_threads(bootstrap, kafka_name(namespace, topic), before):
            if r.timestamp_ms > since_ms:
                asked[topic, r.partition, r.offset] = r.timestamp_ms
    return asked


def _together(asked: Mapping[Place, int]) -> Iterator[dict[Place, int]]:
    """The same in groups, of which each is looked for at once: a quiet partition's last record may be weeks old."""
    some, until = dict[Place, int](), 0
    for place, time_ms in sorted(asked.items(), key=lambda one: one[1]):
        if some and time_ms > until:
            yield some
            some = {}
        some[place], until = time_ms, time_ms + _SOON_MS
    if some:
        yield some


def _without(asked: Mapping[Place, int], found: Container[Place]) -> dict[Place, int]:
    return {place: time_ms for place, time_ms in asked.items() if place not in found}


def _between(bootstrap: str, topic: str, since_ms: int, until_ms: int) -> Iterator[Record]:
    first = offsets_since(bootstrap, topic, since_ms) if since_ms else {}
    return read_topic(bootstrap, topic, first, until=offsets_since(bootstrap, topic, until_ms) if until_ms else None)


def _last_of_threads(bootstrap: str, topic: str, before: Mapping[int, int]) -> Iterator[Record]:
    """The last committed records of each partition below an offset whose keys name threads, where any are left."""
    with TopicReader(bootstrap, topic) as reader:
        for partition, (low, high) in reader.marks().items():
            end, back, read = min(before.get(partition, 0), high), _LAST, list[Record]()
            while low < end and not read:
                first = max(low, end - back)
                read = [r for r in reader.read({partition: first}, {partition: end}) if thread_in(r.key)]
                back = back * 10 if first > low else 0
                end = end if back else low
            yield from (r for r in read[-_LAST:] if r.timestamp_ms > read[-1].timestamp_ms - _LAST_MS)


def _left_since(bootstrap: str, journal: str) -> int:
    """When the youngest record was written that is the first one left of a partition whose beginning is deleted, or now
    where such a partition has none left; -1 where all of the journal is there."""
    cut = {partition: low for partition, (low, _) in bounds(bootstrap, journal).items() if low > 0}
    written = []
    for partition in cut:
        first = next(iter(read_topic(bootstrap, journal, partitions={partition})), None)
        written.append(int(time.time() * 1000) if first is None else first.timestamp_ms)
    return max(written, default=-1)
