# SPDX-License-Identifier: Apache-2.0
"""Whether a savepoint is there, and how far its Kafka sources are: the one thing in it that is of use outside of Flink.
By that it is told whether its state holds decisions that the journal lacks.

The offsets that a job commits with its checkpoints lag behind what it is stopped with: those of the last one are not
waited for. Flink's connector writes a split as its topic, with two bytes for the length before it, then the partition
in four bytes, the offset to go on at in eight, and the one to end at, of which a source without an end has the smallest
number there is. So long a pattern is found nowhere by chance.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from ops.settings import Settings
from schemas.codec import Codec
from schemas.topics import kafka_name
from wire.chains import broken_since
from wire.control import CAUGHT_UP, CONVERSATION, plain_path, read_marks
from wire.decided import CLOCKS_MS, lost_at_the_end
from wire.inputs import INPUTS, committed

_SPLIT = struct.Struct(">iqq")
_ENDLESS = -(2**63)


def source_offsets(point: str, namespace: str, topics: Iterable[str]) -> dict[str, int]:
    """By "topic/partition" the offset at which a savepoint goes on; nothing where it has read nothing, and nothing at
    all where the savepoint lies on no disk of this machine."""
    files = [path for path in sorted(Path(plain_path(point)).glob("*")) if path.is_file()]
    found: dict[str, int] = {}
    for data in (path.read_bytes() for path in files):
        for topic in topics:
            for partition, offset in _splits(data, kafka_name(namespace, topic)):
                place = f"{topic}/{partition}"
                found[place] = max(offset, found.get(place, 0))
    return found


def _splits(data: bytes, topic: str) -> Iterable[tuple[int, int]]:
    name = struct.pack(">H", len(topic)) + topic.encode()
    at = data.find(name)
    while at >= 0:
        behind = at + len(name)
        if behind + _SPLIT.size <= len(data):
            partition, offset, end = _SPLIT.unpack_from(data, behind)
            if end == _ENDLESS and partition >= 0 and offset >= 0:  # below 0: where to begin is not settled yet
                yield partition, offset
        at = data.find(name, at + 1)


def is_there(point: str) -> bool:
    """Whether a savepoint exists; of one that lies on no disk of this machine Flink itself will tell."""
    return can_be_read(point) if point.startswith(("file:", "/")) else bool(point)


def can_be_read(point: str) -> bool:
    """Whether a savepoint lies on a disk of this machine."""
    return (Path(plain_path(point)) / "_metadata").is_file()


def behind(settings: Settings, point: str) -> str:
    """How a savepoint of the conversation is older than the job was when it was stopped last; "" where it is not, or
    nothing is known of it. What a job commits lags behind what it is stopped with, never the other way round.

    Nothing is known of a partition that it has given no record of: after a catch-up inputs are read from the first that
    retention has left, and what was committed is of the job before. Raises KafkaException."""
    read = source_offsets(point, settings.namespace, INPUTS[CONVERSATION])
    for place, offset in committed(settings.bootstrap, settings.namespace, CONVERSATION).items() if read else ():
        if (at := read.get(place, offset)) < offset:
            return (
                f"{point} goes on at offset {at} of {place}, and the job has been at {offset}: it is of an earlier time"
            )
    return ""


def ahead(settings: Settings, codec: Codec, point: str, read: Mapping[str, int]) -> str:
    """How a state of the conversation is ahead of the journal, in which nothing may be open; "" where it is not, or
    nothing is known of it. `read`: its `source_offsets`. Raises KafkaException, RegistryUnavailable."""
    lost = lost_at_the_end(settings.bootstrap, settings.namespace, codec, read)
    if lost is None:
        return ""
    topic, partition, offset = lost
    return (
        f"the state of {point} holds decisions whose commit was lost: what it decided on {topic} partition {partition} "
        f"offset {offset} is in no journal"
    )


def of_another_history(settings: Settings, codec: Codec) -> str:
    """How the journal has gone on from another history since a state was held against it last, entry by entry; "" where
    it has not, or where the tools job, which makes a letter of each void entry, has not read so far. A state that was
    stopped since may be the one that those entries go on from, or that of a copy which is gone: a catch-up from it
    tells. Raises KafkaException, RegistryUnavailable."""
    marks = read_marks(settings.bootstrap, settings.namespace, codec)
    held = next((one for one in reversed(marks) if one.mark.what == CAUGHT_UP), None)
    ends, since_ms = (held.mark.journal, max(1, held.log_time_ms - CLOCKS_MS)) if held else ({}, 0)
    if (found := broken_since(settings.bootstrap, settings.namespace, codec, ends, since_ms)) is None:
        return ""
    where = f"{kafka_name(settings.namespace, 'agent-decisions')} partition {found.partition} offset {found.offset}"
    return f"decisions were made on another history than the journal's ({where}: {found.reason})"
