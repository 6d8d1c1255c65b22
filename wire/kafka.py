# SPDX-License-Identifier: Apache-2.0
"""Producers and consumers outside Flink, with the settings that our guarantees rest on."""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Self

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from wire.frames import Record
from wire.offsets import METADATA_S, again, committed_of, held_of

_POLL_S = 0.2
# To gather a batch; at a topic's end it is waited out in vain, and a job that starts reads several small topics.
_GATHER_S = 0.02
# A broker that lives sends something of what a topic is known to hold; longer than any restart of it.
_STALLED_S = 30.0
_LEAP = 400  # records that are read through rather than leapt over: about what one fetch brings anyway
# What librdkafka logs to stderr: its notices about its own housekeeping say nothing. Who reports failures wants none.
WARNINGS, SILENT = 4, 0
READERS = "threadlog-reader"
COMMITTED, EVERYTHING = "read_committed", "read_uncommitted"
# A new client connects first, or again, at half of this (librdkafka has 100); each failure doubles it, up to 10 s.
_RECONNECT_MS = 20


def producer(bootstrap: str, log_level: int = WARNINGS, record_bytes: int = 2 * 1024 * 1024) -> Producer:
    """An idempotent producer: acks=all, the same partitioner as Flink and the Java clients, small batches at once."""
    return _producer(bootstrap, {"log_level": log_level, "message.max.bytes": record_bytes})


def prompt_producer(bootstrap: str) -> Producer:
    """A producer for what may as well be said twice, and is waited for: an idempotent one first asks for a number, half
    a second after it was made."""
    return _producer(bootstrap, {
        "enable.idempotence": False, "reconnect.backoff.ms": _RECONNECT_MS, "log_level": SILENT,
        "max.in.flight.requests.per.connection": 1,  # what is sent again does not change places
    })  # fmt: skip


def _producer(bootstrap: str, more: dict[str, Any]) -> Producer:
    return Producer({
        "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 1,
        "partitioner": "murmur2_random", **more,
    })  # fmt: skip


def consumer(
    bootstrap: str, group: str = READERS, isolation: str = COMMITTED, ends: bool = False, ahead_kb: int = 65_536
) -> Consumer:
    """A consumer that sees committed records only, unless told otherwise, and commits nothing itself.

    ends: it tells of each partition's end, as an error. ahead_kb: what it fetches in advance."""
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "isolation.level": isolation,
        "enable.auto.commit": False, "auto.offset.reset": "earliest", "enable.partition.eof": ends,
        "fetch.wait.max.ms": 50, "reconnect.backoff.ms": _RECONNECT_MS, "log_level": SILENT,
        "queued.max.messages.kbytes": ahead_kb,
    })  # fmt: skip


def _marks(reader: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """For each partition the first offset and the one after the last record that the reader may see.

    Raises KafkaException."""
    return {partition: mark for (_, partition), mark in held_of(reader, [topic]).items()}


def is_empty(bootstrap: str, topic: str) -> bool:
    """True when the topic never held a committed record, or is not there. Raises KafkaException."""
    reader = consumer(bootstrap)
    try:
        return topic not in reader.list_topics(timeout=METADATA_S).topics or not any(
            high for _, high in _marks(reader, topic).values()
        )
    finally:
        reader.close()


def bounds(bootstrap: str, topic: str) -> dict[int, tuple[int, int]]:
    """For each partition the first offset that is left and the one after the last record, committed or not.

    Nothing for a topic that is not there. Raises KafkaException."""
    reader = consumer(bootstrap, isolation=EVERYTHING)
    try:
        return _marks(reader, topic) if topic in reader.list_topics(timeout=METADATA_S).topics else {}
    finally:
        reader.close()


def progress(bootstrap: str, group: str, topics: Sequence[str]) -> dict[tuple[str, int], tuple[int, int, int]]:
    """For each topic and partition the offset that a group has committed, negative for none, then as in `bounds`.

    Raises KafkaException, also for a topic that is not there."""
    reader = consumer(bootstrap, group, isolation=EVERYTHING)
    try:
        held = held_of(reader, topics)
        return {place: (at, *held[place]) for place, at in committed_of(reader, held).items()}
    finally:
        reader.close()


def settled_ends(bootstrap: str, topic: str, seconds: float = _STALLED_S) -> dict[int, int]:
    """For each partition the offset after its last record, once no transaction is open in any.

    Raises KafkaException, also when one is still open after so many seconds."""
    until = time.monotonic() + seconds
    reader = consumer(bootstrap)
    try:
        while True:
            ends = {partition: high for partition, (_, high) in bounds(bootstrap, topic).items()}
            if {partition: high for partition, (_, high) in _marks(reader, topic).items()} == ends:
                return ends
            if time.monotonic() > until:
                said = f"a transaction is open in {topic} for more than {seconds:g} s"
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, said))
            time.sleep(_POLL_S)
    finally:
        reader.close()


def first_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """The first offset that each partition still holds; retention moves it. Raises KafkaException."""
    return {partition: low for partition, (low, _) in bounds(bootstrap, topic).items()}


def offsets_since(bootstrap: str, topic: str, time_ms: int) -> dict[int, int]:
    """For each partition the offset of its first record of that time or later, or its end. Raises KafkaException."""
    ends = bounds(bootstrap, topic)
    reader = consumer(bootstrap)
    try:
        asked = [TopicPartition(topic, partition, time_ms) for partition in ends]
        found = reader.offsets_for_times(asked, timeout=METADATA_S)
        for place in found:
            if place.error or place.offset == time_ms:  # what the answer leaves out keeps what was asked for
                raise KafkaException(place.error or KafkaError(KafkaError._PARTIAL, f"nothing about {place}"))
        return {place.partition: place.offset if place.offset >= 0 else ends[place.partition][1] for place in found}
    finally:
        reader.close()


def read_topic(
    bootstrap: str,
    topic: str,
    first: Mapping[int, int] | None = None,
    partitions: Container[int] | None = None,
    missing: bool = False,
    isolation: str = COMMITTED,
    until: Mapping[int, int] | None = None,
) -> Iterator[Record]:
    """Every committed record from the start, or from the offsets `first` by partition, to the end as of now, or before
    the offsets `until`, in no order between partitions. `partitions`: only these of the topic's. `missing`: a topic
    that is not there holds nothing, instead of being an error. `isolation`: EVERYTHING for records not committed too.

    Raises KafkaException, also when the broker falls silent before the end."""
    with TopicReader(bootstrap, topic, isolation=isolation) as reader:
        if missing and not reader.is_there():
            return
        marks = {p: mark for p, mark in reader.marks().items() if partitions is None or p in partitions}
        begin = {p: max(low, (first or {}).get(p, low)) for p, (low, _) in marks.items()}
        yield from reader.read(begin, {p: min(high, (until or {}).get(p, high)) for p, (_, high) in marks.items()})


class TopicReader:
    """One topic, read from where one wants to where one wants. Its methods raise KafkaException."""

    def __init__(
        self, bootstrap: str, topic: str, group: str = READERS, isolation: str = COMMITTED,
        stalled_s: float = _STALLED_S, ahead_kb: int = 65_536,
    ) -> None:  # fmt: skip
        """group: whose place `commit` moves. stalled_s: how long `read` waits for what does not come."""
        self._bootstrap, self._topic, self._stalled_s = bootstrap, topic, stalled_s
        self._reader = consumer(bootstrap, group, isolation, ends=True, ahead_kb=ahead_kb)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._reader.close()

    def first(self, partition: int) -> int:
        """The first offset that a partition still holds."""
        place = TopicPartition(self._topic, partition)
        return again(lambda: int(self._reader.get_watermark_offsets(place, timeout=METADATA_S)[0]))

    def commit(self, partition: int, offset: int) -> None:
        """Let it be known how far the group is. It is not waited for, and may be lost."""
        self._reader.commit(offsets=[TopicPartition(self._topic, partition, offset)], asynchronous=True)

    def identity(self) -> str:
        """The cluster and the topic in it: another one of the same name has another."""
        cluster = self._reader.list_topics(self._topic, timeout=METADATA_S).cluster_id
        admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": SILENT})
        described = admin.describe_topics(TopicCollection([self._topic]), request_timeout=METADATA_S)
        return f"{cluster}/{described[self._topic].result().topic_id}"

    def is_there(self) -> bool:
        """Whether the topic exists."""
        return self._topic in self._reader.list_topics(timeout=METADATA_S).topics

    def marks(self) -> dict[int, tuple[int, int]]:
        """For each partition the first offset and the one after the last committed record."""
        return _marks(self._reader, self._topic)

    def read(self, first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        """The committed records from `first` on and before `end`, by partition, in no order between them.

        Raises KafkaException, also when the broker falls silent before the end."""
        open_ = {p: high for p, high in end.items() if high > first[p]}
        self._reader.assign([TopicPartition(self._topic, p, first[p]) for p in open_])
        before, since, reached = -1, time.monotonic(), dict[int, int]()
        while open_:
            for message in self._reader.consume(500, _GATHER_S):
                if message.error() is None and (record := to_record(message)).offset < end[record.partition]:
                    yield record
                elif _tells_end(message):
                    reached[message.partition() or 0] = message.offset() or 0
            places = self._reader.position([TopicPartition(self._topic, p) for p in open_])
            for place in places:
                # A position does not pass what was aborted, if nothing else follows; the end that is told of does.
                if max(place.offset, reached.get(place.partition, 0)) >= open_[place.partition]:
                    del open_[place.partition]
            if (now := sum(place.offset for place in places)) != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > self._stalled_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nothing came for {self._stalled_s:g} s"))

    def at(self, places: Sequence[tuple[int, int]]) -> Iterator[Record]:
        """The records at these places, (partition, offset) in rising order; one that is gone is left out.

        What lies between two of one partition is read through where that is little, else leapt over."""
        partition, at = -1, -1
        for wanted, offset in places:
            if wanted != partition or not at <= offset <= at + _LEAP:
                self._reader.assign([TopicPartition(self._topic, wanted, offset)])
            partition, at = wanted, offset
            for record in self._from_here(offset):
                at = record.offset + 1
                if record.offset == offset:
                    yield record
                if record.offset >= offset:
                    break
            else:
                partition = -1  # its end was reached, of which nobody tells again

    def _from_here(self, offset: int) -> Iterator[Record]:
        until = time.monotonic() + _STALLED_S
        while time.monotonic() < until:
            message = self._reader.poll(_POLL_S)
            if message is not None and _tells_end(message):
                return
            if message is not None and message.error() is None:
                yield to_record(message)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nothing at offset {offset} for {_STALLED_S:g} s"))


def follow(
    bootstrap: str, topics: list[str], from_start: bool = False, after: Mapping[tuple[str, int], int] | None = None
) -> Iterator[Record | None]:
    """Committed records as they come, for ever; None whenever nothing came for a moment. Raises KafkaException.

    Begins at the end as of now; or at the start; or after what was read, `after`, the last offset of each place."""
    reader = consumer(bootstrap)
    try:
        places = []
        for topic in topics:
            for number, (low, high) in _marks(reader, topic).items():
                first = low if after is None else max(low, after.get((topic, number), -1) + 1)
                places.append(TopicPartition(topic, number, high if after is None and not from_start else first))
        reader.assign(places)
        while True:
            message = reader.poll(_POLL_S)
            yield to_record(message) if message is not None and message.error() is None else None
    finally:
        reader.close()


def _tells_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def to_record(message: Message) -> Record:
    """A consumed message as a record."""
    told: Any = message  # its stub allows for a message that was not consumed, which has no place and text in headers
    return Record(
        told.topic(), told.partition(), told.offset(), told.timestamp()[1], told.key(), told.value(),
        list(told.headers() or ()),
    )  # fmt: skip
