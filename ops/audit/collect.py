# SPDX-License-Identifier: Apache-2.0
"""What the log holds of the threads that a selection is about: records as they lie there, and what they are read with.

The journal is read twice where it must first be found out which threads match; what comes between is in the second."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from ops.audit import heads
from ops.audit.heads import AuditHead
from ops.audit.selection import Selection
from ops.audit.signing import JOURNAL, TOPIC
from ops.context import Trouble
from ops.reading import Journal, Void, whole_topic
from ops.settings import Settings
from schemas.codec import Codec, Schema
from schemas.errors import UnknownSchema
from threadlog.entry import Entry
from wire.frames import Record
from wire.registry import Registry

# A bundle is made in memory and read by people: what is larger is asked for in parts.
BUNDLE_BYTES_MAX = 256 * 1024 * 1024


@dataclass
class Story:
    """What the log holds of one thread. `marked`: the numbers of the entries that answer the question."""

    thread: str
    entries: list[tuple[Record, Entry]] = field(default_factory=list)
    marked: set[int] = field(default_factory=set)
    voids: list[tuple[Record, Void]] = field(default_factory=list)
    heads: list[tuple[Record, AuditHead | None]] = field(default_factory=list)
    vouched: list[AuditHead] = field(default_factory=list)  # heads whose key signed them, whoever has that key

    @property
    def first_seq(self) -> int:
        """Number of the first entry that is left; 0 where there is none."""
        return self.entries[0][1].seq if self.entries else 0

    @property
    def last_seq(self) -> int:
        """Number of the last entry; 0 where there is none."""
        return self.entries[-1][1].seq if self.entries else 0

    @property
    def signed_seq(self) -> int:
        """The last entry that is signed, by whatever key; 0 where there is none."""
        return max((head.seq for head in self.vouched), default=0)

    @property
    def signed_first_seq(self) -> int:
        """The first entry that the log held by the latest word of the signer."""
        return max((head.first_seq for head in self.vouched), default=0)


@dataclass
class Collected:
    """Everything that goes into a bundle."""

    settings: Settings
    selection: Selection
    stories: list[Story]
    schemas: dict[int, Schema]
    codec: Codec


def collect(settings: Settings, selection: Selection) -> Collected:
    """What the log holds of the threads that match. Raises Trouble, also where there are none or too much of them."""
    # Before the journal: a head that is signed meanwhile is of an entry that may lie behind what is read of it.
    signed = list(whole_topic(settings, TOPIC))
    journal = Journal(settings, from_anywhere=True)
    wanted = _matching(settings, selection, journal.codec)
    stories = _stories(settings, selection, wanted, journal)
    _add_heads(signed, stories, journal.codec)
    found = [stories[name] for name in sorted(stories) if stories[name].entries or stories[name].voids]
    if not found:
        raise Trouble("Nothing in the journal matches.", "`threadlog tail agent-decisions` shows what it holds.")
    registry = Registry(settings.registry_url)
    return Collected(settings, selection, found, _schemas(found, registry), journal.codec)


def _matching(settings: Settings, selection: Selection, codec: Codec) -> set[str]:
    """The threads that match, by one reading of the journal, or by name alone."""
    if selection == Selection(threads=selection.threads) and selection.threads:
        return set(selection.threads)
    met = defaultdict[str, set[str]](set)
    for entry in Journal(settings, from_anywhere=True):
        if selection.may_hold(entry.thread):
            met[entry.thread] |= selection.met(entry, codec)
    return {thread for thread, found in met.items() if selection.needed <= found}


def _stories(settings: Settings, selection: Selection, wanted: set[str], journal: Journal) -> dict[str, Story]:
    stories, keys, size = {name: Story(name) for name in wanted}, {name.encode(): name for name in wanted}, 0
    for record in whole_topic(settings, JOURNAL):
        voids = len(journal.voids)
        entry = journal.take(record)  # all of them: where retention has cut a partition is seen at its first record
        name = keys.get(record.key or b"")
        if name is None:
            continue
        size += len(record.value or b"")
        if size > BUNDLE_BYTES_MAX:
            raise Trouble(
                f"What matches is larger than {BUNDLE_BYTES_MAX:,} bytes.",
                "Ask for less: fewer threads, a shorter time.",
            )
        if entry is None:
            if len(journal.voids) > voids:  # or else it is the head again, which is harmless
                stories[name].voids.append((record, journal.voids[-1]))
            continue
        stories[name].entries.append((record, entry))
        if selection.met(entry, journal.codec):
            stories[name].marked.add(entry.seq)
    return stories


def _add_heads(signed: list[Record], stories: dict[str, Story], codec: Codec) -> None:
    keys = {name.encode(): story for name, story in stories.items()}
    for record in signed:
        story = keys.get(record.key or b"")
        if story is None:
            continue
        head = heads.read(codec, record.value)
        story.heads.append((record, head))
        if head is not None and head.thread == story.thread and head.is_signed_by(head.key):
            story.vouched.append(head)


def _schemas(stories: list[Story], registry: Registry) -> dict[int, Schema]:
    """The schemas of the records, and of the inputs inside them."""
    values = [record.value for story in stories for record, _ in (*story.entries, *story.heads)]
    values += [entry.input.value for story in stories for _, entry in story.entries]
    found: dict[int, Schema] = {}
    for id in {int.from_bytes(value[1:5], "big") for value in values if value and value[0] == 0}:
        try:
            found[id] = registry.by_id(id)
        except UnknownSchema:
            continue  # what cannot be read has no schema: the verifier and the narrative say so
    return found
