# SPDX-License-Identifier: Apache-2.0
"""A histories file: whole threads as lines of JSON, with the schemas that their inputs need.

    {"format":"threadlog.histories","version":1}
    {"schema":{"id":12,"kind":"AVRO","text":"…"}}            before the first entry that needs it
    {"thread":"t-1","seq":1,"prev":"","kind":"event", …}     one entry: the fields of threadlog.Decision in its order
    {"end":{"threads":1,"entries":1}}                        without it the file was cut off

`input.value` is base64; `effects`, `patch` and `snapshot` stay the strings that they are in the journal, because the
hashes are taken over these very bytes. The entries of a thread stand in the order of their chain; threads may be mixed.
docs/replay.md has the format for other programs.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from ops.context import Trouble
from schemas.codec import OURS, Schema, SchemaSource, our_schema
from schemas.errors import UnknownSchema
from threadlog.entry import Entry

FORMAT, VERSION = "threadlog.histories", 1
_OWN_IDS = 10**9  # from here on; no registry is as full, and a file may name more of its schemas further on
# The beginning of an entry and the name of its thread, with whatever spaces other programs put between.
_ENTRY = re.compile(rb'\s*\{\s*"thread"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"')
_encode = msgspec.json.Encoder().encode
_entry = msgspec.json.Decoder(Entry).decode
_line = msgspec.json.Decoder(dict[str, Any]).decode
_name = msgspec.json.Decoder(str).decode


class Writer:
    """Writes a histories file; `close` gives it its last line."""

    def __init__(self, file: IO[bytes], schemas: SchemaSource) -> None:
        self._file, self._schemas = file, schemas
        self._written: dict[int, Schema | None] = {}
        self._known: dict[int, Schema | None] = {}  # of the sources before
        self.threads: set[str] = set()
        self.entries = 0
        self._put({"format": FORMAT, "version": VERSION})

    def add(self, entry: Entry) -> None:
        """Write an entry, and the schema of its input if that is the first that needs it."""
        value = entry.input.value
        if entry.kind in ("event", "result") and len(value) >= 5:
            self._schema(int.from_bytes(value[1:5], "big"))
        self._put(entry)
        self.threads.add(entry.thread)
        self.entries += 1

    def go_on_from(self, schemas: SchemaSource) -> None:
        """The entries that follow need the schemas of another source."""
        self._schemas, known = schemas, self._written
        self._written = {}
        self._known = {**self._known, **known}

    def close(self) -> None:
        """Write the last line. The file is its owner's to close."""
        self._put({"end": {"threads": len(self.threads), "entries": self.entries}})

    def _schema(self, id: int) -> None:
        if id in self._written:
            return
        try:
            schema = self._written[id] = self._schemas.by_id(id)
        except UnknownSchema:
            self._written[id] = None  # whoever reads the file is told which entry lacks it
            return
        known = self._known.get(id)
        if known is not None and known != schema:
            raise Trouble(
                f"Schema {id} is another one in another file: they come from two registries.", "Export them apart."
            )
        if known is None:
            self._put({"schema": {"id": id, "kind": schema.kind, "text": schema.text}})

    def _put(self, line: Any) -> None:
        self._file.write(_encode(line) + b"\n")


@dataclass
class Histories:
    """The entries of a file; and, as a SchemaSource, the schemas that were read so far.

    `share` (number, of how many): only the threads that fall to this one of so many readers.
    """

    path: Path
    share: tuple[int, int] = (0, 1)
    threads: frozenset[str] | None = None
    schemas: dict[int, Schema] = field(default_factory=dict)
    bytes_read: int = 0

    def __iter__(self) -> Iterator[Entry]:
        """The entries. Raises Trouble for what is no such file, or not all of one."""
        entries, end = 0, None
        try:
            with self.path.open("rb") as file:
                self._header(file.readline())
                for number, line in enumerate(file, 2):
                    self.bytes_read += len(line)
                    if end is not None:
                        raise self._trouble(number, "stands after the end")
                    named = _ENTRY.match(line)
                    if named is None:
                        end = self._other(number, line)
                        continue
                    entries += 1
                    entry = self._mine(number, line, named[1])
                    if entry is not None:
                        yield entry
        except OSError as error:
            raise Trouble(f"{self.path} cannot be read: {error.strerror}.") from error
        if end is None or end.get("entries") != entries:
            told = "has no last line" if end is None else f"holds {entries} entries, its end says {end.get('entries')}"
            raise Trouble(f"{self.path} is not whole: it {told}.", "Export it again: `threadlog histories export`.")

    def by_id(self, id: int) -> Schema:
        """Raises UnknownSchema."""
        if id not in self.schemas:
            raise UnknownSchema(f"the histories file holds no schema {id}")
        return self.schemas[id]

    def id_of(self, name: str) -> int:
        """The id of a schema by its record's name: of ours the one that this code writes, of others the last in the
        file. Ours gets an id of its own where the file lacks it. Raises UnknownSchema."""
        if name.startswith("threadlog.") and name.removeprefix("threadlog.") in OURS:
            wanted = Schema("AVRO", our_schema(name))
            known = [id for id, schema in self.schemas.items() if schema == wanted]
            id = known[0] if known else max(_OWN_IDS, max(self.schemas, default=0)) + 1
            self.schemas[id] = wanted
            return id
        named = [id for id, schema in self.schemas.items() if name_of(schema) == name]
        if not named:
            raise UnknownSchema(f"the histories file holds no schema of {name}")
        return named[-1]

    def _header(self, line: bytes) -> None:
        self.bytes_read += len(line)
        try:
            header = _line(line)
        except (msgspec.DecodeError, UnicodeError):
            header = {}
        if header.get("format") != FORMAT:
            raise Trouble(f"{self.path} is no histories file.", "`threadlog histories export` makes one.")
        if header.get("version") != VERSION:
            raise Trouble(
                f"{self.path} is of version {header.get('version')} of the format, this threadlog reads {VERSION}.",
                "Read it with the threadlog that wrote it, or a newer one.",
            )

    def _mine(self, number: int, line: bytes, named: bytes) -> Entry | None:
        """The entry, if its thread falls to this reader. `named`: the thread's name as it stands in the line, of which
        the rest is not parsed for that; it is parsed itself where it has escapes, of which there is a choice."""
        index, readers = self.share
        try:
            name = _name(b'"%b"' % named).encode() if b"\\" in named else named
            if readers > 1 and zlib.crc32(name) % readers != index:
                return None
            entry = _entry(line)
        except (msgspec.DecodeError, UnicodeError, binascii.Error, RecursionError) as error:
            raise self._trouble(number, f"is no entry: {error}") from error
        return entry if self.threads is None or entry.thread in self.threads else None

    def _other(self, number: int, line: bytes) -> dict[str, Any] | None:
        try:
            read = _line(line)
            if "schema" in read:
                schema = read["schema"]
                self.schemas[schema["id"]] = Schema(schema["kind"], schema["text"])
                return None
            if isinstance(read["end"], dict):
                return read["end"]
        except (msgspec.DecodeError, UnicodeError, KeyError, TypeError):
            pass
        raise self._trouble(number, "is neither an entry nor a schema nor the end")

    def _trouble(self, number: int, what: str) -> Trouble:
        return Trouble(f"{self.path} is damaged: line {number} {what}.", "Export it again.")


def name_of(schema: Schema) -> str:
    """The name of a schema's records, "" where it has none."""
    if schema.kind == "PROTOBUF":
        return "threadlog.Note"
    try:
        read = _line(schema.text.encode())
    except (msgspec.DecodeError, UnicodeError):
        return ""
    if schema.kind == "JSON":
        return str(read.get("title", ""))
    space, name = str(read.get("namespace", "")), str(read.get("name", ""))
    return f"{space}.{name}" if space and "." not in name else name


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The histories files that are meant: files as they are, and of a folder every `*.jsonl`. Raises Trouble."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not inside:
            raise Trouble(f"{path} holds no *.jsonl.", "`threadlog histories export` makes one.")
        found += inside
    return found
