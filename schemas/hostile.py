# SPDX-License-Identifier: Apache-2.0
"""Avro schemas under which a few bytes could end the process that decodes them. Anyone who may register a schema may
write one, and a record that ends its reader ends it again after every restart.

* Data that nests without a bound: the compiled reader recurses on the C stack without a check.
* Values that take no bytes: arrays of nulls, records of records of nothing, each twice as many as the one inside.

Schemas are walked as `fastavro.parse_schema` gives them: names are full, and defined before they are used. A name is
followed, and looked at once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from schemas.limits import DEPTH_LEVELS

# A record of a dozen fields in an array takes a dozen bytes. These are far from what anybody means.
VALUES_PER_BYTE_MAX, VALUES_OF_NOTHING_MAX = 10, 10_000
_BYTES = {"null": 0, "float": 4, "double": 8}  # the least of a value; of all other types 1


class Bomb(ValueError):
    """A schema by which few bytes stand for many values, or one that cannot be looked through; it says where."""


class _Shape(NamedTuple):
    """Of data of a type: levels of nesting, and how many values it is at most beyond those that its bytes pay for."""

    levels: float
    excess: int


def may_be_deep(schema: Any) -> bool:
    """Whether data may nest beyond the limit. Raises Bomb."""
    return _Walk().shape(schema).levels > DEPTH_LEVELS


class _Walk:
    """One look at a schema. `known`: types that are defined; None while it is looked what is in them."""

    def __init__(self) -> None:
        self.known: dict[str, _Shape | None] = {}

    def shape(self, schema: Any, around: int = 0) -> _Shape:
        """The shape of data of a schema, which stands inside so many others. Raises Bomb."""
        if isinstance(schema, str):
            shape = self.known.get(schema, _of_bytes(_BYTES.get(schema, 1)))
            return _Shape(math.inf, 0) if shape is None else shape
        if isinstance(schema, list):
            inner = [self.shape(part, around) for part in schema]
            most = max((one.excess for one in inner), default=0)
            # The number of the branch takes a byte.
            return _Shape(max((one.levels for one in inner), default=0), most - VALUES_PER_BYTE_MAX)
        if around > DEPTH_LEVELS:
            raise Bomb(f"types are written inside each other over more than {DEPTH_LEVELS} levels")
        name, kind = schema.get("name", ""), schema["type"]
        self.known |= {name: None} if name else {}
        found = self._defined(schema, kind, around + 1)
        # What may be in itself, once more and once more, must pay for each time.
        _check(found, 0 if found.levels == math.inf else VALUES_OF_NOTHING_MAX, name or kind)
        self.known |= {name: found} if name else {}
        return found

    def _defined(self, schema: dict[str, Any], kind: str, around: int) -> _Shape:
        if kind in ("array", "map"):
            item = self.shape(schema["items" if kind == "array" else "values"], around)
            _check(item, 0 if kind == "array" else VALUES_PER_BYTE_MAX, f"an item of {kind}")  # a map's has a key
            return _of_bytes(1)._replace(levels=1 + item.levels)
        if kind in ("record", "error"):
            fields = [self.shape(field["type"], around) for field in schema["fields"]]
            levels = 1 + max((one.levels for one in fields), default=0)
            return _Shape(levels, 1 + sum(one.excess for one in fields))
        return _of_bytes(schema["size"] if kind == "fixed" else _BYTES.get(kind, 1))


def _of_bytes(least: int) -> _Shape:
    """Of one value that takes so many bytes."""
    return _Shape(0, 1 - VALUES_PER_BYTE_MAX * least)


def _check(shape: _Shape, allowed: int, of: str) -> None:
    if shape.excess > allowed:
        raise Bomb(f"{of}: more than {VALUES_PER_BYTE_MAX} values a byte, {shape.excess:,} too many")


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
