# SPDX-License-Identifier: Apache-2.0
"""`threadlog register`: all files are looked at before the first schema is registered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ops.commands.register
from tests.ops.fakes import FakeKafka, objects, run
from wire.registry import Incompatible

ORDER = {"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "id", "type": "string"}]}


@pytest.fixture
def registry(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    monkeypatch.setattr(ops.commands.register, "Registry", lambda url: kafka.schemas)
    return kafka


def written(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_register_takes_avro_and_json(registry: FakeKafka, alone: Path) -> None:
    """Under the name that the records have."""
    files = [
        written(alone, "order.avsc", json.dumps(ORDER)),
        written(alone, "paid.json", json.dumps({"title": "shop.Paid", "type": "object"})),
    ]
    told = run("register", *files, "--json")
    assert told.exit_code == 0, told.output
    assert [line["subject"] for line in objects(told)] == ["shop.Order", "shop.Paid"]
    assert [registry.schemas.by_id(line["schema_id"]).kind for line in objects(told)] == ["AVRO", "JSON"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("order.txt", "{}", "is neither .avsc nor .json"),
        ("order.avsc", "{}", "names no record"),
        ("order.avsc", "no JSON", "names no record"),
        ("order.avsc", b"\xff", "is not UTF-8"),
        ("order.avsc", json.dumps({**ORDER, "namespace": "threadlog"}), "is one of our own names"),
    ],
)
def test_register_of_a_wrong_file_registers_nothing(
    registry: FakeKafka, alone: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | bytes, words: str
) -> None:
    """Not even the right one before it; and it is told in a sentence."""
    monkeypatch.setattr(registry.schemas, "register", lambda name, schema: pytest.fail("registered"))
    told = run("register", written(alone, "right.avsc", json.dumps(ORDER)), written(alone, name, text))
    assert (told.exit_code, words in told.stderr) == (1, True), told.output


def test_register_says_what_to_do_about_a_change_that_does_not_fit(
    registry: FakeKafka, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's own words, and a next step."""

    def refuse(name: str, schema: object) -> int:
        raise Incompatible(f"{name} does not fit its earlier versions")

    monkeypatch.setattr(registry.schemas, "register", refuse)
    told = run("register", written(alone, "order.avsc", json.dumps(ORDER)))
    assert told.exit_code == 1
    assert "Error: shop.Order does not fit its earlier versions.\nGive a new field a default" in told.stderr
