# SPDX-License-Identifier: Apache-2.0
"""What a job's inputs have lost: found where it is so, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.conversation import INPUTS
from jobs.tools import JOURNAL as ASKS
from schemas.codec import Codec, FixedSchemas
from schemas.topics import EOS, TOPICS
from tests.threadlog.desk import desk
from threadlog import Event, Thread
from udfs.outputs import Outputs
from wire import decided, inputs
from wire.control import ACCEPTED, STARTED, STOPPED, Mark, Written
from wire.frames import Record
from wire.inputs import Gap, LostInputs, check, look, sentence

SCHEMAS = FixedSchemas()
CODEC = Codec(SCHEMAS)


class Log:
    """What the broker knows: for each place (committed, first, end); marks; journal and dead letters.

    `asked` are the sources of last resort that were looked into."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, int], tuple[int, int, int]] = {}
        self.marks, self.records, self.asked = list[Mark](), dict[str, list[Record]](), list[str]()

    def at(self, topic: str, committed: int, low: int, high: int = 99, partition: int = 0) -> None:
        self.places[topic, partition] = (committed, low, high)

    def progress(self, bootstrap: str, group: str, topics: list[str]) -> dict[tuple[str, int], tuple[int, int, int]]:
        assert group in ("ns.conversation", "ns.tools")
        return {(f"ns.{t}", p): place for (t, p), place in self.places.items() if f"ns.{t}" in topics}

    def read_marks(self, bootstrap: str, namespace: str, codec: Codec, job: str) -> list[Written]:
        self.asked.append("marks")
        return [Written(n, 0, mark) for n, mark in enumerate(self.marks) if mark.job == job]

    def read_topic(self, bootstrap: str, topic: str, first: Any, until: Any) -> Iterator[Record]:
        assert (first, until) == ({}, None)
        self.asked.append(topic)
        return iter(self.records.get(topic, []))

    def gaps(self, job: str = "conversation") -> list[Gap]:
        self.asked.clear()
        return look("b", "ns", CODEC, job).gaps


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    for name in ("progress", "read_marks"):
        monkeypatch.setattr(inputs, name, getattr(made, name))
    monkeypatch.setattr(decided, "read_topic", made.read_topic)
    return made


def mark(what: str, job: str = "conversation", **reached: int) -> Mark:
    return Mark(what, job, "", "", {}, inputs={name.replace("_", "-") + "/0": at for name, at in reached.items()})


def test_inputs_that_are_there_are_not_lost(log: Log) -> None:
    """The journal is not asked: not behind what the job has handled, and not before anything was ever deleted."""
    log.at("agent-events", 7, 7)
    log.at("agent-events", 9, 7, partition=1)
    log.at("human-feedback", -1001, 0)
    assert (log.gaps(), log.asked) == ([], ["marks"])


def test_inputs_that_were_deleted_unhandled_are_lost(log: Log) -> None:
    """From the one that the job wants next to the first that is left, in each partition."""
    log.at("agent-events", 7, 10)
    log.at("tool-results", 3, 4, partition=2)
    log.at("human-feedback", 3, 3)
    assert log.gaps() == [Gap("agent-events", 0, 7, 10), Gap("tool-results", 2, 3, 4)]
    with pytest.raises(
        LostInputs, match="4 input offsets were deleted before they were handled: agent-events partition"
    ):
        check("b", "ns", CODEC, "conversation")


def test_inputs_are_known_by_marks_where_the_broker_has_forgotten(log: Log) -> None:
    """Of starts, stops and accepted losses; the highest counts, those of another job do not."""
    log.at("agent-events", -1001, 10)
    log.marks = [mark(STARTED, agent_events=2), mark(STOPPED, "tools", agent_events=10)]
    assert log.gaps() == [Gap("agent-events", 0, 2, 10)]
    log.marks.append(mark(STOPPED, agent_events=9))
    assert log.gaps() == [Gap("agent-events", 0, 9, 10)]
    log.marks += [mark(ACCEPTED, agent_events=10), mark(STARTED, agent_events=4)]
    assert log.gaps() == []


def test_inputs_that_the_job_has_never_read_begin_at_what_is_left(log: Log) -> None:
    """A first start beside a topic that is older than the job."""
    log.at("agent-events", -1001, 10)
    looked = look("b", "ns", CODEC, "conversation")
    assert (looked.gaps, looked.reached) == ([], {"agent-events/0": 10})


async def quiet(thread: Thread, event: Event) -> None: ...


def test_inputs_of_which_the_log_says_that_they_were_decided_are_not_lost(log: Log) -> None:
    """The journal names each that was decided, the dead letters each that names no thread."""
    thread = desk(quiet)
    entry = thread.send().entry
    value = CODEC.encode("threadlog.Decision", {**entry.to_dict(), "traceparent": ""})
    log.records["ns.agent-decisions"] = [
        Record("ns.agent-decisions", 0, at, 0, b"t", raw, []) for at, raw in enumerate((b"junk", value))
    ]
    partition, behind = entry.input.partition, entry.input.offset + 1
    log.at(entry.input.topic, 0, behind, partition=partition)
    assert log.gaps() == []
    log.at(entry.input.topic, 0, behind + 2, partition=partition)
    assert log.gaps() == [Gap(entry.input.topic, partition, behind, behind + 2)]
    log.records["ns.dead-letters"] = [letter(entry.input.topic, partition, behind + 1), letter("nonsense", 0, 1)]
    assert log.gaps() == []


def test_inputs_of_a_void_entry_are_lost(log: Log) -> None:
    """By the reader's rule it decides nothing, and a state that is made anew cannot decide them any more."""
    thread = desk(quiet)
    thread.send()
    entry = thread.send().entry
    value = CODEC.encode("threadlog.Decision", {**entry.to_dict(), "traceparent": ""})
    log.records["ns.agent-decisions"] = [Record("ns.agent-decisions", 0, 0, 0, b"t", value, [])]
    came, behind = entry.input, entry.input.offset + 1
    log.at(came.topic, 0, behind, partition=came.partition)
    assert log.gaps() == [Gap(came.topic, came.partition, 0, behind)]


def letter(topic: str, partition: int, offset: int, **more: int) -> Record:
    told: dict[str, Any] = {"topic": f"ns.{topic}", "partition": partition, "offset": offset, **more}
    headers = [(f"__streams.errors.{name}", str(value).encode()) for name, value in told.items()]
    return Record("ns.dead-letters", 0, 0, 0, None, None, [("other", None), *headers])


@pytest.mark.parametrize(
    ("generation", "before"), [(0, 0), (0, 2), (2, 0)], ids=["tools", "of a letter", "conversation"]
)
def test_result_is_handled_by_a_dead_letter_of_the_conversation_alone(log: Log, generation: int, before: int) -> None:
    """The tools job reads results too, and its letters have no generation but one that the record itself came with."""
    result = Record("ns.tool-results", 0, 7, 0, b"t", b"?", [("__streams.errors.generation", b"2")] if before else [])
    made = Outputs(CODEC, "ns", generation).dead_letter(result, "unreadable", "magic")
    log.records["ns.dead-letters"] = [Record("ns.dead-letters", 0, 0, 0, made.key, made.value, made.headers)]
    log.at("tool-results", 7, 8)
    assert log.gaps() == ([] if generation else [Gap("tool-results", 0, 7, 8)])


def test_marker_behind_the_last_record_of_a_transaction_is_no_loss(log: Log) -> None:
    """A quiet partition that retention has emptied: the one offset that was never read held no record. One more is
    none of a marker, nor is one in a topic without transactions, nor one before a record that is left."""
    assert TOPICS["agent-signals"].guarantee == EOS != TOPICS["agent-events"].guarantee
    log.at("agent-signals", 7, 8, 8)
    assert log.gaps() == []
    log.at("agent-signals", 6, 8, 8)
    assert log.gaps() == [Gap("agent-signals", 0, 6, 8)]
    log.at("agent-signals", 7, 8, 9)
    assert log.gaps() == [Gap("agent-signals", 0, 7, 8)]
    log.at("agent-signals", 7, 7)
    log.at("agent-events", 7, 8, 8)
    assert log.gaps() == [Gap("agent-events", 0, 7, 8)]


def test_inputs_of_the_tools_job_are_its_asks_with_an_effect(log: Log) -> None:
    """Reads are asked again, and results only free what is fired again; the journal knows nothing of this job."""
    log.at("agent-decisions", 7, 10)
    log.at("tool-reads", 7, 10)
    log.at("tool-results", 7, 10)
    assert (log.gaps("tools"), log.asked) == ([Gap("agent-decisions", 0, 7, 10)], ["marks"])


def test_loss_is_told_in_one_sentence() -> None:
    """With the first few partitions."""
    gaps = [Gap("agent-events", partition, 2, 5) for partition in range(5)]
    told = sentence(gaps)
    assert told.startswith("15 input offsets were deleted") and told.endswith("and 2 more partitions")
    assert "agent-events partition 1 offsets 2 to 4" in told and "partition 3" not in told


def test_conversation_is_looked_after_in_all_its_inputs() -> None:
    """As the job reads them; of the tools job those that matter."""
    assert inputs.INPUTS["conversation"] == INPUTS
    assert inputs.INPUTS["tools"] == ASKS


def test_inputs_that_end_before_what_was_handled_are_another_topics(log: Log) -> None:
    """Made anew, mirrored to other offsets, or cut by a power loss: what comes next would be dropped as handled."""
    log.at("agent-events", 7, 0, 5)
    log.at("tool-results", 5, 0, 5)
    assert look("b", "ns", CODEC, "conversation").short == [Gap("agent-events", 0, 5, 7)]
    with pytest.raises(LostInputs, match=r"handled of them: agent-events partition 0 offsets 5 to 6 are not there"):
        check("b", "ns", CODEC, "conversation")
    log.at("agent-events", -1001, 3, 5)
    log.marks = [mark(STOPPED, agent_events=9)]
    assert look("b", "ns", CODEC, "conversation").short == [Gap("agent-events", 0, 5, 9)]


def test_topic_that_was_made_anew_is_known_by_the_marks(log: Log) -> None:
    """With the old one the broker has forgotten what was committed of it."""
    log.at("agent-events", -1001, 0, 5)
    log.marks = [mark(STARTED, agent_events=9)]
    assert look("b", "ns", CODEC, "conversation").short == [Gap("agent-events", 0, 5, 9)]


def test_input_that_a_running_job_began_anew_is_short(log: Log) -> None:
    """The topic was made anew, and the job has read it from its beginning: what it commits since then is less than what
    was handled when it was started."""
    log.at("agent-events", 3, 0, 5)
    log.marks = [mark(STARTED, agent_events=9)]
    assert look("b", "ns", CODEC, "conversation").short == [Gap("agent-events", 0, 5, 9)]


def test_inputs_that_grow_meanwhile_are_not_short(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends are read before what is committed: of a job that runs, that may be more by then."""
    log.at("agent-events", 7, 0, 5)
    asked, before = [], log.progress

    def progress(*given: Any) -> Any:
        asked.append(given[2])
        if len(asked) == 2:
            log.at("agent-events", 8, 0, 8)
        return before(*given)

    monkeypatch.setattr(inputs, "progress", progress)
    assert look("b", "ns", CODEC, "conversation").short == []
    assert asked[1] == ["ns.agent-events"]


def test_tools_do_not_ask_how_far_the_journal_was(log: Log) -> None:
    """The gate knows each thread's last entry, whatever its offset."""
    log.at("agent-decisions", 7, 0, 5)
    assert look("b", "ns", CODEC, "tools").short == []
