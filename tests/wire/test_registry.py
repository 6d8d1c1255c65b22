# SPDX-License-Identifier: Apache-2.0
"""The registry in memory, which tests use, keeps the contract of the real one."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.codec import FixedSchemas, Schema
from schemas.errors import RegistryUnavailable, UnknownSchema
from tests.wire.client import Client, connected
from tests.wire.contracts import Registering, RegistryContract


class TestRegistryInMemory(RegistryContract):
    @pytest.fixture
    def source(self) -> Registering:
        return FixedSchemas()

    @pytest.fixture
    def again(self, source: Registering) -> Registering:
        return source


def test_registry_takes_along_what_it_has_learned() -> None:
    """A copy in another process answers without a client; what it does not know it asks for."""
    client = Client(FixedSchemas())
    event = client.schemas.register("shop.Order", Schema("AVRO", '"string"'))
    other = client.schemas.register("shop.Other", Schema("AVRO", '"long"'))
    registry = connected(client)
    registry.learn(["threadlog.Reply", "shop.Unknown", "shop.Order"])
    copy = pickle.loads(pickle.dumps(registry))
    for name in ("threadlog.Reply", "shop.Order"):
        id = copy.id_of(name)
        assert (id, copy.by_id(id)) == (client.schemas.id_of(name), client.schemas.by_id(id))
    with pytest.raises(RegistryUnavailable):
        copy.by_id(other)
    assert (copy.id_of("shop.Order"), client.asked) == (event, 5)


@pytest.mark.parametrize("module", ["confluent_kafka.schema_registry", "jsonschema", "aiohttp"])
def test_operators_do_not_load_what_they_may_never_need(module: str) -> None:
    """A killed TaskManager's successor loads everything of ours before it decides anything."""
    program = (
        f"import udfs.thread_function, udfs.app_guard as a, sys; a.keep_ours(); sys.exit({module!r} in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(404, 40403, UnknownSchema), (404, -1, RegistryUnavailable), (503, -1, RegistryUnavailable)],
)
def test_registry_is_believed_when_it_says_no_and_nobody_else_is(status: int, code: int, error: type) -> None:
    """A proxy without a backend says 404 as well: an event must not become a dead letter for that."""

    def refuse(id: int) -> Any:
        raise SchemaRegistryError(status, code, "default backend - 404")

    client = Client(FixedSchemas())
    vars(client)["get_schema"] = refuse
    with pytest.raises(error):
        connected(client).by_id(7)
