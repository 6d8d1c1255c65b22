# SPDX-License-Identifier: Apache-2.0
"""Whether the journal has gone on from another history: letters say where to look, and the journal is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from msgspec.structs import replace

from ops.settings import Settings
from ops.stack import savepoints
from schemas.codec import Codec
from tests.ops.fakes import FakeKafka
from tests.ops.test_journal import story
from threadlog.entry import Entry
from wire import chains
from wire.chains import Broken, broken_since
from wire.control import CAUGHT_UP, STOPPED, Mark, Written

FIRST, LOST, THIRD, FOURTH = story("Ann", "Bob", "Cid", "Dan")
GAP = Broken(0, 1, "gap: seq 3 comes after seq 1")


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKafka]:
    """The journal of a thread whose second entry was lost, and that of another beside it."""
    fake = FakeKafka()
    for name in ("read_topic", "offsets_since", "first_offsets"):
        monkeypatch.setattr(chains, name, getattr(fake, name))
    for entry in (FIRST, THIRD, FOURTH):
        fake.add_entry(entry)
    fake.add_entry(replace(THIRD, thread="u").sealed())
    yield fake


def letter(
    kafka: FakeKafka, offset: int, key: str = "t", code: str = "void", topic: str = "agent-decisions",
    message: str = "gap: seq 3 comes after seq 1",
) -> None:  # fmt: skip
    """What the tools job has written of the record there."""
    told = {
        "exception": code,
        "message": message,
        "topic": f"threadlog.{topic}",
        "partition": "0",
        "offset": str(offset),
    }
    headers = [(f"__streams.errors.{name}", value.encode()) for name, value in told.items()]
    kafka.add("dead-letters", key.encode(), b"v", headers=headers)


def found(kafka: FakeKafka, ends: Mapping[int, int], since_ms: int = 0) -> Broken | None:
    return broken_since("b:1", "threadlog", Codec(kafka.schemas), ends, since_ms)


def test_journal_is_broken_where_a_letter_and_the_journal_say_so(kafka: FakeKafka) -> None:
    """By the first such entry behind the ends, though the one that is lost lies before them."""
    assert found(kafka, {}) is None
    letter(kafka, 1)
    letter(kafka, 2)
    assert found(kafka, {}) == GAP
    assert found(kafka, {0: 1}) == GAP
    assert found(kafka, {0: 2}) == Broken(0, 2, "gap: seq 4 comes after seq 1")


def test_journal_is_not_broken_by_what_is_healed(kafka: FakeKafka) -> None:
    """Before the ends of the state that was made anew, or told of before that."""
    letter(kafka, 1)
    letter(kafka, 2)
    assert found(kafka, {0: 3}) is None
    assert found(kafka, {}, since_ms=2) is None


@pytest.mark.parametrize("code, topic", [("truncated", "agent-decisions"), ("void", "agent-events")])
def test_journal_is_not_broken_by_other_letters(kafka: FakeKafka, code: str, topic: str) -> None:
    """Nor by those that say nothing, or are of no thread."""
    letter(kafka, 1, code=code, topic=topic)
    letter(kafka, 1, message="wrong hash: seq 3 was changed after it was written")
    kafka.add("dead-letters", b"t", b"v")
    kafka.add("dead-letters", None, b"v", headers=[("__streams.errors.exception", b"void")])
    assert found(kafka, {}) is None


def test_journal_is_not_broken_by_a_reader_that_had_missed_something(kafka: FakeKafka) -> None:
    """A tools job that retention has overtaken calls void what is valid: the journal is judged for itself."""
    kafka.topics["threadlog.agent-decisions"].clear()
    for entry in (FIRST, LOST, THIRD):
        kafka.add_entry(entry)
    letter(kafka, 2)
    assert found(kafka, {}) is None


@pytest.mark.parametrize("deleted", [True, False])
def test_thread_begins_late_only_where_its_beginning_was_deleted(kafka: FakeKafka, deleted: bool) -> None:
    """Not where it was rolled back."""
    letter(kafka, 1)
    if deleted:
        kafka.cut("agent-decisions", 1)
    else:
        del kafka.topics["threadlog.agent-decisions"][0]
    assert found(kafka, {}) == (None if deleted else Broken(0, 1, "gap: seq 3 comes after seq 0"))


@pytest.mark.parametrize("changed", [replace(THIRD, prev="0" * 64), b"no entry"], ids=["another's hash", "no entry"])
def test_journal_is_not_broken_by_what_a_stranger_wrote(kafka: FakeKafka, changed: Entry | bytes) -> None:
    """What carries no hash of its own, or is no entry, no state of ours goes on from."""
    del kafka.topics["threadlog.agent-decisions"][1:]
    if isinstance(changed, bytes):
        kafka.add("agent-decisions", b"t", changed)
    else:
        kafka.add_entry(changed)
    letter(kafka, 1)
    assert found(kafka, {}) is None


def test_doubt_ends_with_the_next_state_that_was_held_against_the_journal(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether that was made anew or not: what is void behind it counts, and nothing of before."""
    marks, settings, codec = list[Written](), Settings(), Codec(kafka.schemas)
    monkeypatch.setattr(savepoints, "read_marks", lambda *given: marks)
    letter(kafka, 1)
    assert "partition 0 offset 1: gap: seq 3" in savepoints.of_another_history(settings, codec)
    marks += [
        Written(0, 0, Mark(CAUGHT_UP, "conversation", "", "", {0: 2})),
        Written(1, 1, Mark(STOPPED, "conversation", "", "", {0: 9})),
    ]
    assert savepoints.of_another_history(settings, codec) == ""
    letter(kafka, 2)
    assert "partition 0 offset 2: gap: seq 4" in savepoints.of_another_history(settings, codec)
