# SPDX-License-Identifier: Apache-2.0
"""The real registry, broker and cluster under the contracts that their fakes keep."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from ops.settings import Settings
from ops.stack import flink
from schemas.codec import Schema
from schemas.errors import RegistryUnavailable
from tests.stack.world import World, fresh, wait_until
from tests.wire.contracts import Registering, RegistryContract, TopicsContract, order
from wire import kafka
from wire.admin import delete_before
from wire.kafka import consumer, producer
from wire.offsets import held_of
from wire.registry import Incompatible, Registry


class TestRealRegistry(RegistryContract):
    @pytest.fixture
    def source(self, followed: World) -> Registering:
        return Registry(followed.settings.registry_url)

    @pytest.fixture
    def again(self, followed: World) -> Registering:
        return Registry(followed.settings.registry_url)

    def test_registry_refuses_what_does_not_fit_earlier_versions(self, followed: World) -> None:
        """Compatibility is enforced over all versions before."""
        registry = Registry(followed.settings.registry_url)
        registry.register("contract.Firm", order("a", name="contract.Firm"))
        other = {"type": "record", "name": "contract.Firm", "fields": [{"name": "must", "type": "int"}]}
        with pytest.raises(Incompatible):
            registry.register("contract.Firm", Schema("AVRO", json.dumps(other)))

    def test_registry_that_does_not_answer_is_unavailable(self, followed: World) -> None:
        """Never mistaken for a schema that is not known, which would make dead letters of good events."""
        silent = Registry(f"http://127.0.0.1:{followed.settings.port(9)}/apis/ccompat/v7")
        for question in (lambda: silent.by_id(1), lambda: silent.id_of("threadlog.Message")):
            with pytest.raises(RegistryUnavailable):
                question()


@dataclass(frozen=True)
class RealBroker:
    """Topics made by hand on the stack's broker."""

    bootstrap: str

    def create(self, name: str, partitions: int, config: dict[str, str]) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_topics([NewTopic(name, partitions, 1, config=config)]).values():
            future.result()
        wait_until("the topic is known", lambda: self.partitions(name) == partitions, 30)

    def partitions(self, name: str) -> int:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        found = admin.list_topics(timeout=10).topics.get(name)
        return 0 if found is None else len(found.partitions)


def writing(stack: Settings, topic: str, partition: int) -> Producer:
    """Who has written one record in a transaction, which is open."""
    writer = Producer({"bootstrap.servers": stack.bootstrap, "transactional.id": fresh(topic)})
    writer.init_transactions(30)
    writer.begin_transaction()
    writer.produce(topic, b"v", partition=partition)
    assert writer.flush(30) == 0
    return writer


def test_reader_passes_what_was_aborted_up_to_an_open_transaction(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that it is given tells it that it is there: neither a record nor a marker lies before the end."""
    name = fresh("aborted")
    RealBroker(stack.bootstrap).create(name, 1, {})
    aborted, open_ = writing(stack, name, 0), writing(stack, name, 0)
    aborted.abort_transaction(30)
    monkeypatch.setattr(kafka, "_STALLED_S", 5.0)
    try:
        assert list(kafka.read_topic(stack.bootstrap, name)) == []
        assert len(list(kafka.read_topic(stack.bootstrap, name, isolation=kafka.EVERYTHING))) == 2
    finally:
        open_.abort_transaction(30)
    assert list(kafka.read_topic(stack.bootstrap, name, isolation=kafka.COMMITTED)) == []


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_offsets_that_are_asked_for_together_are_those_of_each_partition(stack: Settings, isolation: str) -> None:
    """Where nothing was ever written, where the beginning is deleted, and where a transaction is open."""
    name = fresh("offsets")
    RealBroker(stack.bootstrap).create(name, 3, {})
    sender = producer(stack.bootstrap)
    for partition in (1, 1, 1, 2):
        sender.produce(name, b"v", partition=partition)
    assert sender.flush(30) == 0
    delete_before(stack.bootstrap, {(name, 1): 2})
    open_ = writing(stack, name, 2)
    reader = consumer(stack.bootstrap, isolation=isolation)
    try:
        found = held_of(reader, [name])
        assert found == {(name, p): reader.get_watermark_offsets(TopicPartition(name, p)) for p in range(3)}
        assert found == {(name, 0): (0, 0), (name, 1): (2, 3), (name, 2): (0, 1 + (isolation == "read_uncommitted"))}
    finally:
        reader.close()
        open_.abort_transaction(30)


class TestRealTopics(TopicsContract):
    @pytest.fixture
    def broker(self, stack: Settings) -> RealBroker:
        return RealBroker(stack.bootstrap)

    @pytest.fixture
    def namespace(self) -> str:
        return fresh("contract")


def test_cluster_takes_a_checkpoint_that_it_is_asked_for(world: World) -> None:
    """A wait for a catch-up says nothing of a cluster that refuses to: it would come to its end later, unnoticed."""
    world.wait_running()
    flink.take_checkpoint(world.settings, flink.live_jobs(world.settings)["conversation"].id)
