# SPDX-License-Identifier: Apache-2.0
"""What a signer has signed, in a file beside its key, out of reach of those who run the stack.

`audit-heads` says it too, but who has the cluster can write over a head, and compaction then takes it: a log that was
written anew would be signed as if nothing had been."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ops.context import Trouble

_TABLE = """\
CREATE TABLE IF NOT EXISTS signed (
    namespace TEXT, thread TEXT, first_seq INTEGER, seq INTEGER, hash TEXT, time_ms INTEGER,
    PRIMARY KEY (namespace, thread)
) WITHOUT ROWID"""
# Another signer with the same key may have come further meanwhile.
_KEEP = """\
INSERT INTO signed VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET first_seq = excluded.first_seq, seq = excluded.seq, hash = excluded.hash, time_ms = excluded.time_ms
WHERE excluded.seq >= signed.seq"""


class Stand(NamedTuple):
    """Where the chain of a thread stands, as the log has it or as it was signed."""

    first_seq: int
    seq: int
    hash: str
    time_ms: int


@dataclass(frozen=True)
class Memory:
    """An SQLite file, made when it is first asked. Raises Trouble for one that cannot be used."""

    path: Path

    @classmethod
    def beside(cls, key: Path) -> Memory:
        """Of the signer with this private key."""
        return cls(key.with_name(f"{key.name}.signed"))

    def of(self, namespace: str) -> dict[str, Stand]:
        """The last that was signed of each thread of this journal."""
        with self._opened() as database:
            rows = database.execute(
                "SELECT thread, first_seq, seq, hash, time_ms FROM signed WHERE namespace = ?", (namespace,)
            )
            return {thread: Stand(*stand) for thread, *stand in rows}

    def keep(self, namespace: str, stands: Mapping[str, Stand]) -> None:
        """Remember what was signed; on the disk when this returns."""
        rows = [(namespace, thread, *stand) for thread, stand in stands.items()]
        with self._opened() as database, database:
            database.executemany(_KEEP, rows)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path)) as database:
                database.execute(_TABLE)
                yield database
        except sqlite3.Error as error:
            raise Trouble(
                f"{self.path} does not take what was signed: {error}.", "It lies beside the key, and must be writable."
            ) from error
