# SPDX-License-Identifier: Apache-2.0
"""How far back the watch looks before it tells that a decision is lost."""

from __future__ import annotations

from msgspec.structs import replace

from ops.settings import Settings
from ops.watching.inputs import PASSED_S
from ops.watching.watch import Watch
from tests.ops.fakes import FakeKafka
from tests.ops.test_journal import story
from threadlog.entry import Entry

JOURNAL = "threadlog.agent-decisions"


def told_of(entry: Entry, offset: int, thread: str) -> Entry:
    """The entry as if it were made of the event at that offset."""
    changed = replace(
        entry, thread=thread, input=replace(entry.input, topic="agent-events", partition=0, offset=offset)
    )
    return replace(changed, hash=changed.computed_hash())


def test_watch_looks_for_entries_from_the_oldest_suspect_on(kafka: FakeKafka) -> None:
    """Of two inputs that were passed over the first has a void entry, written before the second came: only the second
    decision is lost."""
    for key in (b"before", b"void", b"lost", b"last"):
        kafka.add("agent-events", key, b"v")
    [first], mine, [last] = story("Ann"), story("Bob", "Cid"), story("Dan")
    journal = [told_of(first, 0, "before"), told_of(mine[1], 1, "void"), told_of(last, 3, "last")]
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    records = [*kafka.topics["threadlog.agent-events"], *(kafka.add_entry(entry) for entry in journal)]
    told = [news.record["alarm"] for record in records for news in watch.take(record, 0.0)]
    lost = [news.record for news in watch.look(PASSED_S) if news.broken]
    assert told == ["void"]
    assert [(one["thread"], one["offset"]) for one in lost] == [("lost", 2)]


def test_kafka_in_memory_finds_offsets_by_time(kafka: FakeKafka) -> None:
    """The first of that time or later in each partition, else the partition's end."""
    for partition in (0, 1, 0, 1):
        kafka.add("agent-decisions", b"t", b"v", partition)
    assert kafka.offsets_since("", JOURNAL, 0) == {0: 0, 1: 0}
    assert kafka.offsets_since("", JOURNAL, 2) == {0: 1, 1: 1}
    assert kafka.offsets_since("", JOURNAL, 3) == {0: 2, 1: 1}
    assert [r.offset for r in kafka.read_topic("", JOURNAL, {0: 2, 1: 1})] == [1]
