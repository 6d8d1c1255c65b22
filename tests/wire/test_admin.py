# SPDX-License-Identifier: Apache-2.0
"""The topic check over a broker in memory."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.admin import ConfigResource, NewTopic

from tests.wire.contracts import TopicsContract
from wire import admin

# What Kafka says of a topic for which nothing was set.
DEFAULTS = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "message.timestamp.type": "CreateTime",
    "max.message.bytes": "1048588",
}


@dataclass
class FakeBroker:
    """Topics with partitions and settings; also Kafka's AdminClient over them."""

    bootstrap: str = "fake"
    topics: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)

    def create(self, name: str, partitions: int, config: dict[str, str]) -> None:
        self.topics[name] = partitions, {**DEFAULTS, **config}

    def partitions(self, name: str) -> int:
        return self.topics[name][0]

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        one = SimpleNamespace(replicas=[1])
        found = {n: SimpleNamespace(partitions=dict.fromkeys(range(t[0]), one)) for n, t in self.topics.items()}
        return SimpleNamespace(topics={n: t for n, t in found.items() if topic in (None, n)})

    def create_topics(self, new: Iterable[NewTopic], request_timeout: float = -1) -> dict[str, Future[None]]:
        for topic in new:
            self.create(topic.topic, topic.num_partitions, topic.config)
        return {topic.topic: done(None) for topic in new}

    def describe_configs(self, resources: list[ConfigResource], request_timeout: float = -1) -> dict[Any, Future[Any]]:
        def settings(resource: ConfigResource) -> dict[str, Any]:
            return {name: SimpleNamespace(value=value) for name, value in self.topics[resource.name][1].items()}

        return {resource: done(settings(resource)) for resource in resources}


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class TestTopicsInMemory(TopicsContract):
    @pytest.fixture
    def broker(self, monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
        broker = FakeBroker()
        monkeypatch.setattr(admin, "AdminClient", lambda settings: broker)
        return broker

    @pytest.fixture
    def namespace(self) -> str:
        return "memory"
