# SPDX-License-Identifier: Apache-2.0
"""A broker or a registry that is silent for a while: what was wrong before is wrong still, and nothing is missed."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from msgspec.structs import replace

import ops.commands.watch
from ops.settings import Settings
from ops.watching.inputs import PASSED_S
from ops.watching.leases import AFTER_S, TRIES_S
from ops.watching.transactions import HELD_S
from ops.watching.watch import BROKER_S, Watch
from schemas.errors import RegistryUnavailable
from tests.ops.fakes import FakeEnds, FakeKafka, objects, run
from tests.ops.test_journal import story
from tests.ops.test_watching import lease
from wire.leases import OVERTAKEN

JOURNAL = "threadlog.agent-decisions"


@pytest.fixture
def ends(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> FakeEnds:
    """Where partitions end, as the watch asks for it; a transaction is open in the journal."""
    made = FakeEnds(kafka, {(JOURNAL, 0): 0})
    kafka.add_entry(story("Ann")[0])
    monkeypatch.setattr("ops.watching.watch.StableEnds", lambda bootstrap, topics: made)
    return made


def silent(code: int, said: str) -> Any:
    """What asks a broker that answers so."""

    def look() -> Any:
        raise KafkaException(KafkaError(code, said))

    return look


def told(watch: Watch, now: float) -> list[tuple[str, bool]]:
    return [(news.record["alarm"], news.record["over"]) for news in watch.look(now)]


def renewed(watch: Watch, now: float) -> None:
    """Two copies say that they live, and a third that it was overtaken."""
    ms = int(now * 1000) + 1
    for said in (lease("a", ms=ms), lease("b", ms=ms, generation=2), lease("c", OVERTAKEN, ms=ms)):
        watch.take(said, now)


def test_silence_of_the_broker_ends_no_alarm(ends: FakeEnds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what the broker is asked about, nor what copies say in its topics; nor is it over when the broker is back
    and none has said anything yet. What lasts began when it began."""
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    for now in (0.0, AFTER_S):
        renewed(watch, now)
        first = told(watch, now)
    assert sorted(first) == [("copies", False), ("transaction", False)]
    look = ends.look
    monkeypatch.setattr(ends, "look", silent(KafkaError._TRANSPORT, "gone"))
    assert [told(watch, AFTER_S + s) for s in (2, 10, 2 + BROKER_S)] == [[], [], [("broker", False)]]
    monkeypatch.setattr(ends, "look", look)
    back = AFTER_S + 4 + BROKER_S
    assert told(watch, back) == [("broker", True)]
    for now in (back + 1, back + TRIES_S):
        renewed(watch, now)
        assert told(watch, now) == []
    ends.held = {}
    over = [(news.record["alarm"], news.record["lasted_s"]) for news in watch.look(back + 2 * TRIES_S)]
    assert ("transaction", back + 2 * TRIES_S - HELD_S) in over


def test_missing_topic_is_no_silence(ends: FakeEnds, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and the leases are read as before."""
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    monkeypatch.setattr(ends, "look", silent(KafkaError.UNKNOWN_TOPIC_OR_PART, "threadlog.agent-replies is not there"))
    assert told(watch, 0.0) == []
    lines = [news.line for news in watch.look(BROKER_S)]
    assert [line for line in lines if "agent-replies" in line] == [
        f"ALARM A topic is missing (threadlog.agent-replies is not there) for {BROKER_S:.0f} s. "
        "`threadlog topics --ensure` makes missing topics"
    ]
    assert any("Nobody holds the lease" in line for line in lines)


def test_silence_of_the_registry_is_told_and_ends_no_alarm(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as when a suspicion is looked into; that is done when it is back."""
    kafka.add("agent-events", b"u", b"v")
    kafka.add("agent-events", b"t", b"v")
    watch, entry = Watch(Settings(brokers="127.0.0.1:1")), story("Ann")[0]
    entry = replace(entry, input=replace(entry.input, topic="agent-events", partition=0, offset=1))
    entry = replace(entry, hash=entry.computed_hash())
    for record in (*kafka.topics["threadlog.agent-events"], kafka.add_entry(entry)):
        watch.take(record, 0.0)

    def gone(*given: Any, **more: Any) -> Any:
        raise RegistryUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr("ops.watching.lost.decided", gone)
        assert told(watch, PASSED_S) == []
        assert ("registry", False) in told(watch, PASSED_S + BROKER_S)
    news = watch.look(PASSED_S + BROKER_S + 1)
    assert [(one.record["alarm"], one.record.get("over")) for one in news] == [("lost", None), ("registry", True)]


class Pausing:
    """A registry that does not answer the first times it is asked about what a watch reads."""

    def __init__(self, kafka: FakeKafka, times: int) -> None:
        self.schemas, self.times, self.by_id = kafka.schemas, times, kafka.schemas.by_id

    def __call__(self, id: int) -> Any:
        self.times -= 1
        if self.times >= 0:
            raise RegistryUnavailable("no answer")
        return self.by_id(id)


def test_entry_that_no_registry_explains_is_read_again(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out it would make a gap of the next one, and a heal of that. With `--once` the command ends instead."""
    for entry in story("Ann", "Bob"):
        kafka.add_entry(entry)
    pauses: list[float] = []
    monkeypatch.setattr(ops.commands.watch.time, "sleep", pauses.append)
    monkeypatch.setattr(kafka.schemas, "by_id", Pausing(kafka, 3))
    counts = objects(run("--json", "watch"))[-1]
    assert (counts["entries"], counts["void"], pauses) == (2, 0, [ops.commands.watch.AGAIN_S] * 3)
    monkeypatch.setattr(kafka.schemas, "by_id", Pausing(kafka, 3))
    assert run("watch", "--once").exit_code == 1
