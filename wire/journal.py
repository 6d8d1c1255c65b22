# SPDX-License-Identifier: Apache-2.0
"""Journal entries as Kafka holds them."""

from __future__ import annotations

from collections.abc import Container, Mapping

from schemas.codec import Codec
from schemas.errors import Unreadable
from schemas.topics import kafka_name
from threadlog.entry import Entry
from threadlog.snapshots import snapshot_of
from wire.kafka import bounds, consumer, read_topic
from wire.offsets import committed_of

TOPIC, TYPE = "agent-decisions", "threadlog.Decision"


def entry_of(value: bytes | None, codec: Codec) -> Entry:
    """The entry in a record's value. Raises Unreadable where there is none, RegistryUnavailable."""
    return Entry.from_dict(codec.decode_own(value, TYPE))


def without_beginning(bootstrap: str, topic: str, codec: Codec, partitions: Container[int]) -> list[str]:
    """Threads of which these partitions of a journal hold neither the first entry nor any with a snapshot.

    Raises KafkaException, RegistryUnavailable."""
    begun, open_ = set[bytes](), set[bytes]()
    for record in read_topic(bootstrap, topic, partitions=partitions):
        if record.key is None or record.key in begun:
            continue
        try:
            entry = entry_of(record.value, codec)
        except Unreadable:
            continue
        if entry.seq == 1 or snapshot_of(entry) is not None:
            begun.add(record.key)
            open_.discard(record.key)
        else:
            open_.add(record.key)
    return sorted(key.decode("utf-8", "backslashreplace") for key in open_)


def catch_up_group(namespace: str, generation: str) -> str:
    """The consumer group by which a catch-up shows how far it has read, a slice at a time. What it has just read is not
    followed yet, nor in a checkpoint."""
    return f"{namespace}.catchup.{generation}"


def left_behind(bootstrap: str, namespace: str, group: str, begin: Mapping[int, int] | None = None) -> int:
    """How many offsets of the journal a group has left behind, from `begin` on or from what each partition still has.

    Raises KafkaException."""
    journal = kafka_name(namespace, TOPIC)
    first = begin or {partition: low for partition, (low, _) in bounds(bootstrap, journal).items()}
    reader = consumer(bootstrap, group)
    try:
        found = committed_of(reader, [(journal, partition) for partition in first])
    finally:
        reader.close()
    return sum(max(0, at - first[partition]) for (_, partition), at in found.items())
