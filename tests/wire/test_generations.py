# SPDX-License-Identifier: Apache-2.0
"""Generations: the next number, who has it of two that start at once, and who is overtaken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from schemas.codec import Codec, FixedSchemas
from schemas.errors import WireError
from wire import generations
from wire.control import ACCEPTED, CAUGHT_UP, ENDED, STARTED, STOPPED, Mark, Overtaken
from wire.control import Written as WrittenMark
from wire.frames import Record
from wire.generations import STARTING_S, last, take, under_way

CODEC = Codec(FixedSchemas())
NOW_S = 1_700_000_000.0
START = Mark(STARTED, "conversation", "", "file:/s", {0: 7})


class Topic:
    """The topic; `meanwhile` is appended by others right before the next mark is."""

    def __init__(self) -> None:
        self.marks, self.meanwhile, self.held = list[WrittenMark](), list[Mark](), set[int]()

    def add(self, mark: Mark, ago_s: float = 0) -> int:
        self.marks.append(WrittenMark(len(self.marks), int((NOW_S - ago_s) * 1000), mark))
        return len(self.marks) - 1

    def write(self, bootstrap: str, namespace: str, codec: Codec, mark: Mark) -> int:
        while self.meanwhile:
            self.add(self.meanwhile.pop(0))
        return self.add(mark)

    def take(self, job: str = "conversation", looked: int | None = None) -> int:
        return take("b", "ns", CODEC, Mark(STARTED, job, "", "file:/s", {0: 7}), looked)

    def under_way(self) -> str:
        return under_way("b", "ns", CODEC, self.marks)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    made = Topic()
    monkeypatch.setattr(
        generations, "read_marks", lambda b, ns, codec, job: [w for w in made.marks if w.mark.job == job]
    )
    monkeypatch.setattr(generations, "write_mark", made.write)
    monkeypatch.setattr(generations, "has_held", lambda b, ns, codec, job, generation: generation in made.held)
    monkeypatch.setattr(generations.time, "time", lambda: NOW_S)
    return made


def started(generation: int, place: str = "other/1") -> Mark:
    return Mark(STARTED, "conversation", "", "", {}, generation=generation, place=place)


def test_generation_is_one_more_than_any_before(topic: Topic) -> None:
    """Each job counts for itself, whatever other marks there are."""
    assert topic.take() == 1
    topic.add(Mark(STOPPED, "conversation", "", "file:/s", {}))
    topic.add(Mark(STARTED, "tools", "", "", {}, generation=9))
    assert (topic.take(), topic.take("tools")) == (2, 10)
    mark = topic.marks[-2].mark
    assert (mark.what, mark.savepoint, mark.journal, mark.place != "") == (STARTED, "file:/s", {0: 7}, True)


def test_generation_of_two_starts_at_once_is_of_the_first_in_the_log(topic: Topic) -> None:
    """Whoever was appended first does not even see the other; whoever was second does not start."""
    topic.add(started(4))
    topic.meanwhile = [started(5)]
    with pytest.raises(Overtaken, match="in process other/1, took the same moment and was first"):
        topic.take()
    topic.meanwhile = [Mark(ACCEPTED, "conversation", "", "", {}), Mark(STARTED, "tools", "", "", {}, generation=7)]
    assert topic.take() == 6


def test_start_gives_way_to_one_that_came_since_it_looked(topic: Topic) -> None:
    """It appends nothing: by a higher generation the first, which goes on, would be overtaken."""
    looked = topic.add(started(4))
    assert last(topic.marks) == looked
    topic.add(Mark(ACCEPTED, "conversation", "", "", {}))
    topic.add(started(5))
    with pytest.raises(Overtaken, match="in process other/1, took the same moment and was first"):
        topic.take(looked=looked)
    assert len(topic.marks) == 3
    assert topic.take(looked=last(topic.marks)) == 6
    assert last([]) == -1


def test_copy_is_overtaken_by_a_later_start_alone(topic: Topic) -> None:
    """Its own generation, and that of a start that lost the moment to it, are no reason to end."""
    for generation in (1, 2, 2):
        topic.add(started(generation))
    generations.check("b", "ns", CODEC, "conversation", 2)
    topic.add(started(3, "there/7"))
    with pytest.raises(Overtaken, match="of generation 2 was overtaken: generation 3 was started in process there/7"):
        generations.check("b", "ns", CODEC, "conversation", 2)


def test_copy_that_was_stopped_and_comes_back_decides_nothing(topic: Topic) -> None:
    """Flink brings it back from a checkpoint before its savepoint. A stop of another copy says nothing of this one, nor
    does one that was recorded by hand, which has no generation."""
    topic.add(started(1))
    topic.add(started(2))
    for generation in (1, 0):
        topic.add(Mark(STOPPED, "conversation", "", "file:/s", {}, generation=generation))
    generations.check("b", "ns", CODEC, "conversation", 2)
    topic.add(Mark(STOPPED, "conversation", "j", "file:/s", {}, generation=2))
    with pytest.raises(Overtaken, match="of generation 2 was stopped with the savepoint file:/s"):
        generations.check("b", "ns", CODEC, "conversation", 2)
    topic.add(started(3, "there/7"))
    topic.add(Mark(STOPPED, "conversation", "k", "file:/t", {}, generation=3))
    with pytest.raises(Overtaken, match="generation 3 was started in process there/7"):
        generations.check("b", "ns", CODEC, "conversation", 2)


def test_start_is_under_way_until_its_job_is_heard_of(topic: Topic) -> None:
    """Or was ended, or has had all the time it needs."""
    assert topic.under_way() == ""
    topic.add(started(3), ago_s=5)
    topic.add(Mark(ACCEPTED, "conversation", "", "", {}))
    assert topic.under_way() == "generation 3, taken 5 s ago in process other/1"
    topic.held = {3}
    assert topic.under_way() == ""
    topic.held = set()
    for generation, what in ((3, STOPPED), (4, ENDED)):
        topic.add(Mark(what, "conversation", "", "", {}, generation=generation))
        assert topic.under_way() == ""
        topic.add(started(generation + 1))
        assert topic.under_way() != ""
    topic.marks = [WrittenMark(0, int((NOW_S - STARTING_S - 1) * 1000), started(5))]
    assert topic.under_way() == ""


@pytest.mark.parametrize(("ahead_s", "blocks"), [(STARTING_S - 1, True), (STARTING_S + 1, False), (86_400, False)])
def test_start_is_not_under_way_for_as_long_as_the_broker_is_ahead(topic: Topic, ahead_s: float, blocks: bool) -> None:
    """Two clocks that differ by more than a start takes tell nothing; the next generation keeps the two apart."""
    topic.add(started(3), ago_s=-ahead_s)
    assert topic.under_way() == ("generation 3, taken 0 s ago in process other/1" if blocks else "")


def test_start_that_is_under_way_is_ended_by_nothing_of_another(topic: Topic) -> None:
    """Neither the end of an older copy, or of one whose generation is not known, nor a catch-up, nor an older lease."""
    topic.add(started(2))
    topic.add(started(3), ago_s=5)
    topic.held = {0, 2}
    for mark in (
        Mark(STOPPED, "conversation", "", "file:/s", {}, generation=2),
        Mark(ENDED, "conversation", "j", "", {}),
        Mark(CAUGHT_UP, "conversation", "k", "file:/c", {}),
    ):
        topic.add(mark)
        assert topic.under_way() == "generation 3, taken 5 s ago in process other/1"


def test_start_whose_mark_cannot_be_read_back_does_not_go_on(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic may be hidden for a moment: then nobody can tell who was first."""
    monkeypatch.setattr(generations, "write_mark", lambda *given: 7)
    with pytest.raises(WireError, match="generation 1 was written, and cannot be read back"):
        topic.take()


def test_copy_does_not_go_on_where_its_own_mark_is_not_seen(topic: Topic) -> None:
    """Then a later start's would not be either."""
    topic.add(started(1))
    with pytest.raises(Overtaken, match="does not tell of generation 2 of conversation"):
        generations.check("b", "ns", CODEC, "conversation", 2)


def test_copy_that_was_ended_and_comes_back_decides_nothing(topic: Topic) -> None:
    """Whoever else was ended; as long as it may go on it is told of its own start."""
    topic.add(started(1))
    topic.add(Mark(ENDED, "conversation", "", "", {}))
    assert generations.check("b", "ns", CODEC, "conversation", 1) == started(1)
    topic.add(Mark(ENDED, "conversation", "", "", {}, generation=1))
    with pytest.raises(Overtaken, match="of generation 1 was ended"):
        generations.check("b", "ns", CODEC, "conversation", 1)


class Written(NamedTuple):
    """A record of the journal: of which start, and whether it is committed."""

    generation: int | None
    committed: bool


@pytest.mark.parametrize(
    ("journal", "may_begin"),
    [
        ([], True),
        ([Written(4, False)], True),  # of another subtask of the same attempt
        ([Written(4, True)], True),
        ([Written(3, True), Written(4, True)], True),  # an earlier attempt has looked; told of by the watch
        ([Written(3, True)], False),
        ([Written(None, True)], False),
        ([Written(4, False), Written(3, True)], False),
        ([Written(4, False), Written(3, False)], False),
    ],
)
def test_copy_begins_only_where_no_other_has_written_since_its_start(
    topic: Topic, monkeypatch: pytest.MonkeyPatch, journal: list[Written], may_begin: bool
) -> None:
    """Where one has, the start is written down as ended: its next attempts do not begin either."""

    def read(bootstrap: str, name: str, first: dict[int, int], isolation: str = "read_committed") -> Iterator[Record]:
        assert (name, first) == ("ns.agent-decisions", {0: 7})
        for at, (generation, committed) in enumerate(journal):
            if not committed and isolation == "read_committed":
                return  # what comes behind an open transaction is not shown
            headers: Any = [("generation", str(generation).encode())] if generation else []
            yield Record(name, 0, 7 + at, 0, b"t", b"", headers)

    monkeypatch.setattr(generations, "read_topic", read)
    mine = Mark(STARTED, "conversation", "", "file:/s", {0: 7}, generation=4)
    topic.add(mine)
    if may_begin:
        generations.alone_since("b", "ns", CODEC, mine)
        assert generations.check("b", "ns", CODEC, "conversation", 4) == mine
        return
    with pytest.raises(Overtaken, match="of generation 4 began beside a copy of generation"):
        generations.alone_since("b", "ns", CODEC, mine)
    with pytest.raises(Overtaken, match="of generation 4 was ended"):
        generations.check("b", "ns", CODEC, "conversation", 4)
