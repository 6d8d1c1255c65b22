# SPDX-License-Identifier: Apache-2.0
"""Transactions as their readers see them.

A reader of committed records stops at the first open transaction of a partition, its last stable offset. What a killed
job left open holds up every reader until the job's own sink, or the broker after the timeout, ends it.

Which transactions there are stands in the broker's own topic `__transaction_state`: the client library asks for none.
Of each record only the fields that every version of it begins with are read."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import msgspec
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from wire.kafka import SILENT, read_topic

STATES = "__transaction_state"
# Begun, or decided on and not yet carried out; the other states hold up nobody.
OPEN = {1: "ongoing", 2: "to be committed", 3: "to be aborted", 7: "to be aborted"}
# Version, producer's id, its epoch, timeout in ms, state.
_VALUE = struct.Struct(">hqhib")
_KEY = struct.Struct(">hh")
_ASK_S = 5.0

Place = tuple[str, int]


class Open(msgspec.Struct, frozen=True):
    """A transaction that is open: its name, its state in words, when that last changed, how long the broker waits."""

    name: str
    state: str
    changed_ms: int
    timeout_ms: int


def conversations(namespace: str) -> str:
    """What the names of the conversation's transactions begin with; the sink adds subtask and number."""
    return f"{namespace}-conversation"


class StableEnds:
    """How far the partitions of some topics can be read, and how far they go."""

    def __init__(self, bootstrap: str, topics: Iterable[str]) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": SILENT})
        self._topics = list(topics)

    def look(self) -> dict[Place, tuple[int, int]]:
        """For each partition the last stable offset and an end that was there before. Raises KafkaException, also where
        one of the topics is not there, as with a broker that has just come up: its partitions are not told as none."""
        known = self._admin.list_topics(timeout=_ASK_S).topics
        for topic in self._topics:
            if topic not in known or known[topic].error is not None or not known[topic].partitions:
                raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{topic} is not there"))
        places = [TopicPartition(t, p) for t in self._topics for p in known[t].partitions]
        ends = self._latest(places, IsolationLevel.READ_UNCOMMITTED)
        stable = self._latest(places, IsolationLevel.READ_COMMITTED)
        return {place: (stable[place], end) for place, end in ends.items()}

    def _latest(self, places: list[TopicPartition], isolation: IsolationLevel) -> dict[Place, int]:
        spec: Any = OffsetSpec  # its methods carry no types
        wanted = dict.fromkeys(places, spec.latest())
        asked = self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=_ASK_S) if wanted else {}
        return {(place.topic, place.partition): int(answer.result().offset) for place, answer in asked.items()}


def open_transactions(bootstrap: str, prefix: str) -> list[Open]:
    """The open transactions whose names are of this prefix, by name. Raises KafkaException."""
    found: dict[str, Open] = {}
    for record in read_topic(bootstrap, STATES):
        if (name := _name(record.key)).startswith(f"{prefix}-"):
            found.pop(name, None)
            if (told := _open(name, record.value, record.timestamp_ms)) is not None:
                found[name] = told
    return [found[name] for name in sorted(found)]


def _name(key: bytes | None) -> str:
    """The name in a record's key, "" where the key is none of version 0, the only one so far."""
    if key is None or len(key) < _KEY.size:
        return ""
    version, length = _KEY.unpack_from(key)
    return key[_KEY.size : _KEY.size + length].decode("utf-8", "replace") if version == 0 else ""


def _open(name: str, value: bytes | None, changed_ms: int) -> Open | None:
    if value is None or len(value) < _VALUE.size:
        return None
    _, _, _, timeout_ms, state = _VALUE.unpack_from(value)
    return Open(name, OPEN[state], changed_ms, timeout_ms) if state in OPEN else None
