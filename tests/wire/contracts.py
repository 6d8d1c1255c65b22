# SPDX-License-Identifier: Apache-2.0
"""What callers rely on of the registry and of the topic check, said once and run over fakes and over the real ones.

The fakes' tests are beside this file, those of the real ones in tests/stack."""

from __future__ import annotations

import json
from typing import Protocol

import pytest

from schemas.codec import OURS, Codec, Kind, Schema, encode_note, our_schema
from schemas.errors import UnknownSchema, Unreadable
from schemas.topics import TOPICS, kafka_name
from wire.admin import Difference, ensure_topics, retentions

NOBODYS_ID = 987_654


class Registering(Protocol):
    """A SchemaSource to which schemas can be added."""

    def by_id(self, id: int) -> Schema: ...
    def id_of(self, name: str) -> int: ...
    def register(self, name: str, schema: Schema) -> int: ...


def order(*fields: str, name: str = "contract.Order") -> Schema:
    """A schema with optional text fields, so that more fields are compatible."""
    listed = [{"name": field, "type": "string", "default": ""} for field in fields]
    return Schema("AVRO", json.dumps({"type": "record", "name": name, "fields": listed}))


class RegistryContract:
    """Subclasses give the fixtures `source` and `again`, a client of the same registry that remembers nothing."""

    def test_registry_gives_back_what_was_registered(self, source: Registering) -> None:
        """By id and by name, with its kind."""
        id = source.register("contract.Order", order("note"))
        assert source.id_of("contract.Order") == id
        assert (source.by_id(id).kind, json.loads(source.by_id(id).text)) == ("AVRO", json.loads(order("note").text))

    def test_registry_gives_the_same_schema_the_same_id(self, source: Registering) -> None:
        """Registering is safe to repeat."""
        assert source.register("contract.Same", order(name="contract.Same")) == source.register(
            "contract.Same", order(name="contract.Same")
        )

    def test_registry_keeps_older_versions_and_names_the_newest(self, source: Registering) -> None:
        """Bytes of an older version stay readable under its id."""
        first = source.register("contract.Grown", order("a", name="contract.Grown"))
        second = source.register("contract.Grown", order("a", "b", name="contract.Grown"))
        assert source.id_of("contract.Grown") == second != first
        assert len(json.loads(source.by_id(first).text)["fields"]) == 1

    def test_registry_says_what_it_does_not_know(self, source: Registering) -> None:
        """Its own no is UnknownSchema, for ids and for names."""
        with pytest.raises(UnknownSchema):
            source.by_id(NOBODYS_ID)
        with pytest.raises(UnknownSchema):
            source.id_of("contract.Nobodys")

    @pytest.mark.parametrize("name", [*OURS, "Note"])
    def test_registry_knows_all_of_ours(self, source: Registering, name: str) -> None:
        """Each record of ours has a subject of its full name."""
        kind: Kind = "PROTOBUF" if name == "Note" else "AVRO"
        assert source.by_id(source.id_of(f"threadlog.{name}")).kind == kind

    def test_registry_names_the_version_of_ours_that_we_write(self, source: Registering, again: Registering) -> None:
        """A newer installation may have registered a newer version: what this code writes is still under its own."""
        ours = source.id_of("threadlog.Message")
        newer = json.loads(our_schema("threadlog.Message"))
        newer["fields"].append({"name": "added_later", "type": "string", "default": ""})
        assert source.register("threadlog.Message", Schema("AVRO", json.dumps(newer))) != ours
        assert [source.id_of("threadlog.Message"), again.id_of("threadlog.Message")] == [ours, ours]

    def test_registry_serves_the_codec(self, source: Registering) -> None:
        """Avro and Protobuf of ours are written and read with it."""
        codec, message = Codec(source), {"text": "hi", "data": "{}"}
        value = codec.encode("threadlog.Message", message)
        note = encode_note(source.id_of("threadlog.Note"), "hi")
        assert [codec.decode(one)[::2] for one in (value, note)] == [
            ("threadlog.Message", message),
            ("threadlog.Note", message),
        ]

    def test_registry_serves_what_a_json_value_is_held_against(self, source: Registering) -> None:
        """What fits its registered JSON Schema is read, what does not is refused."""
        text = {"title": "contract.Json", "type": "object", "properties": {"count": {"type": "integer"}}}
        id, codec = source.register("contract.Json", Schema("JSON", json.dumps(text))), Codec(source)
        assert codec.decode(prefixed(id, b'{"count": 1}')) == ("contract.Json", id, {"count": 1})
        with pytest.raises(Unreadable, match=r"\$\.count: 'one' is not of type 'integer'"):
            codec.decode(prefixed(id, b'{"count": "one"}'))

    def test_registry_tells_foreign_protobuf_from_ours(self, source: Registering) -> None:
        """Bytes that would do as a note are none under another file."""
        text = 'syntax = "proto3"; package contract; message Proto { string id = 1; string note = 2; }'
        id = source.register("contract.Proto", Schema("PROTOBUF", text))
        with pytest.raises(Unreadable, match="protobuf_type"):
            Codec(source).decode(encode_note(id, "hi"))


def prefixed(id: int, payload: bytes) -> bytes:
    """A payload in the Confluent wire format."""
    return b"\0" + id.to_bytes(4, "big") + payload


class Broker(Protocol):
    """A broker on which topics can be made by hand."""

    bootstrap: str

    def create(self, name: str, partitions: int, config: dict[str, str]) -> None: ...
    def partitions(self, name: str) -> int: ...


class TopicsContract:
    """Subclasses give the fixtures `broker` and `namespace`, a fresh one."""

    def test_topics_are_made_once(self, broker: Broker, namespace: str) -> None:
        """What is missing is made as declared; a second time there is nothing to say."""
        assert ensure_topics(broker.bootstrap, namespace, 2) == []
        assert ensure_topics(broker.bootstrap, namespace, 2) == []
        found = {name: broker.partitions(kafka_name(namespace, name)) for name in TOPICS}
        assert found == {name: topic.partitions or 2 for name, topic in TOPICS.items()}

    def test_topics_with_another_partition_count_are_reported_and_left(self, broker: Broker, namespace: str) -> None:
        """Positions of threads rest on the partitions, so they are not changed, and the sentence says so."""
        name = kafka_name(namespace, "tool-results")
        broker.create(name, 3, TOPICS["tool-results"].config)
        [found] = ensure_topics(broker.bootstrap, namespace, 2)
        assert found == Difference(name, "partitions", "2", "3")
        assert "new namespace" in str(found)
        assert broker.partitions(name) == 3

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("cleanup.policy", "compact"),
            ("retention.ms", "1000"),
            ("message.timestamp.type", "CreateTime"),
            ("max.message.bytes", "1048588"),
        ],
    )
    def test_topics_with_another_setting_are_reported(
        self, broker: Broker, namespace: str, setting: str, value: str
    ) -> None:
        """Setting, expectation and finding, for every setting that we declare."""
        name, declared = kafka_name(namespace, "agent-events"), TOPICS["agent-events"].config
        broker.create(name, 2, {**declared, setting: value})
        assert ensure_topics(broker.bootstrap, namespace, 2) == [Difference(name, setting, declared[setting], value)]

    def test_topics_tell_how_long_they_are_kept(self, broker: Broker, namespace: str) -> None:
        """As the broker has it, which need not be as declared; nothing of a topic that is not there."""
        names = [kafka_name(namespace, topic) for topic in ("agent-events", "agent-decisions", "dead-letters")]
        for name, kept_ms in zip(names, ("1000", "-1"), strict=False):
            broker.create(name, 2, {"retention.ms": kept_ms})
        assert retentions(broker.bootstrap, names) == {names[0]: 1000, names[1]: -1}
        assert retentions(broker.bootstrap, names[2:]) == {}

    def test_topics_of_another_namespace_are_nothing_to_us(self, broker: Broker, namespace: str) -> None:
        """Installations share a broker."""
        broker.create(f"{namespace}x.agent-events", 5, {})
        assert ensure_topics(broker.bootstrap, namespace, 2) == []
