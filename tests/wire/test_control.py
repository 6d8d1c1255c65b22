# SPDX-License-Identifier: Apache-2.0
"""Marks in agent-control, and the rule that a start of the conversation is held to."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import fastavro
import pytest
from confluent_kafka import KafkaError, KafkaException
from msgspec.structs import asdict

from schemas.codec import Codec, FixedSchemas, Schema, our_schema
from tests.udfs.fakes import FakeBroker
from wire import control, writing
from wire.control import (
    ACCEPTED,
    BRANCHED,
    BRANCHING,
    CAUGHT_UP,
    DROPPED,
    ENDED,
    LEFT_STOPPED,
    NEXT,
    STARTED,
    STOPPED,
    Mark,
    refusal,
    same_path,
)
from wire.frames import Record

POINT = "file:/s/savepoint-1"
MARK = Mark(STOPPED, "conversation", "a" * 32, POINT, {0: 7, 1: 0}, "a.b:app", "c0de")


@pytest.mark.parametrize(
    ("point", "mark", "journal"),
    [
        ("", None, {}),
        ("", None, {0: 0, 1: 0}),
        ("", MARK, {0: 0, 1: 0}),
        (POINT, MARK, {0: 7, 1: 0}),
        ("file:///s/savepoint-1", MARK, {0: 7, 1: 0}),
        ("/s/savepoint-1/_metadata", MARK, {0: 7, 1: 0}),
        (POINT, Mark(STOPPED, "conversation", "", POINT, {}), {0: 0, 1: 0}),
    ],
)
def test_start_goes_on_from_the_journals_end(point: str, mark: Mark | None, journal: dict[int, int]) -> None:
    """From nothing beside an empty journal; from the last recorded stop, however its path is written, if nothing came
    since."""
    assert refusal(point, mark, journal) == ""


@pytest.mark.parametrize(
    ("point", "mark", "journal", "why"),
    [
        ("", None, {0: 1}, "from nothing it would decide again"),
        ("", MARK, {0: 7, 1: 0}, "from nothing it would decide again"),
        (POINT, None, {0: 7}, "nothing tells what the journal held"),
        (POINT, None, {}, "nothing tells what the journal held"),
        ("file:///s/savepoint-0", MARK, {0: 7, 1: 0}, "is not where the job was last stopped (file:/s/savepoint-1)"),
        ("s3://s/savepoint-1", MARK, {0: 7, 1: 0}, "is not where the job was last stopped"),
        (POINT, MARK, {0: 9, 1: 0}, "the journal has moved on since file:/s/savepoint-1 was taken (partition 0"),
        (POINT, MARK, {0: 7, 1: 1}, "partition 1 from 0 to 1"),
        (POINT, MARK, {0: 7, 1: 0, 2: 3}, "partition 2 from 0 to 3"),
        (POINT, MARK, {0: 0, 1: 0}, "partition 0 from 7 to 0"),
        (POINT, MARK, {1: 0}, "partition 0 from 7 to 0"),
    ],
)
def test_start_from_anywhere_else_is_refused(point: str, mark: Mark | None, journal: dict[int, int], why: str) -> None:
    """In one sentence that says why and names the command that helps."""
    told = refusal(point, mark, journal)
    assert (why in told, told.endswith(NEXT), "\n" in told) == (True, True, False), told
    assert "`threadlog start`" in NEXT


def test_paths_of_one_savepoint_are_the_same_and_of_two_are_not() -> None:
    """As Flink's REST, its command line and a person write it."""
    ways = ["/a/b", "file:/a/b", "file:///a/b", "file:///a/b/", "/a/b/_metadata"]
    assert all(same_path(one, other) for one in ways for other in ways)
    assert not any(same_path(one, other) for one in ways for other in ("/a/bc", "hdfs:///a/b", "/a", "", "file:///a"))


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """The topic as what was acknowledged."""
    broker = FakeBroker()

    def read_topic(bootstrap: str, name: str, missing: bool) -> Iterator[Record]:
        assert missing
        for offset, (topic, key, value, headers) in enumerate(broker.taken):
            assert topic == name == "ns.agent-control"
            yield Record(topic, 0, offset, 0, key, value, [*headers])

    monkeypatch.setattr(control, "read_topic", read_topic)
    monkeypatch.setattr(writing, "producer", broker.producer)
    return broker


def test_last_mark_is_the_one_that_was_written_last(topic: FakeBroker) -> None:
    """None before the first; those of another job are not asked for."""
    codec = Codec(FixedSchemas())
    assert control.last_mark("b", "ns", codec) is None
    for mark in (
        MARK,
        Mark(CAUGHT_UP, "conversation", "", "file:/s/2", {0: 9, 1: 0}),
        Mark(STOPPED, "tools", "", "x", {}),
    ):
        control.write_mark("b", "ns", codec, mark)
    topic.taken.append(("ns.agent-control", b"conversation", b"no record of ours", []))
    found = control.last_mark("b", "ns", codec)
    assert found is not None and found.time_ms > 0
    assert (found.what, found.savepoint, found.journal) == (CAUGHT_UP, "file:/s/2", {0: 9, 1: 0})


def test_marks_of_a_start_are_no_place_to_go_on_from(topic: FakeBroker) -> None:
    """Where a job was last stopped stays so while it runs, was ended, or goes on without what is lost."""
    codec = Codec(FixedSchemas())
    for mark in (MARK, *(Mark(what, "conversation", "", "file:/s/3", {}) for what in (STARTED, ENDED, ACCEPTED))):
        control.write_mark("b", "ns", codec, mark)
    found = control.last_mark("b", "ns", codec)
    assert found is not None and (found.what, found.savepoint) == (STOPPED, POINT)


def test_conversation_is_stopped_until_something_of_it_is_begun(topic: FakeBroker) -> None:
    """By a stop with a savepoint, or one that found nothing to stop, which is no place to go on from."""
    codec, told = Codec(FixedSchemas()), []
    for what in (LEFT_STOPPED, ACCEPTED, STARTED, ENDED, STOPPED, STARTED, LEFT_STOPPED):
        control.write_mark("b", "ns", codec, Mark(what, "conversation", "", POINT if what == STOPPED else "", {}))
        told.append(control.is_stopped(control.read_marks("b", "ns", codec)))
    assert told == [True, True, False, False, True, False, True]
    found = control.last_mark("b", "ns", codec)
    assert found is not None and (found.what, found.savepoint) == (STOPPED, POINT)
    assert control.is_stopped([]) is False


def test_stop_of_what_was_dropped_is_no_place_to_go_on_from(topic: FakeBroker) -> None:
    """A repair was broken off before it stopped the job; whoever stops it then has the very state that was dropped."""
    codec = Codec(FixedSchemas())
    dropped, caught_up = Mark(DROPPED, "conversation", "", "", {}), Mark(CAUGHT_UP, "conversation", "", "file:/s/3", {})
    for mark in (dropped, MARK):
        control.write_mark("b", "ns", codec, mark)
    marks = control.read_marks("b", "ns", codec)
    assert (control.is_dropped(marks), control.last_of(marks), control.last_rebuild(marks)) == (True, None, None)
    control.write_mark("b", "ns", codec, caught_up)
    marks = control.read_marks("b", "ns", codec)
    assert (control.is_dropped(marks), control.last_rebuild(marks)) == (False, marks[-1])


def test_state_that_was_dropped_is_no_place_to_go_on_from(topic: FakeBroker) -> None:
    """Nor is any from before. What is caught up next is made of the journal alone, and a start may go on from it."""
    codec = Codec(FixedSchemas())
    caught_up = Mark(CAUGHT_UP, "conversation", "", "file:/s/3", {0: 9})
    told = []
    for mark in (MARK, caught_up, Mark(DROPPED, "conversation", "", "", {}), caught_up, caught_up):
        control.write_mark("b", "ns", codec, mark)
        marks = control.read_marks("b", "ns", codec)
        rebuilt = control.last_rebuild(marks)
        told.append((control.last_of(marks) is None, control.is_dropped(marks), rebuilt and rebuilt.offset))
    whole, dropped = (False, False, None), (True, True, None)
    assert told == [whole, whole, dropped, (False, False, 3), (False, False, 3)]


def test_marks_of_an_older_version_are_read(topic: FakeBroker) -> None:
    """The topic is kept for ever, so what was written before generations were is found there."""
    old = json.loads(our_schema("threadlog.Control"))
    old["fields"] = [field for field in old["fields"] if field["name"] not in ("generation", "inputs", "place")]
    schemas, out = FixedSchemas(), io.BytesIO()
    id = schemas.register("threadlog.Control", Schema("AVRO", json.dumps(old)))
    data = {**asdict(MARK), "journal": {"0": 7, "1": 0}}
    fastavro.schemaless_writer(out, fastavro.parse_schema(old), data)
    topic.taken.append(("ns.agent-control", b"conversation", b"\0" + id.to_bytes(4, "big") + out.getvalue(), []))
    assert control.last_mark("b", "ns", Codec(schemas)) == MARK


def test_tools_that_a_branch_may_use_are_in_its_marks(topic: FakeBroker) -> None:
    """None where there is no such mark: a namespace that is no branch may use all."""
    codec = Codec(FixedSchemas())
    control.write_mark("b", "ns", codec, Mark(STARTED, "tools", "", "", {}, generation=1))
    assert control.allowed_tools("b", "ns", codec) is None
    for allowed in (["pay"], ["look", "pay"], []):
        control.write_mark("b", "ns", codec, Mark(BRANCHED, "tools", "", "", {}, branch_of="o", allowed=allowed))
        control.write_mark("b", "ns", codec, Mark(STARTED, "tools", "", "", {}, generation=2))
        assert control.allowed_tools("b", "ns", codec) == set(allowed)
    control.write_mark("b", "ns", codec, Mark(BRANCHING, "tools", "", "", {}, branch_of="o", allowed=["pay"]))
    assert control.allowed_tools("b", "ns", codec) == {"pay"}  # its gate stands from the first


def test_mark_that_is_not_acknowledged_is_an_error(topic: FakeBroker) -> None:
    """Whoever wrote it must not believe that a start will find it."""
    topic.troubles = [("fails", KafkaError(KafkaError._MSG_TIMED_OUT))]
    with pytest.raises(KafkaException):
        control.write_mark("b", "ns", Codec(FixedSchemas()), MARK)
