# SPDX-License-Identifier: Apache-2.0
"""`threadlog register`."""

from __future__ import annotations

from pathlib import Path

import click

from ops.context import Context, Trouble, pass_context
from ops.replay.histories import name_of
from schemas.codec import Kind, Schema
from wire.registry import Registry

KINDS: dict[str, Kind] = {".avsc": "AVRO", ".json": "JSON"}


@click.command("register")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@pass_context
def command(ctx: Context, files: tuple[Path, ...]) -> None:
    """Register event types from FILES, .avsc (Avro) or .json (JSON Schema), each under its records' name.

    A schema that could not read what was written under its earlier versions is refused."""
    read = [(path, *_read(path)) for path in files]  # all of them, before the first is registered
    registry = Registry(ctx.settings.registry_url)
    for path, name, schema in read:
        id = registry.register(name, schema)
        ctx.say(f"{name} from {path} is registered, id {id}")
        ctx.emit(subject=name, schema_id=id, file=str(path))


def _read(path: Path) -> tuple[str, Schema]:
    kind = KINDS.get(path.suffix)
    if kind is None:
        raise Trouble(f"{path} is neither .avsc nor .json.", "Others are registered with a client of the registry.")
    try:
        schema = Schema(kind, path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise Trouble(f"{path} is not UTF-8: {error.reason} at byte {error.start}.") from error
    name = name_of(schema)
    if not name:
        raise Trouble(f"{path} names no record.", 'Avro has "namespace" and "name", JSON Schema a "title".')
    if name.startswith("threadlog."):
        raise Trouble(f"{name} is one of our own names.", "`threadlog topics --ensure` registers those.")
    return name, schema
