# SPDX-License-Identifier: Apache-2.0
"""Whether a state holds decisions that the log lacks: found where it is so, and only there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from schemas.codec import Codec
from tests.ops.fakes import FakeKafka, FakeTopic
from tests.ops.test_journal import story
from wire import chains, decided
from wire.decided import _together, lost_at_the_end, without_thread

LETTER = {"exception": b"history_cut", "topic": b"threadlog.agent-events", "partition": b"0"}
READ = {"agent-events/0": 3}


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKafka]:
    """Three events, for t, u and v."""
    fake = FakeKafka()
    for name in ("read_topic", "offsets_since"):
        monkeypatch.setattr(decided, name, getattr(fake, name))
    monkeypatch.setattr(
        decided, "bounds", lambda _, name: {p: (low, 99) for (topic, p), low in fake.lows.items() if topic == name}
    )
    monkeypatch.setattr(
        decided,
        "TopicReader",
        lambda _, topic: FakeTopic(fake.topics.get(topic, []), low=fake.first_offsets("", topic)),
    )
    monkeypatch.setattr(decided, "settled_ends", lambda bootstrap, topic: {})
    monkeypatch.setattr(chains, "first_offsets", fake.first_offsets)
    for thread in (b"t", b"u", b"v"):
        fake.add("agent-events", thread, b"v")
    yield fake


def entry(kafka: FakeKafka, offset: int, topic: str = "agent-events") -> None:
    """A decision on the input there."""
    made = replace(story("Ann")[0], thread=f"t{offset}-{topic}")
    kafka.add_entry(replace(made, input=replace(made.input, topic=topic, partition=0, offset=offset)).sealed())


def lost(kafka: FakeKafka, read: dict[str, int] | None = None) -> int | None:
    """The offset that a state which has read so far has decided in vain."""
    found = lost_at_the_end("b:1", "threadlog", Codec(kafka.schemas), READ if read is None else read)
    return None if found is None else found[2]


def test_state_is_ahead_where_the_last_record_it_read_is_decided_nowhere(kafka: FakeKafka) -> None:
    """Or one of the last: another subtask may have decided that, and its commit was not lost."""
    for offset in (0, 2):
        entry(kafka, offset)
    entry(kafka, 1, "tool-results")
    kafka.add("agent-decisions", b"v", b"no entry")
    assert lost(kafka) == 1
    entry(kafka, 1)
    assert lost(kafka) is None


def test_state_is_ahead_by_an_input_whose_only_entry_is_void(kafka: FakeKafka) -> None:
    """By the reader's rule: what goes on behind a lost commit has decided nothing."""
    for offset in (0, 1):
        entry(kafka, offset)
    first, _, third = story("Bob", "Cid", "Dan")
    kafka.add_entry(first)
    kafka.add_entry(replace(third, input=replace(third.input, topic="agent-events", partition=0, offset=2)).sealed())
    assert lost(kafka) == 2


def test_state_is_not_ahead_by_what_it_has_not_read(kafka: FakeKafka) -> None:
    """Nor by a partition that is not there any more."""
    for offset in (0, 1):
        entry(kafka, offset)
    assert lost(kafka, {"agent-events/0": 2, "agent-events/1": 7, "agent-signals/0": 0}) is None


def test_state_is_not_ahead_by_a_dead_letter(kafka: FakeKafka) -> None:
    for offset in (0, 1):
        entry(kafka, offset)
    letter = [(f"__streams.errors.{name}", told) for name, told in LETTER.items()]
    kafka.add("dead-letters", b"v", b"v", headers=[*letter, ("__streams.errors.offset", b"2")])
    assert lost(kafka) is None


@pytest.mark.parametrize("count", [1, 250])
def test_state_is_not_ahead_by_records_of_no_thread(kafka: FakeKafka, count: int) -> None:
    """They have no entry. The last record before them tells, however far that is."""
    for offset in (0, 1):
        entry(kafka, offset)
    for _ in range(count):
        kafka.add("agent-events", None, b"v")
    read = {"agent-events/0": 3 + count}
    assert lost(kafka, read) == 2
    entry(kafka, 2)
    assert lost(kafka, read) is None


@pytest.mark.parametrize("left", [2, 0])
def test_state_is_not_ahead_by_what_retention_may_have_taken(kafka: FakeKafka, left: int) -> None:
    """A journal that is kept shorter than its inputs. A record's time is its place, here: what is left of the journal
    begins after the last event, or nothing is."""
    for offset in range(5):
        entry(kafka, offset, "tool-results")
    kafka.cut("agent-decisions", 5 - left)
    assert lost(kafka) is None


def test_letters_of_records_without_a_thread_are_found(kafka: FakeKafka) -> None:
    """Those of the conversation: of what both jobs read, the generation tells. Letters about threads tell nothing."""
    headers = [(f"__streams.errors.{name}", told) for name, told in LETTER.items()]
    for key, offset in ((None, b"1"), (b"v", b"2"), (b"\xff", b"4"), (None, b"?")):
        kafka.add("dead-letters", key, b"v", headers=[*headers, ("__streams.errors.offset", offset)])
    found = without_thread("b:1", "threadlog")
    assert found == {("agent-events", 0, 1), ("agent-events", 0, 4)}


def test_what_is_asked_about_is_looked_for_where_it_may_be() -> None:
    """What lies close together at once; a quiet partition's last record is weeks old, and its own."""
    week = 7 * 24 * 3_600_000
    asked = {("agent-events", p, 1): time_ms for p, time_ms in enumerate((week, 0, week + 59_000, week + 118_000))}
    assert [sorted(some.values()) for some in _together(asked)] == [[0], [week, week + 59_000, week + 118_000]]
    assert list(_together({})) == []
