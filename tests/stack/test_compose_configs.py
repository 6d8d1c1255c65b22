# SPDX-License-Identifier: Apache-2.0
"""The broker of docker-compose.yml against a broker that runs: what it would be told is what this one does."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from ruamel.yaml import YAML

from ops.compose.__main__ import FILE
from ops.compose.services import lines_of, listeners
from ops.settings import Settings


def described(bootstrap: str) -> dict[str, str]:
    """Every setting of the only broker, as it says itself."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    node = next(iter(admin.list_topics(timeout=10).brokers))
    future = next(iter(admin.describe_configs([ConfigResource(ResourceType.BROKER, str(node))]).values()))
    return {name: entry.value for name, entry in future.result(timeout=10).items()}


def test_compose_broker_is_told_what_the_running_broker_does(stack: Settings) -> None:
    """Each setting in the compose file that is not an address is in force on the running broker."""
    file = YAML(typ="safe").load(FILE.read_text("utf-8"))
    told = lines_of(file["configs"]["kafka.properties"]["content"], "=")
    addresses = {*listeners(Settings()), "controller.quorum.voters", "log.dirs"}
    # The session's stack may have been started with other sizes than the defaults that the file is written for.
    told |= {"num.partitions": str(stack.partitions)}
    found = described(stack.bootstrap)
    assert {name: found.get(name) for name in told if name not in addresses} == {
        name: value for name, value in told.items() if name not in addresses
    }
