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
from ops.settings import Settings
from ops.voids import Void as Void
from ops.voids import complain as complain
from schemas.cloudevents import GENERATION
from schemas.codec import Codec, SchemaSource
from schemas.errors import Unreadable
from schemas.topics import TOPICS, kafka_name
from threadlog.entry import Entry
from threadlog.following import Head, judge
from wire.frames import Record
from wire.journal import entry_of
from wire.kafka import read_topic
from wire.registry import Registry

_CONNECT_S = 3
NO_HEAD = Head()


def check_broker(settings: Settings) -> None:
    """Raises Trouble at once where nothing listens: a client of Kafka would try for ten seconds and more."""
    for address in settings.bootstrap.split(","):
        host, _, port = address.rpartition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), _CONNECT_S):
            return
    raise Trouble(f"No broker listens at {settings.bootstrap}.", "Is the stack up? `threadlog status`.")


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
        raise Trouble(said, "Is the stack up? `threadlog status`.") from error


def whole_topic(settings: Settings, topic: str, partitions: Container[int] | None = None) -> Iterator[Record]:
    """Every committed record of a topic, or of some of its partitions. Raises Trouble where no broker answers."""
    with reading(settings, topic) as name:
        yield from read_topic(settings.bootstrap, name, partitions=partitions)


@dataclass
class Journal:
    """The valid entries of one thread, or of all, in the order of the log within each thread.

    By the reader's rule (`threadlog.following`). Iterating leaves out a void entry and notes it in `voids`; a reader
    calls `complain` at the end, so that nobody takes a broken history for a whole one.

    Where retention has cut a thread's history, all that is left of it is void, unless the reader can begin later:

    from_snapshot   with the thread's first entry that has a snapshot; `cut` counts what stands before it, by thread
    from_anywhere   for who needs the chain alone and not the state: where the beginning of a partition is gone, with
                    whatever entry of a thread is left in it
    """

    settings: Settings
    thread: str | None = None
    voids: list[Void] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)
    partitions: Container[int] | None = None
    from_snapshot: bool = False
    from_anywhere: bool = False
    cut: Counter[str] = field(default_factory=Counter)
    _lows: dict[int, int] = field(default_factory=dict, repr=False)

    @cached_property
    def codec(self) -> Codec:
        """The codec over the settings' registry."""
        return codec_of(self.settings)

    def __iter__(self) -> Iterator[Entry]:
        """The valid entries. Raises Trouble without a broker, RegistryUnavailable without a registry."""
        self.heads.clear()
        for record in whole_topic(self.settings, "agent-decisions", self.partitions):
            if (entry := self.take(record)) is not None:
                yield entry

    def take(self, record: Record) -> Entry | None:
        """The entry in the next record if it is valid; None, and a note in `voids`, if not; None for a repeat, and for
        another thread's."""
        low = self._lows.setdefault(record.partition, record.offset)
        if self.thread is not None and record.key != self.thread.encode():
            return None
        thread = "" if record.key is None else record.key.decode("utf-8", "backslashreplace")
        try:
            entry = entry_of(record.value, self.codec)
            head = self.heads.get(thread) or self._beginning(entry, low)
            if head is None:
                self.cut[thread] += 1
                return None
            standing, reason = judge(entry, thread, head)
            if standing == "void" and (writer := dict(record.headers).get(GENERATION)) is not None:
                reason = f"{reason} (written by generation {writer.decode('utf-8', 'replace')[:20]})"
        except Unreadable as error:
            standing, reason = "void", str(error)
        if standing == "void":
            self.voids.append(Void(thread, record.partition, record.offset, reason))
        if standing != "applied":
            return None
        self.heads[thread] = Head(entry.seq, entry.hash)
        return entry

    def _beginning(self, entry: Entry, low: int) -> Head | None:
        """The head before the first entry that is left of a thread; None where the history begins only later."""
        before = Head(entry.seq - 1, entry.prev)
        if self.from_anywhere and low > 0:
            return before
        if self.from_snapshot and entry.seq > 1:
            return None if entry.snapshot is None else before
        return NO_HEAD

    def complain(self) -> None:
        """Raises Trouble when an entry was void."""
        complain(self.voids, len(self.voids))
