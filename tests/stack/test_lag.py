# SPDX-License-Identifier: Apache-2.0
"""A job that falls behind retention, by what a real broker says of offsets, times and settings."""

from __future__ import annotations

import dataclasses
import time

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from ops.reading import codec_of
from ops.settings import Settings
from ops.watching.lag import Lag
from schemas.topics import TOPICS, kafka_name
from wire.admin import delete_before, ensure_topics
from wire.kafka import consumer, producer

HOUR_S = 3600


def test_lag_is_told_before_and_after_retention_takes_what_was_not_handled(stack: Settings) -> None:
    """Of 100 hours 95 are over; then the record is gone; then the job is behind it."""
    settings = dataclasses.replace(stack, namespace="lagging")
    name, group = kafka_name("lagging", "agent-events"), "lagging.conversation"
    config = TOPICS["agent-events"].config | {"retention.ms": str(100 * HOUR_S * 1000)}
    topic = NewTopic(name, 1, 1, config=config | {"message.timestamp.type": "CreateTime"})
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    admin.create_topics([topic])[name].result()
    ensure_topics(stack.bootstrap, "lagging", 1)
    sender = producer(stack.bootstrap)
    for hours in (97, 95, 1):
        sender.produce(name, b"v", b"t", timestamp=int((time.time() - hours * HOUR_S) * 1000))
    assert sender.flush(30) == 0

    def kinds(committed: int) -> list[tuple[str, str]]:
        reader = consumer(stack.bootstrap, group)
        reader.commit(offsets=[TopicPartition(name, 0, committed)], asynchronous=False)
        reader.close()
        return [(one.kind, one.where) for one in Lag(settings, codec_of(settings)).wrong(0)]

    assert kinds(2) == []
    assert kinds(1) == [("retention", "conversation")]
    delete_before(stack.bootstrap, {(name, 0): 2})
    assert kinds(1) == [("deleted", "conversation")]
    assert kinds(2) == kinds(3) == []
