# SPDX-License-Identifier: Apache-2.0
"""Journal entries as Kafka holds them."""

from __future__ import annotations

from schemas.codec import Codec
from threadlog.entry import Entry

TOPIC, TYPE = "agent-decisions", "threadlog.Decision"


def entry_of(value: bytes | None, codec: Codec) -> Entry:
    """The entry in a record's value. Raises Unreadable where there is none, RegistryUnavailable."""
    return Entry.from_dict(codec.decode_own(value, TYPE))
