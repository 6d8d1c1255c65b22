# SPDX-License-Identifier: Apache-2.0
"""Topics as data. A topic's Kafka name is `<namespace>.<name>`, so several installations share one broker."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.limits import JOURNAL_MESSAGE_BYTES, TOPIC_MESSAGE_BYTES

_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS
EOS = "exactly once: visible with the checkpoint's transaction"
IDEMPOTENT = "idempotent producer, acks=all"
AT_LEAST_ONCE = "at least once"
FOR_EVER_MS = -1


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: who writes it and how, who reads it, and how long it is kept. Times in milliseconds.

    `partitions`: how many, where that is not as the installation has it."""

    name: str
    key: str
    writer: str
    guarantee: str
    readers: tuple[str, ...]
    retention_ms: int
    partitions: int | None = None
    cleanup: str = "delete"
    timestamp_type: str = "LogAppendTime"
    message_bytes: int = TOPIC_MESSAGE_BYTES

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings as Kafka names them."""
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "message.timestamp.type": self.timestamp_type,
            "max.message.bytes": str(self.message_bytes),
        }


_ALL = (
    Topic("agent-events", "thread", "anyone", IDEMPOTENT, ("conversation",), 7 * _DAY_MS),
    Topic("human-feedback", "thread", "people", IDEMPOTENT, ("conversation",), 7 * _DAY_MS),
    Topic("tool-results", "thread", "tools", IDEMPOTENT, ("conversation", "tools"), 7 * _DAY_MS),
    Topic("tool-reads", "thread", "conversation", AT_LEAST_ONCE, ("tools",), 6 * _HOUR_MS),
    Topic("tool-invocations", "thread", "conversation", EOS, ("people",), 7 * _DAY_MS),
    Topic("agent-replies", "thread", "conversation", EOS, ("people",), 7 * _DAY_MS),
    Topic("agent-signals", "thread", "conversation", EOS, ("conversation",), 7 * _DAY_MS),
    Topic(
        "agent-decisions",
        "thread",
        "conversation",
        EOS,
        ("tools", "audit"),
        365 * _DAY_MS,
        message_bytes=JOURNAL_MESSAGE_BYTES,
    ),
    Topic(
        "agent-control", "job", "start, main() of jobs", IDEMPOTENT, ("start", "live jobs"), FOR_EVER_MS, partitions=1
    ),
    Topic("agent-leases", "job", "live jobs", AT_LEAST_ONCE, ("start",), FOR_EVER_MS, partitions=1, cleanup="compact"),
    Topic("audit-heads", "thread", "audit sign", IDEMPOTENT, ("audit export",), 365 * _DAY_MS, cleanup="compact"),
    Topic("replay-findings", "thread", "replay", EOS, ("replay --run",), 90 * _DAY_MS),
    Topic("dead-letters", "as it was", "conversation, tools", EOS, ("people",), 90 * _DAY_MS),
)
TOPICS: dict[str, Topic] = {topic.name: topic for topic in _ALL}


def kafka_name(namespace: str, topic: str) -> str:
    """The topic's name in Kafka. Raises KeyError for a topic that is none of ours."""
    return f"{namespace}.{TOPICS[topic].name}"


def topic_of(namespace: str, kafka_name: str) -> str:
    """The topic behind a Kafka name of this namespace. Raises ValueError for a name of another."""
    if not kafka_name.startswith(f"{namespace}."):
        raise ValueError(f"{kafka_name} is not of the namespace {namespace}")
    return kafka_name[len(namespace) + 1 :]
