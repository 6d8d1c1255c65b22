# SPDX-License-Identifier: Apache-2.0
"""JSON values against their registered schema: what does not fit is refused, and no schema keeps its reader busy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import Codec, FixedSchemas, Schema
from schemas.errors import Unreadable
from schemas.json_schema import UNCHECKED, checker
from schemas.limits import JSON_SCHEMA_BYTES, JSON_STEPS_MAX

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
ORDER = {
    "title": "shop.Order",
    "type": "object",
    "properties": {"id": {"type": "string"}, "lines": {"type": "array", "items": {"$ref": "#/definitions/line"}}},
    "required": ["id"],
    "additionalProperties": False,
    "definitions": {"line": {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1}}}},
}


def read(schema: dict[str, Any], data: Any) -> Any:
    schemas = FixedSchemas()
    id = schemas.register("j.Any", Schema("JSON", json.dumps({"title": "j.Any", **schema})))
    return Codec(schemas).decode(b"\0" + id.to_bytes(4, "big") + json.dumps(data).encode())


def refused(schema: dict[str, Any], data: Any) -> tuple[str, str]:
    with pytest.raises(Unreadable) as raised:
        read(schema, data)
    return raised.value.code, raised.value.message


@pytest.mark.parametrize("dialect", [{}, {"$schema": DRAFT_7}], ids=["none named", "draft 7"])
def test_json_that_fits_its_schema_is_read(dialect: dict[str, Any]) -> None:
    """The data comes out as it is, under the schema's title."""
    data = {"id": "o-1", "lines": [{"count": 1}, {}]}
    assert read({**dialect, **ORDER}, data)[::2] == ("shop.Order", data)


def test_json_is_not_refused_for_a_library_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is this process's own trouble: a sound record of it would be a dead letter for good."""
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ImportError):
        read(ORDER, {"id": "o-1"})


@pytest.mark.parametrize("dialect", [{}, {"$schema": DRAFT_7}], ids=["none named", "draft 7"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "$: 'id' is a required property"),
        ({"id": 1}, "$.id: 1 is not of type 'string'"),
        ({"id": "o-1", "lines": [{}, {"count": 0}]}, "$.lines[1].count: 0 is less than the minimum of 1"),
        ({"id": "o-1", "more": 1}, "$: Additional properties are not allowed ('more' was unexpected)"),
        ([], "$: [] is not of type 'object'"),
    ],
)
def test_json_that_does_not_fit_its_schema_is_refused(dialect: dict[str, Any], data: Any, said: str) -> None:
    """The sentence says where and why."""
    assert refused({**dialect, **ORDER}, data) == ("payload", f"not what its schema asks for: {said}")


@pytest.mark.parametrize(
    "schema",
    [{"type": "strang"}, {"required": "id"}, {"properties": 5}, {"items": [1, 2]}, {"$schema": "x:y"}, {"$schema": []}],
)
def test_json_schema_that_is_none_is_refused(schema: dict[str, Any]) -> None:
    """A registry need not look at what it takes."""
    assert refused(schema, {})[0] == "bad_schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "(x+)+$"}}},
        {"patternProperties": {"(x+)+$": {}}, "additionalProperties": False},
        {"additionalProperties": False, "patternProperties": {"(x+)+$": {}}},
        {"properties": {"a": {"type": "string"}}, "unevaluatedProperties": False},
        {"properties": {"a": {"$dynamicRef": "#"}}},
        {"properties": {"a": {"$ref": "http://127.0.0.1:9/elsewhere"}}},
        {"properties": {"a": {"$ref": DRAFT_7}}},
        {"properties": {"a": {"$schema": DRAFT_7, "pattern": "(x+)+$"}}},
        {"properties": {"a": {"$ref": "#/nowhere"}}},
        {"enum": list(range(100_000))},
    ],
    ids=str,
)
def test_json_schema_that_is_not_checked_here_is_refused(schema: dict[str, Any]) -> None:
    """Not half obeyed: no regular expression can keep the reader busy, and nothing is fetched."""
    assert refused(schema, {"a": "x" * 100 + "!"})[0] == "bad_schema"


def test_json_schema_bounds_are_those_of_the_document() -> None:
    """docs/ARCHITECTURE.md tells what is not checked and how much is."""
    told = (Path(__file__).resolve().parents[2] / "docs" / "ARCHITECTURE.md").read_text("utf-8")
    assert f"{JSON_SCHEMA_BYTES // 1024} KiB of schema and {JSON_STEPS_MAX:,} steps" in told
    assert [word for word in UNCHECKED if not word.startswith("$") and f"`{word}`" not in told] == []


def test_json_schema_may_name_a_field_as_a_keyword() -> None:
    """`pattern` is a word like any other where it is the name of a field."""
    data = {"pattern": "x"}
    assert read({"properties": {"pattern": {"type": "string"}}, "required": ["pattern"]}, data)[2] == data


def test_json_schema_whose_work_doubles_is_refused() -> None:
    """Forty definitions that refer twice to the next are a million million checks."""
    two = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**two, "d40": {"type": "object"}}}
    code, message = refused(schema, {})
    assert (code, "steps" in message) == ("bad_schema", True)


def test_json_steps_are_counted_for_each_record() -> None:
    """What one record cost is not held against the next."""
    schemas = FixedSchemas()
    id = schemas.register("j.Any", Schema("JSON", json.dumps({"title": "j.Any", "items": {"type": "integer"}})))
    codec, value = Codec(schemas), json.dumps([1] * 60_000).encode()
    assert [len(codec.decode(b"\0" + id.to_bytes(4, "big") + value)[2]) for _ in range(4)] == [60_000] * 4


@pytest.mark.parametrize(
    ("items", "twice"),
    [
        ([1, True, "1", [1], [True], {"a": 1}, {"a": [1]}, None, 0, False], False),
        ([1, 2, 1.0], True),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], True),
        ([{"n": n} for n in range(50_000)], False),
    ],
    ids=["all different", "numbers", "objects", "many objects"],
)
def test_json_unique_items(items: list[Any], twice: bool) -> None:
    """Equal as JSON Schema has it; many objects are not compared each with each."""
    schema = {"uniqueItems": True}
    if twice:
        assert refused(schema, items) == ("payload", "not what its schema asks for: $: an item stands twice")
    else:
        assert read(schema, items)[2] == items


@pytest.mark.parametrize("how", ["a JSON schema that refers to itself", "a JSON schema as deep as its data"])
@pytest.mark.parametrize("levels", [60, 100_000])
def test_json_schema_survives_any_depth(how: str, levels: int) -> None:
    """On a stack as small as a TaskManager's it is read or refused; it never ends the process."""
    command = [sys.executable, "-m", "tests.schemas.deep", how, str(levels)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0 and done.stdout in (b"read", b"depth", b"payload", b"bad_schema"), done.stderr[-500:]


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"anyOf": [*({"type": "string"} for _ in range(300)), True]}, [[0] * 400_000]),
        ({"anyOf": [*({"type": "integer"} for _ in range(500)), True]}, "x" * 900_000),
        ({"allOf": [{"uniqueItems": True} for _ in range(100)]}, [[0] * 400_000]),
    ],
    ids=["a message for each branch", "a long text", "compared again and again"],
)
def test_json_schema_whose_work_lies_in_the_data_is_refused(schema: dict[str, Any], data: Any) -> None:
    """Each branch writes all of the data down, and all are kept until one fits: gigabytes, of a schema of 6 kB."""
    text = json.dumps({"title": "t.T", **schema})
    with pytest.raises(Unreadable, match="steps"):
        checker(text, json.loads(text))(data)


def test_json_schema_reads_large_data_in_its_own_time() -> None:
    """A few branches over a document of some hundred kilobytes."""
    schema = {"title": "t.T", "anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}], "uniqueItems": True}
    checker(json.dumps(schema), schema)([{"n": n, "text": "words"} for n in range(10_000)])
