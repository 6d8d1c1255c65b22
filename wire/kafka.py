# SPDX-License-Identifier: Apache-2.0
"""Producers and consumers outside Flink, with the settings that our guarantees rest on."""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from wire.frames import Record

_METADATA_S = 10.0
_POLL_S = 0.2
# A broker that lives sends something of what a topic is known to hold; longer than any restart of it.
_STALLED_S = 30.0
_LEADERLESS = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
# What librdkafka logs to stderr: its notices about its own housekeeping say nothing to a person. Who reports failures
# himself wants none of it.
WARNINGS, SILENT = 4, 0


def producer(bootstrap: str, log_level: int = WARNINGS) -> Producer:
    """An idempotent producer: acks=all, the same partitioner as Flink and the Java clients, small batches at once."""
    return Producer({
        "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 1,
        "partitioner": "murmur2_random", "message.max.bytes": 2 * 1024 * 1024,
        "log_level": log_level,
    })  # fmt: skip


def consumer(bootstrap: str, group: str = "threadlog-reader") -> Consumer:
    """A consumer that sees committed records only and commits nothing itself."""
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "isolation.level": "read_committed",
        "enable.auto.commit": False, "auto.offset.reset": "earliest", "enable.partition.eof": False,
        "fetch.wait.max.ms": 50, "log_level": SILENT,
    })  # fmt: skip


def _marks(reader: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """For each partition the first offset and the one after the last committed record. Raises KafkaException.

    A topic that was made just now, or a broker that restarts, has partitions without a leader for a moment."""
    until = time.monotonic() + _METADATA_S
    while True:
        try:
            return _marks_now(reader, topic)
        except KafkaException as error:
            if error.args[0].code() not in _LEADERLESS or time.monotonic() > until:
                raise
            time.sleep(_POLL_S)


def _marks_now(reader: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    found = reader.list_topics(topic, timeout=_METADATA_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    places = {partition: TopicPartition(topic, partition) for partition in found.partitions}
    return {number: reader.get_watermark_offsets(place, timeout=_METADATA_S) for number, place in places.items()}


def is_empty(bootstrap: str, topic: str) -> bool:
    """True when the topic never held a committed record, or is not there. Raises KafkaException."""
    reader = consumer(bootstrap)
    try:
        return topic not in reader.list_topics(timeout=_METADATA_S).topics or not any(
            high for _, high in _marks(reader, topic).values()
        )
    finally:
        reader.close()


def read_topic(bootstrap: str, topic: str, partitions: Container[int] | None = None) -> Iterator[Record]:
    """Every committed record from the start to the end as of now, partition by partition in no order between them.

    `partitions`: only these of the topic's.
    Raises KafkaException, also when the broker falls silent before the end."""
    reader = consumer(bootstrap)
    try:
        marks = _marks(reader, topic)
        taken = [p for p in marks if partitions is None or p in partitions]
        open_ = {p: marks[p][1] for p in taken if marks[p][1] > marks[p][0]}
        reader.assign([TopicPartition(topic, p, marks[p][0]) for p in open_])
        before, since = -1, time.monotonic()
        while open_:
            for message in reader.consume(500, _POLL_S):
                if message.error() is None:
                    yield to_record(message)
            places = reader.position([TopicPartition(topic, p) for p in open_])
            for place in places:
                if place.offset >= open_[place.partition]:
                    del open_[place.partition]
            if (now := sum(place.offset for place in places)) != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > _STALLED_S:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nothing came for {_STALLED_S:g} s"))
    finally:
        reader.close()


def follow(
    bootstrap: str, topics: list[str], from_start: bool = False, after: Mapping[tuple[str, int], int] | None = None
) -> Iterator[Record | None]:
    """Committed records as they come, for ever; None whenever nothing came for a moment.

    Begins at the end as of now; or at the start; or after what was read, `after`: the last offset of each topic and
    partition from which anything was. Raises KafkaException."""
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


def to_record(message: Message) -> Record:
    """A consumed message as a record."""
    told: Any = message  # its stub allows for a message that was not consumed, which has no place and text in headers
    return Record(
        told.topic(), told.partition(), told.offset(), told.timestamp()[1], told.key(), told.value(),
        list(told.headers() or ()),
    )  # fmt: skip
