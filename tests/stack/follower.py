# SPDX-License-Identifier: Apache-2.0
"""What a reader of committed records has seen, from the first record on and through every crash of this session."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from ops.settings import Settings
from schemas.codec import Codec
from schemas.topics import kafka_name
from threadlog.entry import Entry
from wire.frames import Record
from wire.kafka import TopicReader, follow
from wire.registry import Registry

INPUTS = ("agent-events", "human-feedback", "tool-results", "agent-signals")
OUTPUTS = ("agent-decisions", "dead-letters", "agent-replies")
# A guard against what never comes: a slow machine takes many times as long as a quick one.
PATIENCE_S = 240.0
R = TypeVar("R")
Place = tuple[str, int, int]


@dataclass(frozen=True)
class Seen:
    """One entry of the journal, the record that held it, and when it was seen (time.monotonic)."""

    entry: Entry
    record: Record
    at: float

    @cached_property
    def effects(self) -> list[dict[str, Any]]:
        """What the decision asked for."""
        found: list[dict[str, Any]] = json.loads(self.entry.effects)
        return found

    @cached_property
    def is_intact(self) -> bool:
        """Whether the entry's hash is that of its fields."""
        return self.entry.hash == self.entry.computed_hash()


class Growing:
    """What a topic holds: each record is read once, however often one looks."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._place = settings.bootstrap, kafka_name(settings.namespace, topic)
        self._read: dict[int, int] = {}
        self._records: list[Record] = []

    def records(self) -> list[Record]:
        """Every record that is committed by now, or was when one looked before."""
        with TopicReader(*self._place) as reader:
            marks = reader.marks()
            first = {partition: max(low, self._read.get(partition, low)) for partition, (low, _) in marks.items()}
            end = {partition: high for partition, (_, high) in marks.items()}
            news = list(reader.read(first, end))  # all or nothing: what broke off is read again
        self._records += news
        self._read = end
        return self._records


class Follower:
    """Follows the output topics in a thread of its own; its lists only grow."""

    def __init__(self, settings: Settings) -> None:
        self._names = {kafka_name(settings.namespace, topic): topic for topic in OUTPUTS}
        self._settings, self._codec = settings, Codec(Registry(settings.registry_url))
        self._news, self._stopped = threading.Condition(), False
        self.inputs = {topic: Growing(settings, topic) for topic in INPUTS}
        self.journal: list[Seen] = []
        self.threads: dict[str, list[Seen]] = defaultdict(list)
        self.entries: dict[Place, list[Seen]] = defaultdict(list)
        self.letters: dict[Place, list[Record]] = defaultdict(list)
        self.replies: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        for record in follow(self._settings.bootstrap, list(self._names), from_start=True):
            if self._stopped:
                return
            if record is not None:
                with self._news:
                    self._take(record)
                    self._news.notify_all()

    def _take(self, record: Record) -> None:
        topic = self._names[record.topic]
        if topic == "dead-letters":
            self.letters[letter_place(record, self._settings.namespace)].append(record)
        elif topic == "agent-decisions":
            seen = Seen(entry_of(record, self._codec), record, time.monotonic())
            self.journal.append(seen)
            self.threads[seen.entry.thread].append(seen)
            if place := input_place(seen.entry):
                self.entries[place].append(seen)
        else:
            reply = self._codec.decode(record.value)[2]
            self.replies[reply["thread"], reply["event_id"]].append(reply)

    def wait(self, what: str, found: Callable[[], R | None], seconds: float = PATIENCE_S) -> R:
        """The first true value of `found`, asked whenever there is news; fails with `what` when the time is over."""
        until = time.monotonic() + seconds
        with self._news:
            while not (value := found()):
                if time.monotonic() > until:
                    raise AssertionError(f"not within {seconds:g} s: {what}")
                self._news.wait(0.2)
        return value

    def silence_s(self, since: float) -> float:
        """The longest time in which nothing became readable in the journal, from `since` (time.monotonic) on."""
        times = [since, *(seen.at for seen in self.journal if seen.at > since)]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._thread.join(timeout=10)


def entry_of(record: Record, codec: Codec) -> Entry:
    """The journal entry in a record."""
    data = codec.decode(record.value)[2]
    data["input"]["value"] = base64.b64decode(data["input"]["value"])
    return Entry.from_dict(data)


def input_place(entry: Entry) -> Place | None:
    """Where the log holds what was decided on; None for a timer."""
    return None if entry.kind == "timer" else (entry.input.topic, entry.input.partition, entry.input.offset)


def letter_place(letter: Record, namespace: str) -> Place:
    """Where the log holds the record that this dead letter is about."""
    said = reasons(letter)
    return said["topic"].removeprefix(f"{namespace}."), int(said["partition"]), int(said["offset"])


def reasons(letter: Record) -> dict[str, str]:
    """What a dead letter says is wrong, and where it was read."""
    return {name.rpartition(".")[2]: value.decode() for name, value in letter.headers if value and _ours(name)}


def original_headers(letter: Record) -> list[tuple[str, bytes | None]]:
    """The headers that the record came with."""
    return [(name, value) for name, value in letter.headers if not _ours(name)]


def _ours(name: str) -> bool:
    return name.startswith("__streams.errors.")
