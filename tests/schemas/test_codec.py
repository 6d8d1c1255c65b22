# SPDX-License-Identifier: Apache-2.0
"""Bytes ↔ records: what is written is read back, bytes that are no record are refused with a reason, never a crash."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import re
import subprocess
import sys
import uuid
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec, FixedSchemas, Schema, encode_note, our_proto
from schemas.errors import Unreadable
from schemas.proto import FIELDS

MESSAGE = {"text": "grüß Gott", "data": "{}"}


@pytest.fixture
def codec() -> Codec:
    return Codec(FixedSchemas())


def refused(codec: Codec, value: bytes | None) -> str:
    with pytest.raises(Unreadable) as raised:
        codec.decode(value)
    return raised.value.code


def test_codec_golden_bytes(codec: Codec) -> None:
    """The bytes of a message are these for ever: magic, id 7, two Avro strings."""
    assert (
        codec.encode("threadlog.Message", MESSAGE).hex() == "0000000007" + "16" + "grüß Gott".encode().hex() + "047b7d"
    )


def test_codec_reads_back_what_it_wrote(codec: Codec) -> None:
    """A record survives the wire with its name and id."""
    assert codec.decode(codec.encode("threadlog.Message", MESSAGE)) == ("threadlog.Message", 7, MESSAGE)


def test_codec_reads_protobuf(codec: Codec) -> None:
    """The registry tells Avro from Protobuf; both become the same plain data."""
    assert codec.decode(encode_note(9, "hi")) == ("threadlog.Note", 9, {"text": "hi", "data": "{}"})


def test_codec_proto_file_and_class_agree() -> None:
    """The class is built by hand; the file is what users register."""
    assert [(n, int(i)) for n, i in re.findall(r"string (\w+) = (\d+);", our_proto())] == list(FIELDS)


def test_codec_reads_protobuf_under_its_file_as_a_registry_gives_it_back() -> None:
    """Comments and layout may have gone; the file says the same."""
    schemas = FixedSchemas()
    bare = " ".join(line for line in our_proto().split("\n") if not line.startswith("//"))
    id = schemas.register("threadlog.Note", Schema("PROTOBUF", bare))
    assert Codec(schemas).decode(encode_note(id, "hi"))[::2] == ("threadlog.Note", {"text": "hi", "data": "{}"})


@pytest.mark.parametrize(
    "text",
    [
        'syntax = "proto3"; package shop; message Order { string id = 1; string note = 2; }',
        our_proto().replace("string text = 1", "bytes text = 1"),
        our_proto().replace("Note", "Other"),
        our_proto() + "message Second {}",
        "",
        "/*" * 100_000,
    ],
    ids=["another package", "another type", "another name", "one message more", "empty", "no file at all"],
)
def test_codec_refuses_foreign_protobuf(text: str) -> None:
    """Bytes of another message must not be taken for a note."""
    schemas = FixedSchemas()
    id = schemas.register("shop.Order", Schema("PROTOBUF", text))
    assert refused(Codec(schemas), encode_note(id, "o-1")) == "protobuf_type"


def test_codec_reads_a_users_type() -> None:
    """A type of the user's own is read by its registered schema; bytes become base64, nulls stay."""
    schemas = FixedSchemas()
    text = {"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "note", "type": ["null", "string"]}, {"name": "raw", "type": "bytes"}]}  # fmt: skip
    id = schemas.register("shop.Order", Schema("AVRO", json.dumps(text)))
    value = b"\0" + id.to_bytes(4, "big") + b"\x00" + b"\x04\xff\xfe"
    assert Codec(schemas).decode(value) == ("shop.Order", id, {"note": None, "raw": "//4="})


def test_codec_refuses_each_kind_of_bad_bytes(codec: Codec) -> None:
    """Each is told apart by its code."""
    good = codec.encode("threadlog.Message", MESSAGE)
    assert [
        refused(codec, value)
        for value in (None, b"", good[:4], b"x" + good[1:], good[:-1], good + b"!", b"\0\0\1\0\0x", good + b"x" * 2**20)
    ] == ["truncated"] * 3 + ["magic", "truncated", "trailing", "unknown_schema", "oversize"]


def test_codec_refuses_deep_and_infinite_data() -> None:
    """What JSON cannot say, or no reader's stack can hold, is refused."""
    schemas = FixedSchemas()
    text = {"type": "record", "name": "Tree", "namespace": "t", "fields": [{"name": "next", "type": ["null", "Tree"]}]}
    tree = schemas.register("t.Tree", Schema("AVRO", json.dumps(text)))
    number = schemas.register(
        "t.N", Schema("AVRO", json.dumps({"type": "record", "name": "N", "fields": [{"name": "x", "type": "double"}]}))
    )
    codec = Codec(schemas)
    assert refused(codec, b"\0" + tree.to_bytes(4, "big") + b"\2" * 100 + b"\0") == "depth"
    assert refused(codec, b"\0" + number.to_bytes(4, "big") + bytes.fromhex("000000000000f87f")) == "number"


@pytest.mark.parametrize("levels", [60, 300, 5_000, 900_000])
@pytest.mark.parametrize(
    "nested", ["by a type inside itself", "by two types inside each other", "by a chain of types", "as the schema is"]
)
def test_codec_survives_any_depth(nested: str, levels: int) -> None:
    """Nesting of any depth is read or refused on a stack as small as a TaskManager's; it never ends the process."""
    command = [sys.executable, "-m", "tests.schemas.deep", nested, str(levels)]
    done = subprocess.run(command, capture_output=True, check=False)
    beyond = b"bad_schema" if nested == "as the schema is" else b"depth"
    assert (done.returncode, done.stdout) == (0, b"read" if levels == 60 else beyond)


@given(st.integers(0, 12), st.binary(max_size=200))
def test_codec_never_raises_anything_but_unreadable(id: int, payload: bytes) -> None:
    """Arbitrary bytes under any id are read or refused."""
    with contextlib.suppress(Unreadable):
        Codec(FixedSchemas()).decode(b"\0" + id.to_bytes(4, "big") + payload)


NULLS = {"type": "array", "items": "null"}
EMPTY = {"type": "record", "name": "Empty", "fields": []}


def doubled(levels: int) -> dict[str, Any]:
    """A record that holds the one before twice, down to one of nothing: no bytes at all."""
    before: Any = {"type": "record", "name": "L0", "fields": [{"name": "a", "type": "null"}]}
    for level in range(1, levels):
        fields = [{"name": "a", "type": before}, {"name": "b", "type": f"L{level - 1}"}]
        before = {"type": "record", "name": f"L{level}", "fields": fields}
    return dict(before)


def wide(fields: int) -> dict[str, Any]:
    """A record of one byte and so many nulls."""
    nulls = [{"name": f"n{n}", "type": "null"} for n in range(fields)]
    return {"type": "record", "name": "Wide", "fields": [{"name": "x", "type": "boolean"}, *nulls]}


TREE = wide(100)
TREE["fields"].append({"name": "left", "type": ["null", "Wide"]})


@pytest.mark.parametrize(
    "fields",
    [
        [{"name": "x", "type": NULLS}],
        [{"name": "x", "type": ["null", {"type": "map", "values": NULLS}]}],
        [{"name": "x", "type": {"type": "array", "items": EMPTY}}],
        [{"name": "e", "type": EMPTY}, {"name": "x", "type": {"type": "array", "items": "Empty"}}],
        [{"name": "x", "type": {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}}],
        [{"name": "x", "type": doubled(40)}],
        [{"name": "x", "type": {"type": "array", "items": wide(30)}}],
        [{"name": "x", "type": {"type": "map", "values": wide(30)}}],
        [{"name": "x", "type": {"type": "array", "items": ["null", wide(30)]}}],
        [{"name": "x", "type": TREE}],
    ],
)
def test_codec_refuses_schemas_in_which_few_bytes_stand_for_many_items(fields: list[Any]) -> None:
    """An array of a billion nulls is six bytes, and no process survives reading it."""
    schemas = FixedSchemas()
    id = schemas.register("b.Bomb", Schema("AVRO", json.dumps({"type": "record", "name": "b.Bomb", "fields": fields})))
    assert refused(Codec(schemas), b"\0" + id.to_bytes(4, "big") + b"\2" * 9) == "bad_schema"


def test_codec_reads_nulls_that_are_no_items() -> None:
    """As long as there are few of them for each byte."""
    schemas = FixedSchemas()
    fields = [
        {"name": "a", "type": "null"},
        {"name": "b", "type": {"type": "map", "values": "null"}},
        {"name": "c", "type": {"type": "array", "items": ["null", "int"]}},
        {"name": "d", "type": doubled(5)},
        {"name": "e", "type": {"type": "array", "items": wide(6)}},
    ]
    id = schemas.register("b.Fine", Schema("AVRO", json.dumps({"type": "record", "name": "b.Fine", "fields": fields})))
    read = Codec(schemas).decode(b"\0" + id.to_bytes(4, "big") + b"\0" + b"\2\0\0" + b"\0")
    assert {name: read[2][name] for name in "abce"} == {"a": None, "b": {}, "c": [None], "e": []}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a": "\\ud800"}', "payload"),
        (b'{"\\ud800": 1}', "payload"),
        (b'{"a": 9223372036854775808}', "number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "payload"),
        (b"[" * 100_000, "payload"),
        (b'{"a": 1e999}', "number"),
    ],
)
def test_codec_refuses_json_that_cannot_be_written_again(text: bytes, code: str) -> None:
    """What the journal could not hold is refused where it is read."""
    schemas = FixedSchemas()
    id = schemas.register("j.Any", Schema("JSON", '{"title": "j.Any"}'))
    assert refused(Codec(schemas), b"\0" + id.to_bytes(4, "big") + text) == code


@pytest.mark.parametrize("name", ["threadlog.ToolResult", "threadlog.RunCommand", "threadlog.Anything"])
def test_codec_refuses_records_of_ours_that_are_not_avro(name: str) -> None:
    """A JSON schema of one of our names would vouch for no field of it."""
    schemas = FixedSchemas()
    id = schemas.register(name, Schema("JSON", json.dumps({"title": name})))
    assert refused(Codec(schemas), b"\0" + id.to_bytes(4, "big") + b"[]") == "bad_schema"


@pytest.mark.parametrize(
    ("type", "value", "plain"),
    [
        ({"type": "string"}, "a", "a"),
        ({"type": "array", "items": "string"}, ["a"], ["a"]),
        ({"type": "map", "values": ["null", "long"]}, {"k": None}, {"k": None}),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
        ({"type": "bytes"}, b"a", "YQ=="),
        ({"type": "double"}, 1.5, 1.5),
        ({"type": "map", "values": "bytes"}, {"k": b"a"}, {"k": "YQ=="}),
        ({"type": "fixed", "name": "F", "size": 1}, b"a", "YQ=="),
        ({"type": "int", "logicalType": "date"}, datetime.date(1970, 1, 2), "1970-01-02"),
        ({"type": "string", "logicalType": "uuid"}, uuid.UUID(int=1), str(uuid.UUID(int=1))),
        ({"type": "record", "name": "R", "fields": [{"name": "b", "type": "bytes"}]}, {"b": b"a"}, {"b": "YQ=="}),
    ],
)
def test_codec_gives_plain_json_whatever_the_type(type: Any, value: Any, plain: Any) -> None:
    """Types whose data is plain as it is read are not converted; for all others it is."""
    fields = [{"name": "x", "type": type}, {"name": "y", "type": type.get("name", "null")}]
    schema = {"type": "record", "name": "T", "namespace": "it", "fields": fields}
    source, out = FixedSchemas(), io.BytesIO()
    id = source.register("it.T", Schema("AVRO", json.dumps(schema)))
    again = None if fields[1]["type"] == "null" else value
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), {"x": value, "y": again})
    read = Codec(source).decode(b"\0" + id.to_bytes(4, "big") + out.getvalue())
    assert read == ("it.T", id, {"x": plain, "y": None if again is None else plain})
