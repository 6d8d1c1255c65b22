# SPDX-License-Identifier: Apache-2.0
"""Bytes ↔ records in the Confluent wire format: 0x00, a 4-byte schema id, the payload.

The registry tells whether the payload is Avro, Protobuf or JSON; this module asks it through `SchemaSource`, so it
stays pure. Decoded data is plain JSON: bytes become base64, numbers are finite, nothing is nested beyond the limit.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources  # pure: reads the schemas that are part of this package
from typing import Any, Literal, Protocol

import fastavro
from fastavro import _read_py
from fastavro.schema import fullname, to_parsing_canonical_form
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.unknown_fields import UnknownFieldSet

from schemas.decimals import read_exactly
from schemas.errors import UnknownSchema, Unreadable
from schemas.hostile import is_plain, may_be_deep
from schemas.json_schema import checker
from schemas.limits import DEPTH_LEVELS, JOURNAL_MESSAGE_BYTES, VALUE_BYTES
from schemas.proto import Note

read_exactly()
_OURS = "Decision ToolCall ToolResult Reply Signal RunCommand Message Approval Control Lease AuditHead ReplayFinding"
OURS = tuple(_OURS.split())
_NOTE_AT, _ENTRY = 8, "threadlog.Decision"
Kind = Literal["AVRO", "PROTOBUF", "JSON"]


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema as the registry holds it."""

    kind: Kind
    text: str


class SchemaSource(Protocol):
    """Where schemas come from. Raises UnknownSchema (the registry's own 404) or RegistryUnavailable.

    `id_of` gives the newest version of a name; of our own records the version that this code writes, which need not be
    the newest: a newer installation may have registered its own.
    """

    def by_id(self, id: int) -> Schema:
        """The schema that a value's four bytes name."""

    def id_of(self, name: str) -> int:
        """The id of the newest schema of a record name."""


@cache
def our_schema(name: str) -> str:
    """The text of one of our own Avro schemas, by its full name."""
    return resources.files("schemas").joinpath("avro", f"{name.removeprefix('threadlog.')}.avsc").read_text("utf-8")


@cache
def our_proto() -> str:
    """The text of our Protobuf event type."""
    return resources.files("schemas").joinpath("proto", "note.proto").read_text("utf-8")


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(json.loads(our_schema(name)))


@dataclass
class FixedSchemas:
    """A SchemaSource in memory: schemas get ids in the order they are added, from 1; ours are there from the start."""

    schemas: dict[int, Schema] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        avro = [(f"threadlog.{name}", Schema("AVRO", our_schema(f"threadlog.{name}"))) for name in OURS]
        # In the order in which they came to be: golden bytes hold these ids.
        for name, schema in (*avro[:_NOTE_AT], ("threadlog.Note", Schema("PROTOBUF", our_proto())), *avro[_NOTE_AT:]):
            self.register(name, schema)

    def register(self, name: str, schema: Schema) -> int:
        """Register a schema as the newest version of a name; its id."""
        known = next((id for id, other in self.schemas.items() if other == schema), None)
        id = len(self.schemas) + 1 if known is None else known
        self.schemas[id] = schema
        if name not in self.ids or name.removeprefix("threadlog.") not in OURS:
            self.ids[name] = id
        return id

    def by_id(self, id: int) -> Schema:
        """Raises UnknownSchema."""
        if id not in self.schemas:
            raise UnknownSchema(f"no schema has id {id}")
        return self.schemas[id]

    def id_of(self, name: str) -> int:
        """Raises UnknownSchema."""
        if name not in self.ids:
            raise UnknownSchema(f"no schema is named {name}")
        return self.ids[name]


class Codec:
    """Encodes our records and decodes whatever is registered. Compiled schemas are kept by id."""

    def __init__(self, schemas: SchemaSource) -> None:
        self._schemas = schemas
        self._readers: dict[int, tuple[str, Kind, Any]] = {}
        self._prefixes: dict[str, bytes] = {}

    def encode(self, name: str, data: dict[str, Any]) -> bytes:
        """One of our Avro records as bytes; fields the schema does not have are left out."""
        prefix = self._prefixes.get(name)
        if prefix is None:
            prefix = self._prefixes[name] = b"\0" + self._schemas.id_of(name).to_bytes(4, "big")
        out = io.BytesIO()
        out.write(prefix)
        fastavro.schemaless_writer(out, _parsed(name), data)
        return out.getvalue()

    def decode(self, value: bytes | None) -> tuple[str, int, Any]:
        """(full name of the schema, its id, the data as plain JSON). Raises Unreadable, or RegistryUnavailable."""
        id, size, payload = _opened(value)
        name, kind, reader = self._reader(id, size)
        if kind == "AVRO":
            data = _read_avro(reader, payload)
            if reader[3]:
                return name, id, data
        elif kind == "PROTOBUF":
            data = _read_protobuf(payload.read())
        else:
            data = _read_json(reader, payload.read())
        return name, id, plain(data)

    def decode_own(self, value: bytes | None, name: str) -> Any:
        """One of our Avro records as its schema has it, bytes as bytes, in half the time. Raises as `decode` does."""
        id, size, payload = _opened(value)
        found, kind, reader = self._reader(id, size)
        if found != name or kind != "AVRO":
            raise Unreadable("foreign", f"a {found}, expected a {name}")
        return _read_avro(reader, payload)

    def _reader(self, id: int, size: int) -> tuple[str, Kind, Any]:
        if id not in self._readers:
            try:
                schema = self._schemas.by_id(id)
            except UnknownSchema as error:
                raise Unreadable("unknown_schema", str(error)) from error
            self._readers[id] = _compile(schema)
        found = self._readers[id]
        if size > (allowed := JOURNAL_MESSAGE_BYTES if found[0] == _ENTRY else VALUE_BYTES):
            raise Unreadable("oversize", f"{size} bytes, {allowed} are allowed")
        return found


def _opened(value: bytes | None) -> tuple[int, int, io.BytesIO]:
    """The schema id of a value, its size with that, and its payload."""
    if value is None or len(value) < 5:
        raise Unreadable("truncated", "the value has no magic byte and schema id")
    if value[0] != 0:
        raise Unreadable("magic", f"the first byte is {value[0]}, expected 0 (Confluent wire format)")
    payload = io.BytesIO(value)
    payload.seek(5)
    return int.from_bytes(value[1:5], "big"), len(value), payload


def _compile(schema: Schema) -> tuple[str, Kind, Any]:
    if schema.kind == "PROTOBUF":
        return _our_note(schema.text), schema.kind, None
    try:
        parsed = json.loads(schema.text)
        if schema.kind == "JSON":
            return _title(parsed), schema.kind, checker(schema.text, parsed)
        writer = fastavro.parse_schema(parsed)
        name, deep = fullname(writer), may_be_deep(writer)
    except (ImportError, OSError):  # of a library that is loaded here: nothing that the schema could mend
        raise
    except Exception as error:  # a schema that is none is a producer's mistake, whatever the library calls it
        raise Unreadable("bad_schema", f"the registered schema cannot be used: {error}"[:300]) from error
    ours = name.startswith("threadlog.") and name.removeprefix("threadlog.") in OURS
    read = _read_py.schemaless_reader if deep else fastavro.schemaless_reader
    # To read by another schema than the writer's is slow; most of what is ours was written by this version.
    newest = _parsed(name) if ours else None
    same = newest is not None and to_parsing_canonical_form(newest) == to_parsing_canonical_form(writer)
    reads_as = None if same else newest
    return name, schema.kind, (read, writer, reads_as, not deep and is_plain(reads_as or writer))


def _our_note(text: str) -> str:
    """The name of our own Protobuf event. Others are refused with a reason: their types are compiled nowhere."""
    if _tokens(text) != _tokens(our_proto()):
        raise Unreadable("protobuf_type", "only threadlog.Note's own file, note.proto, is known as Protobuf")
    return "threadlog.Note"


def _tokens(text: str) -> list[str]:
    """What a Protobuf file says: a registry may give it back without its comments, and laid out anew."""
    return re.findall(r"\w+|[^\w\s]", re.sub(r"//[^\n]*", " ", text))


def _title(schema: Any) -> str:
    """The name of a JSON schema's records. Ours are Avro: nothing else vouches for their fields."""
    title = str(schema.get("title", ""))
    if title.startswith("threadlog."):
        raise ValueError(f"{title} is one of our own names, and ours are Avro")
    return title


def _read_avro(reader: Any, payload: io.BytesIO) -> Any:
    read, writer, ours, _ = reader
    try:
        data = read(payload, writer, ours)
    except RecursionError as error:
        raise Unreadable("depth", f"nested deeper than {DEPTH_LEVELS}") from error
    except EOFError as error:
        raise Unreadable("truncated", "the Avro payload ends early") from error
    except Exception as error:  # the library raises many kinds on bytes that are no record of this schema
        raise Unreadable("payload", f"not a record of its schema: {error}"[:300]) from error
    if payload.read(1):
        raise Unreadable("trailing", "bytes are left after the record")
    return data


def _read_protobuf(payload: bytes) -> Any:
    """Our own Protobuf event; the message index before it must name the first message of its file."""
    if not payload or payload[0] != 0:
        raise Unreadable("protobuf_type", "only the first message of threadlog.Note's file is known as Protobuf")
    note = Note()
    try:
        note.ParseFromString(payload[1:])
    except (ProtobufError, ValueError) as error:
        raise Unreadable("payload", f"not a threadlog.Note: {error}"[:300]) from error
    if len(UnknownFieldSet(note)):
        raise Unreadable("trailing", "the message has fields that its schema lacks")
    return MessageToDict(note, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def encode_note(schema_id: int, text: str, data: str = "{}") -> bytes:
    """Our Protobuf event as bytes."""
    payload: bytes = Note(text=text, data=data).SerializeToString()
    return b"\0" + schema_id.to_bytes(4, "big") + b"\0" + payload


def _read_json(check: Any, payload: bytes) -> Any:
    try:
        data = plain(json.loads(payload))
    except (ValueError, RecursionError) as error:
        raise Unreadable("payload", f"not JSON: {error}"[:300]) from error
    check(data)
    return data


def plain(value: Any, depth_left: int = DEPTH_LEVELS) -> Any:
    """Decoded data as plain JSON. Raises Unreadable for what JSON cannot say or what is nested too deeply."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise Unreadable("number", "an integer of more than 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unreadable("number", f"{value} is not JSON")
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if depth_left <= 0:
        raise Unreadable("depth", f"nested deeper than {DEPTH_LEVELS}")
    if isinstance(value, dict):
        return {_text(str(key)): plain(child, depth_left - 1) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child, depth_left - 1) for child in value]
    return str(value)  # dates, decimals, UUIDs of logical types


def _text(value: str) -> str:
    """JSON can escape half of a surrogate pair, which no UTF-8 can hold."""
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Unreadable("payload", "a string that is not UTF-8") from None
    return value
