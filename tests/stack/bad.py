# SPDX-License-Identifier: Apache-2.0
"""Every kind of bad record, each made from a good one, with what its dead letter says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from schemas.limits import TOPIC_MESSAGE_BYTES, VALUE_BYTES
from tests.stack.world import Event, World, fresh
from threadlog.limits import Limits

Make = Callable[[World, Event], Event]


@dataclass(frozen=True)
class Bad:
    """A kind of bad record: how a good event is made bad, the code and some words of its dead letter."""

    name: str
    make: Make
    code: str
    words: str = ""


def key(name: str, bytes_: bytes | None, topic: str = "agent-events") -> Bad:
    """A record whose key names no thread."""
    return Bad(name, lambda _, good: replace(good, key=bytes_, topic=topic), "illegal_key", "names no thread")


def value(name: str, make: Callable[[World, bytes], bytes | None], words: str, code: str = "unreadable") -> Bad:
    """A record whose value cannot be read."""
    return Bad(name, lambda world, good: replace(good, value=make(world, good.value or b"")), code, words)


def header(name: str, change: dict[str, bytes | None], words: str, twice: bool = False) -> Bad:
    """A record whose envelope is wrong: headers replaced, left out (None) or doubled."""

    def make(_: World, good: Event) -> Event:
        kept = [(n, v) for n, v in good.headers if twice or n not in change]
        return replace(good, headers=kept + [(n, v) for n, v in change.items() if v is not None])

    return Bad(name, make, "unreadable", words)


def misplaced(name: str, type: str, data: dict[str, Any], topic: str, code: str, words: str) -> Bad:
    """A readable record in a topic where it does not belong, or that nobody takes."""

    def make(world: World, good: Event) -> Event:
        assert good.key is not None
        return world.event(good.key.decode(), type, data, topic)

    return Bad(name, make, code, words)


def by_id(id: int) -> Callable[[World, bytes], bytes]:
    """The same payload under another schema id."""
    return lambda _, good: b"\0" + id.to_bytes(4, "big") + good[5:]


def tree(levels: int) -> Callable[[World, bytes], bytes]:
    """A record that is nested so deep."""
    return lambda world, _: b"\0" + world.ids["it.Tree"].to_bytes(4, "big") + b"\2" * levels + b"\0"


def padded(size: int) -> Callable[[World, bytes], bytes]:
    """A good record of so many bytes."""
    return lambda world, _: world.encode("it.Go", {"plan": "x" * (size - 8)})


NUMBER = {"x": math.inf}
RESULT = {
    "thread": "t", "run_id": "0" * 32, "ordinal": "0", "call_id": "0" * 40, "tool": "pay", "args_digest": "0" * 32,
    "quota_key": "pay", "status": "done", "value": "null", "error_type": "", "error_message": "", "asked_ms": 1,
    "finished_ms": 2, "attempts": [],
}  # fmt: skip

BATCHES: dict[str, list[Bad]] = {
    "keys": [
        key("null", None),
        key("empty", b""),
        key("not UTF-8", b"\xff\xfe"),
        key("a surrogate in UTF-8", b"\xed\xa0\x80"),
        key("oversize", b"k" * 513),
        key("a control character", b"a\0b"),
        key("null, of a person", None, "human-feedback"),
        key("null, of a signal", None, "agent-signals"),
        key("null, of a result", None, "tool-results"),
    ],
    "values": [
        value("null", lambda *_: None, "truncated"),
        value("empty", lambda *_: b"", "truncated"),
        value("no schema id", lambda _, good: good[:4], "truncated"),
        value("no magic byte", lambda _, good: b"\1" + good[1:], "magic"),
        value("plain JSON", lambda *_: b'{"plan": "look"}', "magic"),
        value("unknown schema id", by_id(999_999), "unknown_schema"),
        value("no payload", lambda _, good: good[:5], "truncated"),
        value("truncated", lambda _, good: good[:-1], "truncated"),
        value("trailing bytes", lambda _, good: good + b"!", "trailing"),
        value("not UTF-8", lambda _, good: good[:-1] + b"\xff", "payload"),
        value("no number", lambda world, _: world.encode("it.Number", NUMBER), "number"),
        value("deep", tree(65), "depth"),
        value("deeper", tree(5_000), "depth"),
        value("as deep as it fits", tree(800_000), "depth"),
    ],
    "sizes": [
        value("over the engine's limit", padded(Limits().event_bytes + 1), "event_bytes", "oversize"),
        value("over the entry's limit", padded(Limits().entry_bytes + 1), "event_bytes", "oversize"),
        value("over the wire's limit", padded(VALUE_BYTES + 1), "oversize"),
        value("near the topic's limit", padded(TOPIC_MESSAGE_BYTES - 128 * 1024), "oversize"),
    ],
    "envelopes": [
        header("no specversion", {"ce_specversion": None}, "ce_specversion"),
        header("wrong specversion", {"ce_specversion": b"0.3"}, "ce_specversion"),
        header("no id", {"ce_id": None}, "ce_id"),
        header("empty id", {"ce_id": b""}, "ce_id"),
        header("oversize id", {"ce_id": b"i" * 513}, "ce_oversize"),
        header("id not UTF-8", {"ce_id": b"\xff"}, "ce_utf8"),
        header("two ids", {"ce_id": b"another"}, "ce_twice", twice=True),
        header("no source", {"ce_source": None}, "ce_source"),
        header("no type", {"ce_type": None}, "ce_type"),
        header("wrong type", {"ce_type": b"it.More"}, "ce_type"),
        header("another subject", {"ce_subject": b"somebody"}, "ce_subject"),
        header("no time", {"ce_time": b"yesterday"}, "ce_time"),
        Bad("no headers at all", lambda _, good: replace(good, headers=[]), "unreadable", "ce_specversion"),
    ],
    "places": [
        misplaced("a result as an event", "threadlog.ToolResult", RESULT, "agent-events", "unreadable", "misplaced"),
        misplaced("an event as a result", "it.Go", {"plan": ""}, "tool-results", "unreadable", "misplaced"),
        misplaced("nobody's event", "it.Nobodys", {"text": "?"}, "agent-events", "refused", "no agent"),
        misplaced("an early approval", "it.More", {"text": "?"}, "human-feedback", "refused", "approvals"),
        misplaced("a strange signal", "threadlog.Signal", {
            "thread": "t", "name": "spawn", "from_thread": "", "run_id": "", "signal_id": "", "data": "{}",
        }, "agent-signals", "refused", "spawns nothing"),
    ],
}  # fmt: skip


def good_around(world: World, thread: str) -> Event:
    """A good event to stand before, between and behind bad ones."""
    return world.event(thread, "it.Go", {"plan": "look"}, id=fresh("good"))
