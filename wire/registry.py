# SPDX-License-Identifier: Apache-2.0
"""The schema registry over its Confluent API: schemas by id and name, and their registration.

Subjects are the full names of records. A schema never changes under its id, so what was read once is kept; a pickled
registry takes it along. So an operator that was submitted with what it reads and writes asks nobody when it starts, and
does not even load the client: half of all modules that it would load, most of them for ways to log in.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from schemas.codec import OURS, FixedSchemas, Schema, our_schema
from schemas.errors import RegistryUnavailable, UnknownSchema

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

COMPATIBILITY = "BACKWARD_TRANSITIVE"
_NOT_FOUND = 404
_CONFLICT = (409, 422)


class Incompatible(Exception):
    """The registry refuses a schema because it does not fit the versions before it."""


class Registry:
    """A SchemaSource over the real registry."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._schemas: dict[int, Schema] = {}
        self._ids: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_client"}

    @cached_property
    def _client(self) -> SchemaRegistryClient:
        from confluent_kafka.schema_registry import SchemaRegistryClient

        return SchemaRegistryClient({"url": self.url, "max.retries": 0, "timeout": 10})

    def learn(self, names: Iterable[str]) -> None:
        """Keep the newest schemas of these names; unknown ones are left out. Raises RegistryUnavailable."""
        for name in names:
            with suppress(UnknownSchema):
                self.by_id(self.id_of(name))

    def by_id(self, id: int) -> Schema:
        """The schema of an id. Raises UnknownSchema or RegistryUnavailable."""
        if id not in self._schemas:
            found = _ask(f"a schema with id {id}", lambda: self._client.get_schema(id))
            self._schemas[id] = Schema(found.schema_type or "AVRO", found.schema_str)
        return self._schemas[id]

    def id_of(self, name: str) -> int:
        """The id of the schema under which records of this name are written: ours as it is in this checkout."""
        if name not in self._ids:
            found = _ask(f"the subject {name}", lambda: self._version(name))
            self._ids[name] = int(found.schema_id)
        return self._ids[name]

    def _version(self, name: str) -> Any:
        """The version to write: a newer one of ours under the bytes of this code would be read as what they are not."""
        if name.startswith("threadlog.") and name.removeprefix("threadlog.") in OURS:
            return self._client.lookup_schema(name, _registered(Schema("AVRO", our_schema(name))))
        return self._client.get_latest_version(name)

    def register(self, name: str, schema: Schema) -> int:
        """Register a schema under the record's full name; its id. Raises Incompatible or RegistryUnavailable."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            id = _ask(f"the subject {name}", lambda: self._client.register_schema(name, _registered(schema)))
        except SchemaRegistryError as error:  # a conflict; whatever else the registry says has its own error
            raise Incompatible(f"{name} does not fit its earlier versions ({COMPATIBILITY}): {error}") from error
        self._ids.pop(name, None)  # whether it is the one to write is asked when somebody writes
        return int(id)

    def ensure_subjects(self) -> dict[str, int]:
        """Enforce compatibility and register all schemas of ours; their ids by name. Safe to repeat.

        In the order of their fixed ids, so that a registry which counts from 1 gives the same."""
        _ask("the compatibility setting", lambda: self._client.set_compatibility(level=COMPATIBILITY))
        ours = FixedSchemas()
        return {name: self.register(name, ours.by_id(id)) for name, id in ours.ids.items()}


def _registered(schema: Schema) -> Any:
    from confluent_kafka.schema_registry import Schema as RegistrySchema

    return RegistrySchema(schema.text, schema.kind)


def _ask(what: str, question: Any) -> Any:
    import httpx2
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    try:
        return question()
    except SchemaRegistryError as error:
        # Without a code of its own it is no answer of a registry's, but of what stands before one.
        if error.http_status_code == _NOT_FOUND and error.error_code != error.UNKNOWN:
            raise UnknownSchema(f"the registry knows no {what.removeprefix('a ')}") from error
        if error.http_status_code in _CONFLICT:
            raise
        raise RegistryUnavailable(f"the registry failed on {what}: {error}") from error
    except (httpx2.HTTPError, OSError) as error:
        raise RegistryUnavailable(f"the registry does not answer about {what}: {type(error).__name__}") from error


def ensure_subjects(url: str) -> dict[str, int]:
    """`Registry.ensure_subjects` for a registry's URL."""
    return Registry(url).ensure_subjects()
