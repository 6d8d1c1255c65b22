# SPDX-License-Identifier: Apache-2.0
"""Reading topics for people: records decoded, a thread's journal followed by the reader's rule."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException

from ops.context import Trouble
from ops.settings import Settings
from schemas.codec import Codec
from schemas.errors import Unreadable
from schemas.topics import TOPICS, kafka_name
from threadlog.entry import Entry
from threadlog.following import Head, judge
from wire.frames import Record
from wire.journal import entry_of
from wire.kafka import read_topic
from wire.registry import Registry

_CONNECT_S = 3
VOIDS_SHOWN = 5
NO_HEAD = Head()


def check_broker(settings: Settings) -> None:
    """Raises Trouble at once where nothing listens: a client of Kafka would try for ten seconds and more."""
    for address in settings.bootstrap.split(","):
        host, _, port = address.rpartition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), _CONNECT_S):
            return
    raise Trouble(f"No broker listens at {settings.bootstrap}.", "Is the stack up? `threadlog status`.")


def codec_of(settings: Settings) -> Codec:
    """A codec over the settings' registry."""
    return Codec(Registry(settings.registry_url))


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


def whole_topic(settings: Settings, topic: str) -> Iterator[Record]:
    """Every committed record of a topic. Raises Trouble where the broker does not answer."""
    name = name_of(settings, topic)
    check_broker(settings)
    try:
        yield from read_topic(settings.bootstrap, name)
    except KafkaException as error:
        said = f"{topic} cannot be read from {settings.bootstrap}: {error.args[0].str()}."
        raise Trouble(said, "Is the stack up? `threadlog status`.") from error


@dataclass(frozen=True)
class Void:
    """A record of the journal that does not count: where it is, and what is wrong with it."""

    thread: str
    partition: int
    offset: int
    reason: str


@dataclass
class Journal:
    """The valid entries of one thread, or of all, in the order of the log within each thread.

    By the reader's rule (`threadlog.following`). Iterating leaves out a void entry and notes it in `voids`; a reader
    calls `complain` at the end, so that nobody takes a broken history for a whole one."""

    settings: Settings
    thread: str | None = None
    voids: list[Void] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Entry]:
        """The valid entries. Raises Trouble without a broker, RegistryUnavailable without a registry."""
        codec, wanted = codec_of(self.settings), None if self.thread is None else self.thread.encode()
        self.heads.clear()
        for record in whole_topic(self.settings, "agent-decisions"):
            if wanted is None or record.key == wanted:
                entry = self.take(record, codec)
                if entry is not None:
                    yield entry

    def take(self, record: Record, codec: Codec) -> Entry | None:
        """The entry in the next record if it is valid; None, and a note in `voids`, if not; None for a repeat."""
        thread = "" if record.key is None else record.key.decode("utf-8", "backslashreplace")
        try:
            entry = entry_of(record.value, codec)
            standing, reason = judge(entry, thread, self.heads.get(thread, NO_HEAD))
        except Unreadable as error:
            standing, reason = "void", str(error)
        if standing == "void":
            self.voids.append(Void(thread, record.partition, record.offset, reason))
        if standing != "applied":
            return None
        self.heads[thread] = Head(entry.seq, entry.hash)
        return entry

    def complain(self) -> None:
        """Raises Trouble when an entry was void."""
        if not self.voids:
            return
        told = [f"  {v.thread} at {v.partition}/{v.offset}: {v.reason}" for v in self.voids[:VOIDS_SHOWN]]
        more = len(self.voids) - len(told)
        lines = "\n".join([*told, *([f"  and {more} more"] if more else [])])
        raise Trouble(
            f"The journal is broken. Void and left out, {len(self.voids)}:\n{lines}",
            "docs/operations.md says what that means and what to do.",
        )
