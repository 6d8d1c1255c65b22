# SPDX-License-Identifier: Apache-2.0
"""Journal entries as Kafka holds them."""

from __future__ import annotations

import base64

from schemas.codec import Codec
from schemas.errors import Unreadable
from threadlog.entry import Entry

TOPIC, TYPE = "agent-decisions", "threadlog.Decision"


def entry_of(value: bytes | None, codec: Codec) -> Entry:
    """The entry in a record's value. Raises Unreadable where there is none, RegistryUnavailable."""
    type_, _, data = codec.decode(value)
    if type_ != TYPE:
        raise Unreadable("foreign", f"a {type_}, expected a {TYPE}")
    data["input"]["value"] = base64.b64decode(data["input"]["value"])
    return Entry.from_dict(data)
