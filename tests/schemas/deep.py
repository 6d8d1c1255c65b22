# SPDX-License-Identifier: Apache-2.0
"""Decodes a deeply nested record on a small stack and prints the outcome: `python -m tests.schemas.deep HOW LEVELS`.

A process of its own, because the claim is that it survives."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from schemas.codec import Codec, FixedSchemas, Schema
from schemas.errors import Unreadable

STACK_BYTES = 512 * 1024  # a Java thread has 1 MiB, some of which Java has used when Python begins
SCHEMA_LEVELS = 240  # more than that no JSON reader accepts as the text of a schema
CHAIN_LEVELS = 2_000


def record(name: str, type: Any) -> dict[str, Any]:
    """A record with one optional field."""
    return {"type": "record", "name": name, "namespace": "deep", "fields": [{"name": "next", "type": ["null", type]}]}


def nested(how: str, levels: int) -> tuple[dict[str, Any], bytes]:
    """A schema, and the bytes of a record of it that is nested so deep."""
    if how == "by a type inside itself":
        return record("Tree", "Tree"), b"\2" * levels + b"\0"
    if how == "by two types inside each other":
        return record("Egg", record("Hen", "Egg")), b"\2" * levels + b"\0"
    if how == "by a chain of types":  # each is defined beside the one that it holds, not inside it
        levels = min(levels, CHAIN_LEVELS)
        chain = [record("R0", "int"), *(record(f"R{n}", f"R{n - 1}") for n in range(1, levels))]
        fields = [{"name": f"f{n}", "type": ["null", one]} for n, one in enumerate(chain)]
        top = {"type": "record", "name": "Top", "namespace": "deep", "fields": fields}
        return top, b"\0" * (levels - 1) + b"\2" * (levels + 1) + b"\0"
    levels = min(levels, SCHEMA_LEVELS)
    schema: Any = "int"
    for number in range(levels):
        schema = record(f"R{number}", schema)
    return schema, b"\2" * levels + b"\0"


def nested_json(how: str, levels: int) -> tuple[dict[str, Any], bytes]:
    """A JSON schema, and data of it that is nested so deep."""
    data = b'{"next":' * levels + b"1" + b"}" * levels
    if how == "a JSON schema that refers to itself":
        return {"title": "deep.Record", "allOf": [{"$ref": "#"}], "properties": {"next": {"$ref": "#"}}}, data
    schema: dict[str, Any] = {}
    for _ in range(min(levels, SCHEMA_LEVELS)):
        schema = {"anyOf": [{"not": {}}, {"properties": {"next": schema}}]}
    return {"title": "deep.Record", **schema}, data


def main(how: str, levels: int) -> None:
    """Decode it and print the code of the refusal, or "read"."""
    schema, payload = (nested_json if "JSON" in how else nested)(how, levels)
    schemas = FixedSchemas()
    id = schemas.register("deep.Record", Schema("JSON" if "JSON" in how else "AVRO", json.dumps(schema)))
    codec = Codec(schemas)

    def decode() -> None:
        try:
            codec.decode(b"\0" + id.to_bytes(4, "big") + payload)
            print("read", end="")
        except Unreadable as error:
            print(error.code, end="")

    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=decode)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
