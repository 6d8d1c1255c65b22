# SPDX-License-Identifier: Apache-2.0
"""The findings of replays, as Kafka holds them, and how far a replay has come."""

from __future__ import annotations

from schemas.topics import kafka_name
from wire.kafka import bounds, consumer
from wire.offsets import committed_of

TOPIC, TYPE, SOURCE = "replay-findings", "threadlog.ReplayFinding", "/threadlog/replay"
DIVERGENCE, VOID, SUMMARY = "divergence", "void", "summary"


def group(namespace: str, run: str) -> str:
    """The consumer group by which a run shows how far it has come, a slice at a time."""
    return f"{namespace}.replay.{run}"


def verified(bootstrap: str, namespace: str, run: str) -> int:
    """How many offsets of the journal a run has left behind. Raises KafkaException."""
    journal = kafka_name(namespace, "agent-decisions")
    lows = {partition: low for partition, (low, _) in bounds(bootstrap, journal).items()}
    reader = consumer(bootstrap, group(namespace, run))
    try:
        found = committed_of(reader, [(journal, partition) for partition in lows])
    finally:
        reader.close()
    return sum(max(0, at - lows[partition]) for (_, partition), at in found.items())
