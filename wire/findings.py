# SPDX-License-Identifier: Apache-2.0
"""The findings of replays, as Kafka holds them, and how far a replay has come."""

from __future__ import annotations

from confluent_kafka import TopicPartition

from schemas.topics import kafka_name
from wire.kafka import bounds, consumer

TOPIC, TYPE, SOURCE = "replay-findings", "threadlog.ReplayFinding", "/threadlog/replay"
DIVERGENCE, VOID, SUMMARY = "divergence", "void", "summary"
_COMMITTED_S = 10.0


def group(namespace: str, run: str) -> str:
    """The consumer group by which a run shows how far it has come, a slice at a time."""
    return f"{namespace}.replay.{run}"


def verified(bootstrap: str, namespace: str, run: str) -> int:
    """How many offsets of the journal a run has left behind. Raises KafkaException."""
    journal = kafka_name(namespace, "agent-decisions")
    lows = {partition: low for partition, (low, _) in bounds(bootstrap, journal).items()}
    reader = consumer(bootstrap, group(namespace, run))
    try:
        places = reader.committed([TopicPartition(journal, p) for p in lows], timeout=_COMMITTED_S)
    finally:
        reader.close()
    return sum(max(0, place.offset - lows[place.partition]) for place in places)
