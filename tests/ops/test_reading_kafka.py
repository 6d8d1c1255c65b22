# SPDX-License-Identifier: Apache-2.0
"""Reading a topic to its end ends, and following one goes on exactly where the reading stopped."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from tests.wire.test_admin import FakeBroker
from wire import admin, kafka, offsets


class FakeConsumer:
    """A consumer of one partition that holds the offsets `low` to `high`; it goes silent at `dies_at`."""

    def __init__(self, low: int = 0, high: int = 0, dies_at: int | None = None) -> None:
        self.low, self.high, self.dies_at = low, high, dies_at
        self.at, self.assigned, self.closed = -1001, list[TopicPartition](), False

    def list_topics(self, topic: str = "", timeout: float = 0) -> Any:
        error = None if topic != "missing" else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        return SimpleNamespace(topics={topic or "t": SimpleNamespace(partitions={0: None}, error=error)})

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        offsets = {OFFSET_BEGINNING: self.low, OFFSET_END: self.high}
        return [TopicPartition(place.topic, place.partition, offsets[place.offset]) for place in places]

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned, self.at = places, places[0].offset if places else -1

    def consume(self, number: int, timeout: float) -> list[Any]:
        end = self.high if self.dies_at is None else self.dies_at
        messages = [message(offset) for offset in range(self.at, end)]
        self.at = end
        return messages

    def poll(self, timeout: float) -> Any:
        return None

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition("t", 0, self.at)]

    def close(self) -> None:
        self.closed = True


def message(offset: int) -> Any:
    told = {"topic": "t", "partition": 0, "offset": offset, "timestamp": (1, 0), "key": b"k", "value": b"v"}
    return SimpleNamespace(error=lambda: None, headers=lambda: [], **{name: lambda v=v: v for name, v in told.items()})


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the next consumer this one."""

    def make(fake: FakeConsumer) -> FakeConsumer:
        monkeypatch.setattr(kafka, "consumer", lambda bootstrap, group="", isolation="", ends=False, ahead_kb=0: fake)
        return fake

    return make


def test_read_topic_ends_at_the_end(use: Any) -> None:
    """Every record from the first that is left to the last that is there."""
    fake = use(FakeConsumer(2, 5))
    assert [record.offset for record in kafka.read_topic("b", "t")] == [2, 3, 4]
    assert fake.closed


def test_read_topic_waits_for_partitions_that_have_no_leader_yet(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that was made just now is read like any other; one that never gets a leader is an error."""
    fake, leaderless = use(FakeConsumer(0, 2)), KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
    answers: list[Any] = [leaderless, leaderless]
    found = fake.offsets_for_times

    def later(places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if answers:
            raise answers.pop()
        return found(places, timeout)

    monkeypatch.setattr(kafka.time, "sleep", lambda seconds: None)
    fake.offsets_for_times = later
    assert len(list(kafka.read_topic("b", "t"))) == 2
    answers = [leaderless] * 100
    hours = count(0, 3600)
    monkeypatch.setattr(kafka.time, "monotonic", lambda: float(next(hours)))
    with pytest.raises(KafkaException):
        list(kafka.read_topic("b", "t"))


def test_read_topic_of_a_silent_broker_is_an_error(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that dies on the way does not keep the reader for ever."""
    hours = count(0, 3600)
    monkeypatch.setattr(kafka, "time", SimpleNamespace(monotonic=lambda: float(next(hours))))
    fake = use(FakeConsumer(0, 5, dies_at=3))
    read = list[int]()
    with pytest.raises(KafkaException, match="nothing came for 30 s"):
        read += [record.offset for record in kafka.read_topic("b", "t")]
    assert fake.closed


def test_reader_reads_what_it_is_told_and_no_more(use: Any) -> None:
    """From the first to before the end, although the topic has more by now."""
    use(FakeConsumer(0, 9))
    with kafka.TopicReader("b", "t") as reader:
        assert [record.offset for record in reader.read({0: 3}, {0: 6})] == [3, 4, 5]
        assert list(reader.read({0: 6}, {0: 6})) == []


class Polled(FakeConsumer):
    """It gives one message after the other, from the first that is left where older ones are asked for."""

    def assign(self, places: list[TopicPartition]) -> None:
        super().assign(places)
        self.at = max(self.at, self.low)
        self.leaps = [*getattr(self, "leaps", []), self.at]

    def poll(self, timeout: float) -> Any:
        self.at += 1
        return message(self.at - 1)


def test_reader_finds_records_by_their_places(use: Any) -> None:
    """What is near is read through to, what is far is leapt to, what is gone is left out."""
    fake = use(Polled(low=5, high=9_000))
    with kafka.TopicReader("b", "t") as reader:
        places = [(0, offset) for offset in (2, 7, 8, 300, 5_000)]
        assert [record.offset for record in reader.at(places)] == [7, 8, 300, 5_000]
    assert (fake.leaps, fake.closed) == ([5, 5_000], True)


def test_reader_of_places_that_are_all_gone_ends(use: Any) -> None:
    """Retention has emptied the partition: its end is told of, once for each time that it is read."""

    class Emptied(Polled):
        def poll(self, timeout: float) -> Any:
            told, self.told = getattr(self, "told", 0), len(self.leaps)
            eof = SimpleNamespace(error=lambda: KafkaError(KafkaError._PARTITION_EOF), offset=lambda: 9)
            return eof if told < len(self.leaps) else None

    use(Emptied(low=9, high=9))
    with kafka.TopicReader("b", "t") as reader:
        assert list(reader.at([(0, 2), (0, 3), (1, 2)])) == []


def test_read_topic_that_is_not_there_is_an_error(use: Any) -> None:
    """Kafka's own word for it; unless it is asked for as one that may be missing."""
    use(FakeConsumer())
    with pytest.raises(KafkaException):
        list(kafka.read_topic("b", "missing"))
    assert list(kafka.read_topic("b", "missing", missing=True)) == []
    use(FakeConsumer(2, 5))
    assert [record.offset for record in kafka.read_topic("b", "t", missing=True)] == [2, 3, 4]


@pytest.mark.parametrize("error", [None, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)], ids=str)
def test_offsets_that_the_broker_does_not_tell_are_an_error(use: Any, error: KafkaError | None) -> None:
    """Never taken for offsets, though the client hands back what it was asked with."""
    fake = use(FakeConsumer(0, 2))
    fake.offsets_for_times = lambda places, timeout: [
        SimpleNamespace(topic=place.topic, partition=place.partition, offset=place.offset, error=error)
        for place in places
    ]
    with pytest.raises(KafkaException):
        list(kafka.read_topic("b", "t"))


@pytest.mark.parametrize(
    ("how", "first"),
    [
        ({}, 9),
        ({"from_start": True}, 2),
        ({"after": {}}, 2),
        ({"after": {("t", 0): 6}}, 7),
        ({"after": {("t", 0): 0}}, 2),
        ({"after": {("other", 0): 6}}, 2),
    ],
    ids=str,
)
def test_follow_begins_where_it_is_told(use: Any, how: dict[str, Any], first: int) -> None:
    """At the end, at the start, or right after what was read; never before what is left."""
    fake = use(FakeConsumer(2, 9))
    assert next(kafka.follow("b", ["t"], **how)) is None
    assert [place.offset for place in fake.assigned] == [first]


@pytest.mark.parametrize(("topic", "high", "empty"), [("t", 0, True), ("t", 7, False), ("nothing", 7, True)])
def test_topic_that_never_held_anything_is_empty(use: Any, topic: str, high: int, empty: bool) -> None:
    """One that is not there too; one whose records were deleted is not."""
    use(FakeConsumer(high, high))
    assert kafka.is_empty("b", topic) is empty


class Copies(FakeBroker):
    """A broker that holds one copy of each partition and remembers how many were asked for."""

    asked: ClassVar[set[int]] = set()

    def create_topics(self, new: Any, request_timeout: float = -1) -> Any:
        self.asked |= {topic.replication_factor for topic in new}
        return super().create_topics(new)


def test_topics_get_the_copies_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """New ones are asked for with them; those that have fewer are reported, with what it means."""
    broker = Copies()
    monkeypatch.setattr(admin, "AdminClient", lambda settings: broker)
    assert admin.ensure_topics("b", "n", 2, 3) == []
    assert broker.asked == {3}
    found = admin.ensure_topics("b", "n", 2, 3)
    assert {(one.setting, one.expected, one.found) for one in found} == {("replication", "3", "1")}
    assert "what a lost broker takes with it" in str(found[0])


@pytest.mark.parametrize("code", [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS])
def test_progress_of_a_group_is_asked_again_while_a_broker_comes_up(
    use: Any, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It does not look after the group yet. What it says of a place is an error, and so is anything else."""
    fake, answers = use(FakeConsumer(2, 9)), [KafkaException(KafkaError(code))] * 2
    told = SimpleNamespace(topic="t", partition=0, offset=5, error=None)

    def committed(places: list[TopicPartition], timeout: float) -> list[Any]:
        assert [(place.topic, place.partition) for place in places] == [("t", 0)]
        if answers:
            raise answers.pop()
        return [told]

    fake.committed = committed
    monkeypatch.setattr(offsets.time, "sleep", lambda seconds: None)
    assert kafka.progress("b", "group", ["t"]) == {("t", 0): (5, 2, 9)}
    for wrong in (KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)):
        told.error = wrong
        with pytest.raises(KafkaException):
            kafka.progress("b", "group", ["t"])
