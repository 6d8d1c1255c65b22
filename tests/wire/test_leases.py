# SPDX-License-Identifier: Apache-2.0
"""Leases in agent-leases: who holds one, until when, and what a start makes of it."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException

from tests.wire.agent_leases import CODEC, NOW_S, Topic
from wire import leases
from wire.control import Overtaken
from wire.frames import Record
from wire.leases import (
    ASKS,
    DEAD_S,
    HELD,
    OBSERVE_S,
    OVERTAKEN,
    RELEASED,
    UNREADY,
    Lease,
    has_held,
    joined,
    living,
)


def test_lease_nobody_holds_is_free_at_once(topic: Topic) -> None:
    """Before the first one; after a release; long after the last; whatever other jobs and writers do."""
    assert topic.living() == ""
    topic.records += [topic.record("a", HELD), topic.record("a", RELEASED)]
    topic.records += [topic.record("b", HELD, DEAD_S + 5), topic.record("c", HELD, job="tools")]
    topic.records += [Record("ns.agent-leases", 0, 9, int(NOW_S * 1000), b"conversation", b"?", [])]
    assert (topic.living(), topic.now_s) == ("", NOW_S)


def test_lease_that_is_renewed_is_held(topic: Topic) -> None:
    """By the next renewal, so no two clocks are compared."""
    topic.records += [topic.record("a", HELD)]
    topic.to_come = [topic.record("a", HELD)]
    assert topic.living() != ""


def test_lease_of_a_killed_copy_is_waited_out(topic: Topic) -> None:
    """It ends without a word; no renewal comes for longer than a live copy would wait."""
    topic.records += [topic.record("a", HELD)]
    assert topic.living() == ""
    assert OBSERVE_S <= topic.now_s - NOW_S <= OBSERVE_S + 2


@pytest.mark.parametrize("ahead_s", [DEAD_S + 5, 86_400, -DEAD_S - 5])
def test_lease_is_held_whatever_the_clock_of_who_asks(topic: Topic, ahead_s: float) -> None:
    """By the next renewal, where its clock is far from the broker's. One that died long before the newest lease is not
    waited for."""
    topic.records += [topic.record("dead", HELD, DEAD_S + 5), topic.record("a", HELD)]
    topic.to_come = [topic.record("a", HELD)]
    topic.now_s += ahead_s
    assert topic.living() != ""
    topic.to_come = []
    topic.records.append(topic.record("a", RELEASED))
    assert topic.living() == ""
    assert (topic.now_s == NOW_S + 1 + ahead_s) == (ahead_s > 0)


def test_lease_is_free_when_the_last_holder_releases_it(topic: Topic) -> None:
    """Each subtask holds its own."""
    topic.records += [topic.record("a", HELD), topic.record("b", HELD)]
    topic.to_come = [topic.record("a", RELEASED), topic.record("b", RELEASED)]
    assert (topic.living(), topic.now_s) == ("", NOW_S + 2)
    topic.to_come = [topic.record("a", RELEASED), topic.record("b", HELD)]
    assert topic.living() != ""


def test_lease_is_not_held_by_a_copy_that_was_overtaken(topic: Topic) -> None:
    """It says that it tries, which keeps nobody from starting, and is no sign of the start that has overtaken it."""
    lease = Lease("conversation", "ns", 4)

    def begin() -> None:
        raise Overtaken("generation 5 was started")

    with pytest.raises(Overtaken):
        lease.hold(topic, CODEC, begin)  # type: ignore[arg-type]
    lease.release()
    assert topic.states() == [ASKS, OVERTAKEN]
    assert (topic.living(), topic.now_s) == ("", NOW_S)
    assert not has_held("b", "ns", CODEC, "conversation", 4)
    topic.records.append(topic.record("a", HELD, generation=4))
    assert has_held("b", "ns", CODEC, "conversation", 4)


def test_lease_is_renewed_until_it_is_released(topic: Topic) -> None:
    """And released once."""
    lease = Lease("conversation", "ns")
    lease.hold(topic, CODEC)  # type: ignore[arg-type]
    topic.wait(5)
    lease.release()
    lease.release()
    assert (topic.states()[0], set(topic.states()[1:-1]), topic.states()[-1]) == (ASKS, {HELD}, RELEASED)


def test_lease_is_shown_before_its_holder_looks(topic: Topic) -> None:
    """Whether it may begin. So a start that it does not see sees it. One that may not begin is gone from the leases."""
    lease, seen = Lease("conversation", "ns", 4), list[list[str]]()

    def begin() -> None:
        seen.append(topic.states())
        raise RuntimeError("inputs are lost")

    with pytest.raises(RuntimeError, match="inputs are lost"):
        lease.hold(topic, CODEC, begin)  # type: ignore[arg-type]
    lease.release()
    assert (seen, topic.states()) == ([[ASKS]], [ASKS, UNREADY])
    assert not has_held(
        "b", "ns", CODEC, "conversation", 4
    )  # it is tried again, and a start that is under way still is


def test_lease_that_no_broker_has_is_not_held(topic: Topic) -> None:
    """Its holder has not shown itself, so it does not even look."""
    topic.lost, lease = True, Lease("conversation", "ns", 4)
    with pytest.raises(KafkaException, match="was not acknowledged"):
        lease.hold(topic, CODEC, lambda: pytest.fail("it looked"))  # type: ignore[arg-type]


def test_copy_that_asks_whether_it_may_begin_is_waited_for(topic: Topic) -> None:
    """It holds a lease soon, or says that it may not begin."""
    topic.records += [topic.record("a", ASKS)]
    topic.to_come = [topic.record("a", HELD)]
    assert topic.living() != ""
    topic.to_come = [topic.record("a", OVERTAKEN)]
    assert (topic.living(), topic.now_s) == ("", NOW_S + 2)


def test_copy_that_asks_when_the_time_is_nearly_up_is_seen_behind_the_mark(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has waited for what becomes of it."""
    topic.records += [topic.record("dead", HELD)]
    monkeypatch.setattr(leases, "OBSERVE_S", 1.5)
    topic.to_come = [topic.record("dead", HELD, job="tools"), topic.record("a", ASKS)]
    found = living("b", "ns", CODEC, "conversation", lambda: topic.now_s)
    assert (found.place, found.read) == ("", {0: 2})
    topic.records += topic.to_come
    topic.told_later = [topic.record("a", HELD)]
    assert joined("b", "ns", CODEC, "conversation", found.read) != ""


def test_copy_that_has_joined_since_a_start_looked_is_seen(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has ended again has not, nor one of another job, nor one from before."""
    topic.records += [topic.record("a", HELD)]
    topic.to_come = [topic.record("a", RELEASED)]
    since = living("b", "ns", CODEC, "conversation", lambda: topic.now_s).read
    topic.records += topic.to_come

    def seen() -> bool:
        return joined("b", "ns", CODEC, "conversation", since) != ""

    assert (since, seen()) == ({0: 2}, False)
    for said in (("b", HELD), ("b", RELEASED), ("c", ASKS, HELD), ("c", OVERTAKEN), ("d", ASKS, UNREADY)):
        topic.records.append(topic.record(*said[:2]))
        topic.told_later = [topic.record(said[0], said[2])] if said[2:] else []
        assert seen() == (said[-1] == HELD)
    topic.records.append(topic.record("e", HELD, job="tools"))
    assert not seen()
    monkeypatch.setattr(leases, "OBSERVE_S", 0.05)
    topic.records.append(topic.record("f", ASKS))  # it has died, or takes long; then it looks again before it decides
    assert not seen()


def test_lease_holder_that_was_overtaken_is_told(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks every now and then, and what keeps it from asking once is no trouble."""
    monkeypatch.setattr(leases, "LOOK_S", 0)
    answers: list[Exception] = [RuntimeError("no broker just now"), Overtaken("generation 3 was started")]
    lease = Lease("conversation", "ns")

    def look() -> None:
        raise answers.pop(0) if len(answers) > 1 else answers[0]

    lease.hold(topic, CODEC, look=look)  # type: ignore[arg-type]
    topic.wait(5)
    lease.release()
    assert lease.trouble == "generation 3 was started"


def test_lease_that_is_new_has_no_trouble(topic: Topic) -> None:
    """Another attempt of the task asks for itself."""
    lease = Lease("conversation", "ns")
    lease.trouble = "of the last attempt"
    lease.hold(topic, CODEC)  # type: ignore[arg-type]
    topic.wait(3)
    lease.release()
    assert lease.trouble == ""


def test_lease_says_which_start_it_is_of(topic: Topic) -> None:
    """A lease of another generation, or of another job, is no sign of this one; one that was given back is."""
    assert not has_held("b", "ns", CODEC, "conversation", 4)
    topic.records += [topic.record("a", HELD, generation=3), topic.record("b", HELD, job="tools", generation=4)]
    assert not has_held("b", "ns", CODEC, "conversation", 4)
    topic.records.append(topic.record("c", RELEASED, generation=4))
    assert has_held("b", "ns", CODEC, "conversation", 4)


def test_lease_carries_the_generation_of_its_holder(topic: Topic) -> None:
    """As a running copy writes it."""
    lease = Lease("conversation", "ns", 6)
    lease.hold(topic, CODEC)  # type: ignore[arg-type]
    topic.wait(2)
    lease.release()
    assert has_held("b", "ns", CODEC, "conversation", 6)


def test_lease_that_was_never_held_is_released_without_a_word(topic: Topic) -> None:
    """An operator that did not open is closed like any other."""
    Lease("conversation", "ns").release()
    assert topic.records == []
