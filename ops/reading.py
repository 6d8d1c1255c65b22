# SPDX-License-Identifier: Apache-2.0
"""Reading topics for people: records decoded, a thread's journal followed by the reader's rule."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from confluent_kafka import KafkaException

from ops.context import Trouble
from ops.settings import Settings
from schemas.codec import Codec
from schemas.errors import RegistryUnavailable, Unreadable
from schemas.topics import TOPICS, kafka_name
from threadlog.entry import Entry
from wire.frames import Record
from wire.kafka import read_topic
from wire.registry import Registry


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
    try:
        yield from read_topic(settings.bootstrap, name_of(settings, topic))
    except (KafkaException, KeyError) as error:
        raise Trouble(
            f"{topic} cannot be read from {settings.bootstrap}: {error}", "Is the stack up? `threadlog status`."
        ) from error


def journal(settings: Settings, thread: str | None = None) -> Iterator[Entry]:
    """The valid entries of one thread, or of all, in the order of the log within each thread.

    The reader's rule: an entry that does not continue its thread's head is void and left out."""
    codec, heads = codec_of(settings), dict[str, str]()
    wanted = None if thread is None else thread.encode()
    for record in whole_topic(settings, "agent-decisions"):
        if wanted is not None and record.key != wanted:
            continue
        try:
            _, _, data = codec.decode(record.value)
        except (Unreadable, RegistryUnavailable) as error:
            raise Trouble(
                f"The journal cannot be decoded: {error}", "Is the registry up? `threadlog status`."
            ) from error
        data["input"]["value"] = base64.b64decode(data["input"]["value"])
        entry = Entry.from_dict(data)
        if entry.prev == heads.get(entry.thread, ""):
            heads[entry.thread] = entry.hash
            yield entry
