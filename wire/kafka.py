# SPDX-License-Identifier: Apache-2.0
"""Producers and consumers outside Flink, with the settings that our guarantees rest on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from wire.frames import Record

_METADATA_S = 10.0
_POLL_S = 0.2
WARNINGS = 4  # librdkafka's notices about its own housekeeping say nothing to a person


def producer(bootstrap: str) -> Producer:
    """An idempotent producer: acks=all, the same partitioner as Flink and the Java clients, small batches at once."""
    return Producer({
        "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 1,
        "partitioner": "murmur2_random", "message.max.bytes": 2 * 1024 * 1024,
        "log_level": WARNINGS,
    })  # fmt: skip


def consumer(bootstrap: str, group: str = "threadlog-reader") -> Consumer:
    """A consumer that sees committed records only and commits nothing itself."""
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "isolation.level": "read_committed",
        "enable.auto.commit": False, "auto.offset.reset": "earliest", "enable.partition.eof": False,
        "fetch.wait.max.ms": 50, "log_level": WARNINGS,
    })  # fmt: skip


def read_topic(bootstrap: str, topic: str) -> Iterator[Record]:
    """Every committed record from the start to the end as of now, partition by partition in no order between them."""
    reader = consumer(bootstrap)
    try:
        partitions = reader.list_topics(topic, timeout=_METADATA_S).topics[topic].partitions
        ends = {p: reader.get_watermark_offsets(TopicPartition(topic, p), timeout=_METADATA_S) for p in partitions}
        open_ = {p: high for p, (low, high) in ends.items() if high > low}
        reader.assign([TopicPartition(topic, p, ends[p][0]) for p in open_])
        while open_:
            for message in reader.consume(500, _POLL_S):
                if message.error() is None:
                    yield to_record(message)
            for place in reader.position([TopicPartition(topic, p) for p in open_]):
                if place.offset >= open_[place.partition]:
                    del open_[place.partition]
    finally:
        reader.close()


def follow(bootstrap: str, topics: list[str], from_start: bool = False) -> Iterator[Record | None]:
    """Committed records as they come, for ever; None whenever nothing came for a moment."""
    reader = consumer(bootstrap)
    try:
        places = []
        for topic in topics:
            for partition in reader.list_topics(topic, timeout=_METADATA_S).topics[topic].partitions:
                low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=_METADATA_S)
                places.append(TopicPartition(topic, partition, low if from_start else high))
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
