# SPDX-License-Identifier: Apache-2.0
"""Avro schemas under which a few bytes could end the process that decodes them. Anyone who may register a schema may
write one, and a record that ends its reader ends it again after every restart.

* Data that nests without a bound: the compiled reader recurses on the C stack without a check.
* Arrays of items that take no bytes: ten bytes can stand for a billion of them.

Schemas are walked as `fastavro.parse_schema` gives them: names are full, and defined before they are used.
"""

from __future__ import annotations

from typing import Any

from schemas.limits import DEPTH_LEVELS


def may_be_deep(schema: Any, around: tuple[str, ...] = ()) -> bool:
    """Whether data may nest beyond the limit: a type refers to one that it is inside of, or the schema is as deep."""
    if isinstance(schema, str):
        return schema in around
    if len(around) > DEPTH_LEVELS:
        return True
    inside = around if isinstance(schema, list) else (*around, schema.get("name", ""))
    return any(may_be_deep(part, inside) for part in _parts(schema))


def has_weightless_items(schema: Any) -> bool:
    """Whether an array anywhere in the schema has items that take no bytes."""
    weightless = {"null"}

    def walk(schema: Any) -> bool:
        """Whether data of this schema takes no bytes; raises _Found on an array of such data."""
        if isinstance(schema, str):
            return schema in weightless
        inner = [walk(part) for part in _parts(schema)]
        if isinstance(schema, list):
            return False  # the number of the branch takes a byte
        if schema["type"] == "array" and inner[0]:
            raise _Found
        fields = schema["type"] in ("record", "error")
        light = all(inner) if fields else schema.get("size") == 0 or schema["type"] in weightless
        if light:
            weightless.add(schema.get("name", "null"))
        return light

    try:
        walk(schema)
    except _Found:
        return True
    return False


class _Found(Exception):
    pass


_PLAIN = frozenset({"null", "boolean", "int", "long", "string", "array", "map", "enum", "record", "error"})


def is_plain(schema: Any) -> bool:
    """Whether data of this schema is plain JSON as it is read: no bytes, no float, no logical type anywhere in it."""
    if isinstance(schema, str):
        return schema in _PLAIN or "." in schema  # the full name of a type that is defined, and looked at, elsewhere
    kind = None if isinstance(schema, list) else schema["type"]
    if kind is not None and (kind not in _PLAIN or "logicalType" in schema):
        return False
    return all(is_plain(part) for part in _parts(schema))


def _parts(schema: Any) -> list[Any]:
    """The schemas directly inside a schema that is no name."""
    if isinstance(schema, list):
        return schema
    parts = [field["type"] for field in schema.get("fields", ())]
    return parts + [schema[key] for key in ("items", "values") if key in schema]
