# SPDX-License-Identifier: Apache-2.0
"""Where partitions begin and end, and how far a group is.

In Kafka's protocol the first offset and the end are times like any other. So two requests to each broker ask for all of
its partitions; `get_watermark_offsets` sends the same two for every partition. What the end is, is in both cases up to
the reader's isolation level: for `read_committed` the offset of the first open transaction, where there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

METADATA_S = 10.0
_AGAIN_S = 0.2
# What a partition says that changes its leader; of one that has none at all the client knows no partition. The client
# asks some of these again by itself, and tells of the first answer nevertheless.
_LEADERLESS = frozenset({
    KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError._UNKNOWN_PARTITION,
})  # fmt: skip

# What a broker says that has just come up, or gone, of the groups that it looks after. This the client asks once.
_GROUPLESS = frozenset({
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
})  # fmt: skip

Place = tuple[str, int]  # a topic, as Kafka names it, and a partition
R = TypeVar("R")


def held_of(reader: Consumer, topics: Sequence[str]) -> dict[Place, tuple[int, int]]:
    """For each place of these topics the first offset and the one after the last record that the reader may see.

    A topic that was made just now, or a broker that restarts, has partitions without a leader for a moment. Raises
    KafkaException, also for a topic that is not there."""

    def ask() -> dict[Place, tuple[int, int]]:
        places = [place for topic in topics for place in _places(reader, topic)]
        # The first offset first: so it is never above the end.
        first, end = _ask(reader, places, OFFSET_BEGINNING), _ask(reader, places, OFFSET_END)
        return {place: (first[place], end[place]) for place in places}

    return again(ask)


def committed_of(reader: Consumer, places: Iterable[Place]) -> dict[Place, int]:
    """The offset that the reader's group has committed of each place, negative for none. Raises KafkaException."""
    asked = [TopicPartition(*place) for place in places]

    def ask() -> dict[Place, int]:
        found = reader.committed(asked, timeout=METADATA_S)
        if failed := next((place.error for place in found if place.error is not None), None):
            raise KafkaException(failed)
        return {(place.topic, place.partition): place.offset for place in found}

    return again(ask)


def again(ask: Callable[[], R]) -> R:
    """What is asked of a broker, once more as long as it answers what it will not a moment later. Raises
    KafkaException."""
    until = time.monotonic() + METADATA_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _LEADERLESS | _GROUPLESS or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)


def _places(reader: Consumer, topic: str) -> list[Place]:
    found = reader.list_topics(topic, timeout=METADATA_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return [(topic, partition) for partition in found.partitions]


def _ask(reader: Consumer, places: Sequence[Place], which: int) -> dict[Place, int]:
    asked = [TopicPartition(*place, which) for place in places]
    found = reader.offsets_for_times(asked, timeout=METADATA_S) if asked else []
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset < 0:  # what the answer leaves out keeps what was asked for
            raise KafkaException(KafkaError(KafkaError._BAD_MSG, f"no offset of {place.topic}/{place.partition}"))
    return {(place.topic, place.partition): place.offset for place in found}
