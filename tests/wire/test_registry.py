# SPDX-License-Identifier: Apache-2.0
"""The registry in memory, which tests use, keeps the contract of the real one."""

from __future__ import annotations

import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.codec import FixedSchemas, our_schema
from schemas.errors import RegistryUnavailable
from tests.wire.contracts import Registering, RegistryContract
from wire.registry import Registry


class TestRegistryInMemory(RegistryContract):
    @pytest.fixture
    def source(self) -> Registering:
        return FixedSchemas()

    @pytest.fixture
    def again(self, source: Registering) -> Registering:
        return source


def answering() -> Any:
    """A client of a registry that holds one schema of ours and one event."""
    client = SimpleNamespace(asked=0)

    def found(id: int, text: str) -> Any:
        client.asked += 1
        return SimpleNamespace(schema_id=id, schema_type="AVRO", schema_str=text)

    client.lookup_schema = lambda name, schema: found(4, "")
    client.get_latest_version = lambda name: found(9, "")
    client.get_schema = lambda id: found(id, {4: our_schema("threadlog.Reply"), 9: '"string"'}[id])
    return client


def test_registry_takes_along_what_it_has_learned() -> None:
    """A copy in another process answers without a client; what it does not know it asks for."""
    registry = Registry("http://127.0.0.1:9")
    vars(registry)["_client"] = client = answering()
    registry.learn(["threadlog.Reply", "shop.Order"])
    copy = pickle.loads(pickle.dumps(registry))
    assert (copy.id_of("threadlog.Reply"), copy.id_of("shop.Order")) == (4, 9)
    assert [copy.by_id(id).text for id in (4, 9)] == [our_schema("threadlog.Reply"), '"string"']
    with pytest.raises(RegistryUnavailable):
        copy.by_id(10)
    assert client.asked == 4


@pytest.mark.parametrize("module", ["confluent_kafka.schema_registry", "jsonschema", "aiohttp"])
def test_operators_do_not_load_what_they_may_never_need(module: str) -> None:
    """A killed TaskManager's successor loads everything of ours before it decides anything."""
    program = (
        f"import udfs.thread_function, udfs.app_guard as a, sys; a.keep_ours(); sys.exit({module!r} in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
