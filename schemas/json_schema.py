# SPDX-License-Identifier: Apache-2.0
"""JSON data against its registered JSON Schema, by the `jsonschema` library, in bounded time.

Anyone who may register a schema may write one, and a record whose check does not end stops its reader for good:

* Work is counted: definitions that each refer twice to the next double it at every level. What does not fit is written
  into a message whole, for each branch of an `anyOf` that fails, and costs what there is of it.
* A schema is refused, not half obeyed, where a regular expression decides (`pattern`, `patternProperties`) or what the
  library does is not counted (`unevaluated...`, dynamic references, another dialect inside).
* Nothing is fetched: a reference leads into the schema itself.
* `uniqueItems` is ours: the library compares each item with each.

`format` is a comment, as the standard has it by default.

The library is loaded with the first such schema: most threads have none, and every start would wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from schemas.errors import Unreadable
from schemas.limits import JSON_SCHEMA_BYTES, JSON_STEPS_MAX

if TYPE_CHECKING:
    import jsonschema

Check = Callable[[Any, Any, Any, Any], Iterable[Any] | None]
UNCHECKED = {
    "pattern", "patternProperties", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef",
}  # fmt: skip


def checker(text: str, schema: dict[str, Any]) -> Callable[[Any], None]:
    """What raises Unreadable on data that does not fit the schema. The data must be plain and of bounded depth.

    Raises ValueError, or an error of the library's, for a schema that is none or that is not checked here."""
    import jsonschema
    from jsonschema import validators
    from referencing import Registry

    if (size := len(text.encode("utf-8"))) > JSON_SCHEMA_BYTES:
        raise ValueError(f"{size} bytes, {JSON_SCHEMA_BYTES} are allowed")
    draft = validators.validator_for(schema, default=None if "$schema" in schema else jsonschema.Draft202012Validator)
    if draft is None:
        raise ValueError(f"the dialect {schema['$schema']!r} is not known")
    draft.check_schema(schema)
    own = {key: value for key, value in schema.items() if key != "$schema"}
    if _has_dialect(own):
        raise ValueError("$schema inside of it: one dialect is known, that of the whole")
    steps = _Steps()
    own_checks = {**draft.VALIDATORS, "uniqueItems": _unique}
    checks = {name: _counted(check, steps, name == "uniqueItems") for name, check in own_checks.items()}
    validator = validators.extend(draft, checks)(own, registry=Registry())

    def check(data: Any) -> None:
        steps.begin()
        error = _first(validator.iter_errors(data))
        if error is not None:
            raise Unreadable("payload", f"not what its schema asks for: {error.json_path}: {error.message}"[:300])

    return check


def _first(errors: Iterator[jsonschema.ValidationError]) -> jsonschema.ValidationError | None:
    try:
        return next(errors, None)
    except Unreadable:
        raise
    except Exception as error:  # a loop of references, one that leads nowhere, a keyword of the wrong form
        raise Unreadable("bad_schema", f"the registered schema cannot be used: {error!r}"[:300]) from error


# Of the parts of a value: so many are one step to write into a message, or to compare with others.
_WRITTEN, _COMPARED, _CHARACTERS = 64, 8, 8


class _Steps:
    """What is left of the work that one record may cost."""

    def begin(self) -> None:
        """The next record."""
        self.left, self._sizes = JSON_STEPS_MAX, dict[int, int]()

    def size(self, value: Any) -> int:
        """How many parts a value has, in all of its depth; each container of a record is looked at once."""
        if isinstance(value, str):
            return len(value) // _CHARACTERS
        if not isinstance(value, dict | list):
            return 1
        found = self._sizes.get(id(value))
        if found is None:
            parts = value.values() if isinstance(value, dict) else value
            found = self._sizes[id(value)] = len(value) + sum(map(self.size, parts))
        return found

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Unreadable("bad_schema", f"to check it takes more than {JSON_STEPS_MAX} steps")


def _counted(check: Check, steps: _Steps, compares: bool) -> Check:
    """A keyword's check that costs a step, and one for each entry of its value and each item of the data; more for what
    it `compares` in all of its depth, and for the messages that it makes."""

    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[Any]:
        if not UNCHECKED.isdisjoint(schema):
            found = ", ".join(sorted(UNCHECKED & set(schema)))
            raise Unreadable("bad_schema", f"the registered schema has {found}, which is not checked here")
        if "$ref" in schema and not str(schema["$ref"]).startswith("#"):
            raise Unreadable("bad_schema", f"a reference out of the registered schema: {schema['$ref']!r}"[:300])
        steps.take(1 + _entries(value) + _entries(instance))
        if compares:
            steps.take(steps.size(instance) // _COMPARED)
        for error in check(validator, value, instance, schema) or ():
            steps.take(steps.size(instance) // _WRITTEN)
            yield error

    return counted


def _entries(value: Any) -> int:
    return len(value) if isinstance(value, dict | list) else 0


def _has_dialect(part: Any) -> bool:
    """Whether a schema inside names its dialect; the library would go on with its own checks there."""
    if isinstance(part, dict):
        return isinstance(part.get("$schema"), str) or any(map(_has_dialect, part.values()))
    return isinstance(part, list) and any(map(_has_dialect, part))


def _unique(validator: Any, wanted: Any, items: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    import jsonschema

    if wanted and isinstance(items, list) and len({_hashable(item) for item in items}) < len(items):
        yield jsonschema.ValidationError("an item stands twice")


def _hashable(value: Any) -> Any:
    """Equal for what JSON Schema calls equal: 1 is 1.0, but neither true nor an array of the same."""
    if isinstance(value, dict):
        return dict, frozenset((key, _hashable(child)) for key, child in value.items())
    if isinstance(value, list):
        return list, tuple(map(_hashable, value))
    return (bool, value) if isinstance(value, bool) else value
