# SPDX-License-Identifier: Apache-2.0
"""When the watch calls a decision lost, and when it may not."""

from __future__ import annotations

import os
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from ops.settings import Settings
from ops.watching.inputs import PASSED_S
from ops.watching.watch import Watch
from schemas.codec import Codec
from tests.ops.fakes import FakeKafka
from tests.ops.test_journal import story
from threadlog.entry import Entry
from wire.control import CAUGHT_UP, DROPPED, TYPE, Mark
from wire.frames import Record

LETTER = {"exception": b"history_cut", "topic": b"threadlog.agent-events", "partition": b"0"}


@pytest.mark.parametrize("held", [False, True], ids=["ended", "open"])
def test_watch_tells_of_a_lost_decision_before_the_thread_says_more(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """Once nothing is open that may still bring it. An entry that is void is there; it is told of as such."""
    ends = kafka.stable_ends("", [])
    monkeypatch.setattr("ops.watching.watch.StableEnds", lambda bootstrap, topics: ends)
    mine, yours = story("Ann", "Bob", "Cid"), story("Dan")
    for key in (b"u", b"t", b"t", b"t", b"v"):
        kafka.add("agent-events", key, b"v")
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    written = [told_of(mine[0], 1), told_of(mine[2], 3), told_of(yours[0], 4, "v")]  # lost: 0 of u, and 2 of t
    records = [*kafka.topics["threadlog.agent-events"], *(kafka.add_entry(entry) for entry in written)]
    told = [news.record["alarm"] for record in records for news in watch.take(record, 0.0)]
    if held:
        ends.held = {("threadlog.agent-decisions", 0): 2}
    looks = [[news.record for news in watch.look(now) if news.broken] for now in (PASSED_S - 1, PASSED_S, 99.0)]
    lost = [] if held else [("u", 0), ("t", 2)]
    assert told == ["void"]
    assert [(one["thread"], one["offset"]) for one in looks[1]] == lost
    assert (looks[0], looks[2], watch.counts(99.0)["lost"]) == ([], [], len(lost))


def test_watch_takes_a_dead_letter_for_a_decision(kafka: FakeKafka) -> None:
    """Such as of a thread whose history is cut: it has no entry, and the stack is well. One that tells nothing does
    not count."""
    for key in (b"u", b"v", b"t"):
        kafka.add("agent-events", key, b"v")
    letter = [(f"__streams.errors.{name}", told) for name, told in LETTER.items()]
    kafka.add("dead-letters", b"u", b"v", headers=[*letter, ("__streams.errors.offset", b"0")])
    kafka.add("dead-letters", b"v", b"v", headers=[*letter, ("__streams.errors.offset", b"one")])
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    kafka.add_entry(told_of(story("Ann")[0], 2))
    for topic in ("agent-events", "agent-decisions"):
        for record in kafka.topics[f"threadlog.{topic}"]:
            watch.take(record, 0.0)
    told = [news.record["offset"] for now in (PASSED_S, 99.0) for news in watch.look(now) if news.broken]
    assert (told, watch.counts(99.0)["lost"]) == ([1], 1)


def test_watch_calls_nothing_lost_whose_entry_may_be_deleted(kafka: FakeKafka) -> None:
    """Where a journal is kept shorter than its inputs: what is older than the first entry that is left. A record's time
    is its place, here."""
    for thread in "abcde":
        kafka.add("agent-events", thread.encode(), b"v")
    for offset in (0, 1, 2, 4):
        kafka.add_entry(told_of(story("Ann")[0], offset, "abcde"[offset]))
    kafka.cut("agent-decisions", 2)
    watch = Watch(Settings(brokers=os.environ["THREADLOG_BROKERS"]))
    for topic in ("agent-events", "agent-decisions"):
        for record in kafka.topics[f"threadlog.{topic}"]:
            watch.take(record, 0.0)
    looks = [[news.record for news in watch.look(now) if news.broken] for now in (PASSED_S, 99.0)]
    assert [[one["offset"] for one in look if one["alarm"] == "lost"] for look in looks] == [[3], []]


def test_watch_waits_for_a_partition_that_the_broker_does_not_tell_of(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was open there may still bring the entry."""
    for thread in "ab":
        kafka.add("agent-events", thread.encode(), b"v")
    records = [*kafka.topics["threadlog.agent-events"], kafka.add_entry(told_of(story("Ann")[0], 1, "b"))]
    ends = kafka.stable_ends("", [])
    monkeypatch.setattr("ops.watching.watch.StableEnds", lambda bootstrap, topics: ends)
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    for record in records:
        watch.take(record, 0.0)
    ends.held = {("threadlog.agent-decisions", 0): 0}
    told = dict(ends.look())
    looks = []
    for now, these in ((PASSED_S, told), (20.0, {}), (30.0, {place: (end, end) for place, (_, end) in told.items()})):
        monkeypatch.setattr(ends, "look", lambda these=these: these)
        looks.append([news.record["offset"] for news in watch.look(now) if news.broken])
    assert looks == [[], [], [0]]


def told_of(entry: Entry, offset: int, thread: str = "t") -> Entry:
    """The entry as if it were made of the input at that offset."""
    return resealed(entry, thread=thread, input=replace(entry.input, topic="agent-events", partition=0, offset=offset))


def resealed(entry: Entry, **changes: Any) -> Entry:
    """Changed, and with the hash of what it says now."""
    changed = replace(entry, **changes)
    return replace(changed, hash=changed.computed_hash())


def add_rebuild(kafka: FakeKafka, end: int) -> list[Record]:
    """What a rebuild leaves in agent-control."""
    marks = [Mark(DROPPED, "conversation", "", "", {}), Mark(CAUGHT_UP, "conversation", "", "file:/s", {0: end})]
    told = [{**asdict(mark), "journal": {str(p): at for p, at in mark.journal.items()}} for mark in marks]
    return [kafka.add("agent-control", b"conversation", Codec(kafka.schemas).encode(TYPE, one)) for one in told]


def test_watch_calls_nothing_lost_that_retention_has_taken_since_it_was_read(kafka: FakeKafka) -> None:
    """The conversation was down meanwhile, and goes on without it. What is left and was passed over is lost."""
    for thread in "abcd":
        kafka.add("agent-events", thread.encode(), b"v")
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    for record in [*kafka.topics["threadlog.agent-events"], kafka.add_entry(told_of(story("Ann")[0], 3, "d"))]:
        watch.take(record, 0.0)
    kafka.cut("agent-events", 2)
    looks = [[news.record["offset"] for news in watch.look(now) if news.broken] for now in (PASSED_S, 99.0)]
    assert (looks, watch.counts(99.0)["lost"]) == ([[2], []], 1)


@pytest.mark.parametrize("begins", ["before", "after"])
def test_watch_calls_nothing_lost_that_a_rebuild_decides_anew(kafka: FakeKafka, begins: str) -> None:
    """The job reads its inputs from their beginning, so what was passed over before is decided yet: also for a watch
    that begins meanwhile, and for one that sees somebody else do it. What is passed over after that is lost."""
    for thread in "abcde":
        kafka.add("agent-events", thread.encode(), b"v")
    for offset in (1, 2):
        kafka.add_entry(told_of(story("Ann")[0], offset, "abcde"[offset]))
    records = [*kafka.topics["threadlog.agent-events"], *kafka.topics["threadlog.agent-decisions"]]
    marks = add_rebuild(kafka, 2) if begins == "after" else []
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    for record in [*records, *(marks or add_rebuild(kafka, 2))]:
        watch.take(record, 0.0)
    assert [news for news in watch.look(PASSED_S) if news.broken] == []
    watch.take(kafka.add_entry(told_of(story("Ann")[0], 4, "e")), 20.0)
    assert [(news.record["offset"], news.mark) for news in watch.look(20.0) if news.broken] == [(0, 1), (3, 1)]
