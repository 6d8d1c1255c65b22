# SPDX-License-Identifier: Apache-2.0
"""When the demo's work is over: neither the topics nor the ledger grow any more, while both jobs run."""

from __future__ import annotations

import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from ops.settings import Settings
from ops.stack import flink
from schemas.topics import kafka_name
from wire.kafka import WARNINGS

QUIET_S = 16  # longer than the app waits for a confirmation, so that silence means the end


def committed(settings: Settings) -> int:
    """The sum of end offsets of the topics in which work shows."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap,
            "group.id": "demo-quiet",
            "enable.auto.commit": False,
            "log_level": WARNINGS,
        }
    )
    total = 0
    for topic in ("agent-decisions", "tool-results"):
        name = kafka_name(settings.namespace, topic)
        for part in consumer.list_topics(name, timeout=10).topics[name].partitions:
            total += consumer.get_watermark_offsets(TopicPartition(name, part), timeout=10)[1]
    consumer.close()
    return total


def wait_quiet(settings: Settings, ledger: Path, seconds: float) -> bool:
    """Wait until neither topics nor ledger have grown for QUIET_S under running jobs; False when the time ran out."""
    until, since, before = time.monotonic() + seconds, time.monotonic(), (-1, -1)
    while time.monotonic() < until:
        now = (committed(settings), ledger.stat().st_size)
        recovering = flink.wait_running(settings, list(flink.JOBS), 0)  # silence while a job restarts is not the end
        if now != before or recovering:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > QUIET_S:
            return True
        time.sleep(0.5)
    return False
