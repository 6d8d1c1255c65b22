# SPDX-License-Identifier: Apache-2.0
"""Which threads a question is about, and which of their entries answer it.

A thread is exported whole as soon as it matches: the entries between are what its chain is proven with, and what was
left out of a story is the first thing that somebody asks about. The narrative marks what matched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from schemas.codec import Codec
from schemas.errors import Unreadable
from threadlog.decide import RESULT, RUN_COMMAND
from threadlog.entry import Entry


@dataclass(frozen=True)
class Selection:
    """What was asked for; an empty field asks for anything. Times in milliseconds of the Unix epoch, `to_ms` excluded.

    An entry lies in the window by the thread's time. Of one field any value will do; of several fields each must be
    met, by any entry in the window: a message of one actor and the call that it led to are two entries."""

    threads: frozenset[str] = frozenset()
    actors: frozenset[str] = frozenset()
    tools: frozenset[str] = frozenset()
    from_ms: int | None = None
    to_ms: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """As the manifest says it."""
        named = {"threads": self.threads, "actors": self.actors, "tools": self.tools}
        return {
            **{name: sorted(values) for name, values in named.items()},
            "from_ms": self.from_ms,
            "to_ms": self.to_ms,
        }

    def may_hold(self, thread: str) -> bool:
        """Whether a thread can match at all."""
        return not self.threads or thread in self.threads

    @property
    def needed(self) -> frozenset[str]:
        """What a thread's entries must meet together for the thread to match."""
        return frozenset(name for name, wanted in (("actor", self.actors), ("tool", self.tools)) if wanted) or _ANY

    def met(self, entry: Entry, codec: Codec) -> frozenset[str]:
        """What of `needed` an entry meets; an entry that meets anything answers the question."""
        if self.from_ms is not None and entry.time_ms < self.from_ms:
            return frozenset()
        if self.to_ms is not None and entry.time_ms >= self.to_ms:
            return frozenset()
        if self.needed == _ANY:
            return _ANY
        found = {"actor"} if self.actors and self.actors & actors(entry, codec) else set[str]()
        return frozenset(found | ({"tool"} if self.tools and self.tools & tools(entry, codec) else set()))


_ANY = frozenset({"entry"})


def data_of(entry: Entry, codec: Codec) -> dict[str, Any]:
    """The fields of an entry's input; empty where it has none or cannot be read. Raises RegistryUnavailable."""
    try:
        data = codec.decode(entry.input.value)[2] if entry.input.value else {}
    except Unreadable:
        return {}
    return data if isinstance(data, dict) else {}


def actors(entry: Entry, codec: Codec) -> set[str]:
    """Who brought an entry's input: its source, and the person whom a command about a run names."""
    found = {entry.input.source} - {""}
    if entry.input.type == RUN_COMMAND:
        found.add(str(data_of(entry, codec).get("who", "")))
    return found


def tools(entry: Entry, codec: Codec) -> set[str]:
    """The tools that an entry is about: those it calls, and those whose calls it ends or hears of."""
    found = {str(effect["tool"]) for effect in json.loads(entry.effects) if "tool" in effect}
    if entry.input.type == RESULT:
        found.add(str(data_of(entry, codec).get("tool", "")))
    return found
