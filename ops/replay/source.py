# SPDX-License-Identifier: Apache-2.0
"""Where a replay reads: histories files, or the journal. Both give entries, and the schemas to read their inputs by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ops.reading import Journal, Void, schemas_of
from ops.replay.histories import Histories
from ops.settings import Settings
from schemas.codec import SchemaSource
from threadlog.entry import Entry

_PARTITIONS = 1 << 16  # more than any topic has


class Source(Protocol):
    """Entries; `schemas` may only be asked for what the entries so far need."""

    schemas: SchemaSource
    cut: Counter[str]

    @property
    def voids(self) -> list[Void]:
        """Entries that do not continue their thread, as far as the reader has judged that."""

    def __iter__(self) -> Iterator[Entry]:
        """The entries, in the order of its chain for each thread."""


@dataclass
class FileSource:
    """The threads of a file that fall to this one of so many readers."""

    path: Path
    share: tuple[int, int]
    threads: frozenset[str] | None = None
    cut: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._file = Histories(self.path, self.share, self.threads)
        self.schemas: SchemaSource = self._file

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._file)

    @property
    def voids(self) -> list[Void]:
        """None: whoever follows the entries finds them."""
        return []


class JournalSource:
    """The journal's partitions that fall to this one of so many readers; a thread lies in one partition."""

    def __init__(self, settings: Settings, share: tuple[int, int], threads: frozenset[str] | None = None) -> None:
        index, readers = share
        partitions = range(index, _PARTITIONS, readers)
        self._threads = threads
        one = next(iter(threads)) if threads and len(threads) == 1 else None
        self._journal = Journal(settings, one, partitions=partitions, from_snapshot=True)
        self.schemas = schemas_of(settings)
        self.cut = self._journal.cut

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entry in self._journal if self._threads is None or entry.thread in self._threads)

    @property
    def voids(self) -> list[Void]:
        """What is void of these threads."""
        return [void for void in self._journal.voids if self._threads is None or void.thread in self._threads]
