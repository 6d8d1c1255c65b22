# SPDX-License-Identifier: Apache-2.0
"""Reading topics for people: records decoded, a thread's journal followed by the reader's rule."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from ops.context import Trouble
from ops.hints import hints
from ops.settings import Settings
from ops.voids import Void as Void
from ops.voids import complain as complain
from schemas.cloudevents import GENERATION
from schemas.codec import Codec, SchemaSource
from schemas.errors import Unreadable
from schemas.topics import TOPICS, kafka_name
from threadlog.entry import Entry
from threadlog.following import Head, head_before, judge
from threadlog.snapshots import state_before
from wire.frames import Record
from wire.journal import entry_of
from wire.kafka import first_offsets, read_topic
from wire.registry import Registry

_CONNECT_S = 3
_JOURNAL = "agent-decisions"
NO_HEAD = Head()


def check_broker(settings: Settings) -> None:
    """Raises Trouble at once where nothing listens: a client of Kafka would try for ten seconds and more."""
    for address in settings.bootstrap.split(","):
        host, _, port = address.rpartition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), _CONNECT_S):
            return
    raise Trouble(f"No broker listens at {settings.bootstrap}.", hints(settings).up)


def schemas_of(settings: Settings) -> SchemaSource:
    """The settings' registry."""
    return Registry(settings.registry_url)


def codec_of(settings: Settings) -> Codec:
    """A codec over the settings' registry."""
    return Codec(schemas_of(settings))


def name_of(settings: Settings, topic: str) -> str:
    """The Kafka name of a topic of ours."""
    if topic not in TOPICS:
        raise Trouble(f"There is no topic {topic!r}.", f"The topics are {', '.join(TOPICS)}.")
    return kafka_name(settings.namespace, topic)


def as_json(record: Record, codec: Codec) -> dict[str, Any]:
    """A record as one JSON object: where it is, its headers, its data or why it cannot be read."""
    shown: dict[str, Any] = {
        "topic": record.topic, "partition": record.partition, "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": None if record.key is None else record.key.decode("utf-8", "backslashreplace"),
        "headers": {k: None if v is None else v.decode("utf-8", "backslashreplace") for k, v in record.headers},
    }  # fmt: skip
    try:
        shown["type"], shown["schema_id"], shown["data"] = codec.decode(record.value)
    except Unreadable as error:
        shown["unreadable"] = str(error)
        shown["value_hex"] = None if record.value is None else record.value[:2000].hex()
    return shown


@contextlib.contextmanager
def reading(settings: Settings, topic: str) -> Iterator[str]:
    """The Kafka name of a topic that is read meanwhile. Raises Trouble where no broker answers, or not with that."""
    name = name_of(settings, topic)
    check_broker(settings)
    try:
        yield name
    except KafkaException as error:
        said = f"{topic} cannot be read from {settings.bootstrap}: {error.args[0].str()}."
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise Trouble(said, "`threadlog topics --ensure` makes missing topics.") from error
        raise Trouble(said, hints(settings).up) from error


def whole_topic(settings: Settings, topic: str, partitions: Container[int] | None = None) -> Iterator[Record]:
    """Every committed record of a topic, or of some of its partitions. Raises Trouble where no broker answers."""
    with reading(settings, topic) as name:
        yield from read_topic(settings.bootstrap, name, partitions=partitions)


@dataclass
class Journal:
    """The valid entries of one thread, or of all, in the order of the log within each thread.

    By the reader's rule (`threadlog.following`). Iterating leaves out a void entry and notes it in `voids`; a reader
    calls `complain` at the end, so that nobody takes a broken history for a whole one.

    Where retention has deleted the beginning of a partition, all that is left of a thread that began there is void,
    unless the reader can begin later. Its chain is then followed from the first entry that is left, and it is read

    from_snapshot   from its next snapshot on; `cut` has each such thread, and counts what is left of it before that
    from_anywhere   at once, by who needs the chain alone and not the state

    `lows`: the first offset that retention has left of each partition, for these two.
    """

    settings: Settings
    thread: str | None = None
    voids: list[Void] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)
    partitions: Container[int] | None = None
    from_snapshot: bool = False
    from_anywhere: bool = False
    cut: Counter[str] = field(default_factory=Counter)
    lows: dict[int, int] = field(default_factory=dict)
    _stateless: set[str] = field(default_factory=set, repr=False)  # threads that wait for their next snapshot

    @cached_property
    def codec(self) -> Codec:
        """The codec over the settings' registry."""
        return codec_of(self.settings)

    def __iter__(self) -> Iterator[Entry]:
        """The valid entries. Raises Trouble without a broker, RegistryUnavailable without a registry."""
        self.heads.clear()
        self._stateless.clear()
        for record in whole_topic(self.settings, _JOURNAL, self.partitions):
            if (entry := self.take(record)) is not None:
                yield entry

    def take(self, record: Record) -> Entry | None:
        """The entry in the next record if it is valid; None, and a note in `voids`, if not; None for a repeat, for
        another thread's, and for one before a thread's next snapshot. Raises as iterating does."""
        is_cut = self._is_cut(record)
        if self.thread is not None and record.key != self.thread.encode():
            return None
        thread = "" if record.key is None else record.key.decode("utf-8", "backslashreplace")
        try:
            entry = entry_of(record.value, self.codec)
            head = self.heads.get(thread)
            begins_late = head is None and is_cut and entry.seq > 1
            standing, reason = judge(entry, thread, head_before(entry, head or NO_HEAD, is_cut))
            if standing == "void" and (writer := dict(record.headers).get(GENERATION)) is not None:
                reason = f"{reason} (written by generation {writer.decode('utf-8', 'replace')[:20]})"
        except Unreadable as error:
            standing, reason = "void", str(error)
        if standing == "void":
            self.voids.append(Void(thread, record.partition, record.offset, reason))
        if standing != "applied":
            return None
        self.heads[thread] = Head(entry.seq, entry.hash)
        return entry if self._has_state(entry, begins_late) else None

    def _is_cut(self, record: Record) -> bool:
        """Whether this reader can begin later, and the beginning of a record's partition is deleted.

        The broker is asked, for a partition may also begin with what was aborted: a gap there is a gap."""
        if not (self.from_snapshot or self.from_anywhere):
            return False
        if record.partition not in self.lows:
            self.lows[record.partition] = self._firsts.get(record.partition, 0) if record.offset else 0
        return self.lows[record.partition] > 0

    @cached_property
    def _firsts(self) -> dict[int, int]:
        with reading(self.settings, _JOURNAL) as name:
            return first_offsets(self.settings.bootstrap, name)

    def _has_state(self, entry: Entry, begins_late: bool) -> bool:
        """Whether the state before a valid entry is known, as far as this reader needs it."""
        if not self.from_snapshot:
            return True
        if begins_late:
            self.cut[entry.thread] = 0
            self._stateless.add(entry.thread)
        if entry.thread in self._stateless:
            if state_before(entry) is None:
                self.cut[entry.thread] += 1
                return False
            self._stateless.remove(entry.thread)
        return True

    def complain(self) -> None:
        """Raises Trouble when an entry was void."""
        complain(self.voids, len(self.voids))
