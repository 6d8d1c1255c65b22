# SPDX-License-Identifier: Apache-2.0
"""`threadlog branch`: what the other namespace gets, and where its inputs begin."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from ops import branching
from ops.branching import Point, point_of
from ops.replay.moments import moment_ms
from schemas.limits import JOURNAL_MESSAGE_BYTES
from tests.ops.fakes import FakeKafka, objects, run
from tests.threadlog.desk import Desk, desk, refund
from threadlog import Event, Thread
from threadlog.limits import Limits
from wire import writing
from wire.control import BRANCHED, BRANCHING, Mark
from wire.frames import Record

NEW = "rewound"


async def quiet(thread: Thread, event: Event) -> None: ...


@dataclass
class Broker:
    """Topics by Kafka name; `ends` where a topic of the branch ends before, `done` what was done in order."""

    kafka: FakeKafka
    records: list[Record] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    marks: list[tuple[str, Mark]] = field(default_factory=list)
    deleted: dict[tuple[str, int], int] = field(default_factory=dict)
    fails: bool = False

    def bounds(self, bootstrap: str, topic: str) -> dict[int, tuple[int, int]]:
        lying = self.kafka.topics.get(topic, [])
        ends = {p: max((r.offset + 1 for r in lying if r.partition == p), default=0) for p in (0, 1)}
        return {p: (self.kafka.lows.get((topic, p), 0), self.ends.get(topic, end)) for p, end in ends.items()}

    def producer(self, bootstrap: str, log_level: int, record_bytes: int) -> Broker:
        assert record_bytes == JOURNAL_MESSAGE_BYTES  # what the journal takes, the branch's must
        return self

    def produce(self, topic: str, value: Any, key: Any, partition: int, headers: Any, on_delivery: Any) -> None:
        self.records.append(Record(topic, partition, 0, 0, key, value, headers))
        self.done.append("copy" if value else "pad")
        on_delivery(KafkaError(KafkaError._MSG_TIMED_OUT) if self.fails else None, SimpleNamespace(offset=lambda: 0))

    def poll(self, seconds: float) -> None: ...

    def flush(self, seconds: float) -> int:
        return 0

    def write_mark(self, bootstrap: str, namespace: str, codec: Any, mark: Mark) -> None:
        self.done.append("mark")
        self.marks.append((namespace, mark))

    def of(self, topic: str) -> list[Record]:
        return [record for record in self.records if record.topic == f"{NEW}.{topic}"]


@pytest.fixture
def thread(kafka: FakeKafka) -> Desk:
    """Six decisions in partition 0, of inputs that lie scattered, and two of another thread in partition 1."""
    made, other = desk(quiet), desk(quiet)
    for n in range(6):
        made.send(n=n)
    for n in range(2):
        other.send(n=n)
    for entry in made.journal:
        kafka.add_entry(entry)
    kafka.add("agent-decisions", b"t", b"junk")
    for entry in other.journal:
        kafka.add_entry(entry, "u", 1)
    return made


@pytest.fixture
def broker(kafka: FakeKafka, thread: Desk, monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker(kafka)
    for module, name in ((branching, "bounds"), (branching, "write_mark"), (writing, "producer")):
        monkeypatch.setattr(module, name, getattr(made, name))
    monkeypatch.setattr(branching, "read_topic", kafka.read_topic)
    monkeypatch.setattr(branching, "is_empty", lambda bootstrap, topic: not kafka.topics.get(topic))
    monkeypatch.setattr(branching, "settled_ends", lambda bootstrap, topic: {})
    monkeypatch.setattr(branching, "ensure_topics", lambda b, ns, partitions, replication: [f"{ns} {partitions}"])
    monkeypatch.setattr(branching, "delete_before", lambda bootstrap, first: made.deleted.update(first))
    return made


def test_branch_has_the_journal_as_it_is(broker: Broker, kafka: FakeKafka) -> None:
    """The same bytes, keys and headers in the same partitions, in order: chains and hashes hold."""
    [told] = objects(run("--json", "branch", NEW))
    original = kafka.topics["threadlog.agent-decisions"]
    copied = [(r.partition, r.key, r.value, r.headers) for r in broker.of("agent-decisions")]
    assert copied == [(r.partition, r.key, r.value, r.headers) for r in original]
    assert (told["branch"], told["branch_of"], told["entries"]) == (NEW, "threadlog", 9)


def test_branch_says_how_it_is_begun(broker: Broker, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a catch-up on one's own cluster, where `threadlog start` is refused."""
    assert f"`threadlog --namespace {NEW} pack --job catchup` prints how to make its state" in run("branch", NEW).stdout
    monkeypatch.setattr("ops.commands.branch.check_broker", lambda settings: None)
    monkeypatch.delenv("THREADLOG_BROKERS")
    assert f"`threadlog --namespace {NEW} start` makes its state" in run("branch", NEW).stdout


def test_branch_of_a_journal_without_its_beginning_has_none_either(broker: Broker, kafka: FakeKafka) -> None:
    """Where it begins behind offset 0, a reader takes the first entry that is left of a thread for its beginning, and
    goes on from the next snapshot; in the other partition that would be a gap."""
    kafka.cut("agent-decisions", 2)
    run("branch", NEW)
    first, *copied = broker.of("agent-decisions")
    assert (first.partition, first.key, first.value) == (0, None, None)
    assert [r.value for r in copied] == [r.value for r in kafka.topics["threadlog.agent-decisions"]]
    begins = {place: first for place, first in broker.deleted.items() if place[0] == f"{NEW}.agent-decisions"}
    assert begins == {(f"{NEW}.agent-decisions", 0): 1}


def test_branch_begins_its_inputs_behind_what_its_threads_have_handled(broker: Broker, thread: Desk) -> None:
    """A thread drops what lies at or before its position, so the next offset is the one after; what fills the place up
    to there is deleted. That is done before there is any journal to start from, and the gate stands first of all."""
    came = max((entry.input for entry in thread.journal), key=lambda input: input.offset)
    broker.ends = {f"{NEW}.{came.topic}": 2}
    [told] = objects(run("--json", "branch", NEW, "--allow", "pay", "--allow", "look"))
    assert broker.deleted == {(f"{NEW}.{came.topic}", came.partition): came.offset + 1}
    assert len(broker.of(came.topic)) == told["offsets"] == came.offset + 1 - 2 > 0
    assert {(r.partition, r.key, r.value) for r in broker.of(came.topic)} == {(came.partition, None, None)}
    assert broker.done == ["mark", *["pad"] * told["offsets"], *["copy"] * 9, "mark"]
    for (namespace, mark), what in zip(broker.marks, (BRANCHING, BRANCHED), strict=True):
        assert (namespace, mark.what, mark.job, mark.branch_of, mark.allowed) == (
            NEW, what, "tools", "threadlog", ["look", "pay"],
        )  # fmt: skip


def test_branch_of_a_cut_journal_begins_its_inputs_behind_what_snapshots_say(broker: Broker, kafka: FakeKafka) -> None:
    """The entry that was made of a result is deleted; the thread drops what comes at its position or before."""
    made = desk(refund, limits=Limits(snapshot_every_entries=2))
    made.offsets["tool-results"] = 40
    made.send(order="o-1")
    made.answer({"total": 3})
    for _ in range(2):
        made.send(order="o-1")
    kafka.topics.clear()
    for entry in made.journal:
        kafka.add_entry(entry)
    kafka.cut("agent-decisions", 2)
    run("branch", NEW)
    first = {place[0].removeprefix(f"{NEW}."): offset for place, offset in broker.deleted.items()}
    assert first == {"agent-decisions": 1, "agent-events": 3, "tool-results": 41}


def test_branch_ends_where_it_is_told_to(broker: Broker, thread: Desk) -> None:
    """Before an offset of a partition; others are whole. Its inputs then begin earlier."""
    [told] = objects(run("--json", "branch", NEW, "--until", "0:3"))
    assert [(r.partition, r.offset) for r in broker.of("agent-decisions")] == [(0, 0)] * 3 + [(1, 0)] * 2
    assert (told["entries"], told["offsets"]) == (5, thread.journal[2].input.offset + 1)


def test_branch_ends_at_a_moment_without_a_hole() -> None:
    """By the broker's clock. What is later ends the partition, and what is earlier behind it is left out too."""
    point = point_of("2026-01-31T09:00Z", moment_ms)
    at_ms = moment_ms("2026-01-31T09:00Z")
    assert [point.holds(Record("", 0, 0, at_ms + more, None, None, [])) for more in (-1, 0, 1)] == [True, True, False]
    assert point_of("", moment_ms) == Point() and point_of("0:12,1:7", moment_ms) == Point({0: 12, 1: 7})


def test_branch_copies_nothing_behind_its_end(broker: Broker, kafka: FakeKafka) -> None:
    """A clock that was set back does not put later decisions into an earlier branch."""
    topic = kafka.topics["threadlog.agent-decisions"]
    times = [1, 2, 9, 3, 4, 5, 6, 1, 1]
    topic[:] = [Record(*[*place(r), at, r.key, r.value, r.headers]) for r, at in zip(topic, times, strict=True)]
    [told] = objects(run("--json", "branch", NEW, "--until", "1970-01-01T00:00:00.005Z"))
    assert told["entries"] == 2 + 2


def place(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["threadlog"], "A branch has another name"),
        (["NO"], "namespace = 'NO', expected"),
        ([NEW, "--until", "soon"], "'soon' is no moment"),
        ([NEW, "--until", "0:8"], "does not reach 0:8"),
        ([NEW, "--until", "7:1"], "does not reach 7:1"),
        (["old"], "The journal of old is not empty"),
    ],
)
def test_branch_that_cannot_be_is_refused(broker: Broker, kafka: FakeKafka, line: list[str], sentence: str) -> None:
    """Before anything is made."""
    kafka.topics["old.agent-decisions"] = kafka.topics["threadlog.agent-decisions"]
    told = run("branch", *line)
    assert (told.exit_code != 0, sentence in told.stderr, broker.done) == (True, True, []), told.output


def test_branch_of_nothing_is_refused(broker: Broker, kafka: FakeKafka) -> None:
    """An empty journal has no history."""
    kafka.topics.clear()
    assert "The journal of threadlog is empty" in run("branch", NEW).stderr


def test_branch_whose_copy_fails_says_so(broker: Broker) -> None:
    """It is no branch then."""
    broker.fails = True
    told = run("branch", NEW)
    assert (told.exit_code, "does not do what is asked" in told.stderr) == (1, True), told.output


def test_branch_with_too_far_inputs_is_refused(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would have to be filled up to there."""
    monkeypatch.setattr(branching, "PADDING_MAX", 2)
    told = run("branch", NEW)
    assert (told.exit_code, "offsets" in told.stderr, broker.of("agent-decisions")) == (1, True, []), told.output
