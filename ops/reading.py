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
from ops.voids import Void as Void
from ops.voids import complain as complain
from schemas.codec import Codec
from schemas.errors import Unreadable
from schemas.topics import TOPICS, kafka_name
from threadlog.entry import Entry
from wire.frames import Record
from wire.kafka import read_topic
from wire.registry import Registry

_CONNECT_S = 3


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


@dataclass
class Journal:
    """The valid entries of one thread, or of all, in the order of the log within each thread.

    The reader's rule: an entry that does not continue its thread's head is void. Iterating leaves it out and notes it
    in `voids`; a reader calls `complain` at the end, so that nobody takes a broken history for a whole one."""

    settings: Settings
    thread: str | None = None
    voids: list[Void] = field(default_factory=list)

    def __iter__(self) -> Iterator[Entry]:
        """The valid entries. Raises Trouble without a broker, RegistryUnavailable without a registry."""
        codec, heads = codec_of(self.settings), dict[str, tuple[int, str]]()
        wanted = None if self.thread is None else self.thread.encode()
        for record in whole_topic(self.settings, "agent-decisions"):
            if wanted is not None and record.key != wanted:
                continue
            thread = "" if record.key is None else record.key.decode("utf-8", "backslashreplace")
            try:
                entry = entry_of(record, codec)
                reason = why_void(entry, thread, *heads.get(thread, NO_HEAD))
            except Unreadable as error:
                reason = str(error)
            if reason:
                self.voids.append(Void(thread, record.partition, record.offset, reason))
            else:
                heads[thread] = entry.seq, entry.hash
                yield entry

    def complain(self) -> None:
        """Raises Trouble when an entry was void."""
        complain(self.voids, len(self.voids))


def entry_of(record: Record, codec: Codec) -> Entry:
    """The entry in a record of the journal. Raises Unreadable when there is none."""
    data = codec.decode_ours(record.value, "threadlog.Decision")
    return Entry.from_dict(data)


NO_HEAD = (0, "")  # of a thread that has no entry yet


def why_void(entry: Entry, key: str, at: int, head: str) -> str:
    """Why an entry does not continue its thread, whose head is entry `at` with this hash; empty when it does."""
    if entry.thread != key:
        return f"wrong key: the entry is of thread {entry.thread}"
    if entry.computed_hash() != entry.hash:
        return f"wrong hash: seq {entry.seq} was changed after it was written"
    if entry.seq > at + 1:
        return f"gap: seq {entry.seq} comes after seq {at}"
    if entry.seq <= at:
        return f"fork: seq {entry.seq} was told before"
    if entry.prev != head:
        return f"fork: seq {entry.seq} continues another history"
    return ""
