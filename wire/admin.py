# SPDX-License-Identifier: Apache-2.0
"""Topics on a broker: create what is missing, say what differs, change nothing that exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from schemas.topics import TOPICS, Topic, kafka_name
from wire.kafka import SILENT

_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting of a live topic that is not what we declare, and what to do about it."""

    topic: str
    setting: str
    expected: str
    found: str

    def __str__(self) -> str:
        if self.setting == "partitions":
            advice = "positions of threads rest on the partition, so move to a new namespace instead of changing it"
        elif self.setting == "replication":
            advice = "reassign its partitions with the broker's own tools, or accept what a lost broker takes with it"
        else:
            advice = "change it with the broker's own tools, or accept what it means"
        return f"{self.topic}: {self.setting} is {self.found}, expected {self.expected}; {advice}"


def ensure_topics(bootstrap: str, namespace: str, partitions: int = 8, replication: int = 1) -> list[Difference]:
    """Create missing topics and compare the others. Safe to repeat. Raises KafkaException if the broker fails."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": SILENT})
    existing = admin.list_topics(timeout=_TIMEOUT_S).topics
    wanted = {kafka_name(namespace, name): topic for name, topic in TOPICS.items()}
    counts = {n: t.partitions or partitions for n, t in wanted.items()}
    missing = [NewTopic(n, counts[n], replication, config=t.config) for n, t in wanted.items() if n not in existing]
    made = set()
    for name, future in (admin.create_topics(missing, request_timeout=_TIMEOUT_S) if missing else {}).items():
        try:
            future.result()
            made.add(name)
        except KafkaException as error:  # somebody else made it just now
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    sizes = {n: {"partitions": counts[n], "replication": replication} for n in wanted}
    return [d for n, t in wanted.items() if n not in made for d in _differences(admin, n, t, sizes[n])]


def delete_before(bootstrap: str, first: Mapping[tuple[str, int], int]) -> None:
    """Delete the records of each topic and partition that lie before an offset. Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": SILENT})
    places = [TopicPartition(topic, partition, offset) for (topic, partition), offset in first.items()]
    for future in (admin.delete_records(places, request_timeout=_TIMEOUT_S) if places else {}).values():
        future.result()


def retentions(bootstrap: str, topics: Iterable[str]) -> dict[str, int]:
    """For how long a broker keeps each of these topics, in milliseconds, -1 for ever; not those that are not there.

    Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": SILENT})
    existing = admin.list_topics(timeout=_TIMEOUT_S).topics
    asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics if topic in existing]
    described = admin.describe_configs(asked, request_timeout=_TIMEOUT_S) if asked else {}
    return {resource.name: int(future.result()["retention.ms"].value) for resource, future in described.items()}


def _differences(admin: AdminClient, name: str, topic: Topic, sizes: dict[str, int]) -> list[Difference]:
    live = admin.list_topics(name, timeout=_TIMEOUT_S).topics[name].partitions
    found = {"partitions": len(live), "replication": min((len(p.replicas) for p in live.values()), default=0)}
    differences = [Difference(name, size, str(sizes[size]), str(n)) for size, n in found.items() if n != sizes[size]]
    described = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)], request_timeout=_TIMEOUT_S)
    for future in described.values():
        settings = future.result()
        for setting, expected in topic.config.items():
            if settings[setting].value != expected:
                differences.append(Difference(name, setting, expected, settings[setting].value))
    return differences
