# SPDX-License-Identifier: Apache-2.0
"""A repair that fails in the middle is tried until it is done, and what is done by then is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from ops import http
from ops.settings import Settings
from ops.stack import flink, starting
from ops.stack.healing import AGAIN_S, HEALS_MAX, Cause, Unhealed
from ops.stack.submit import SubmitFailed
from tests.ops.heals import DROP, ENDED, START, STOP, Cluster, clustered, rebuilt
from wire.control import CAUGHT_UP, DROPPED, Mark


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return clustered(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "error",
    [
        SubmitFailed("Another copy"),
        http.HttpError("u", 503, "not ready"),
        KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_heal_that_fails_is_tried_again(cluster: Cluster, error: Exception) -> None:
    """After a while, and a few times; in the meantime every start makes the state anew."""
    cluster.fails = error
    healer = cluster.healer()
    with pytest.raises(Unhealed, match=r"nothing decides now: .*; it is tried again"):
        healer.heal(now=0)
    assert (cluster.did, [mark.what for mark in cluster.marks]) == (["stop"], [DROPPED])
    assert healer.heal(now=1) is False
    cluster.fails = None
    assert (healer.heal(now=AGAIN_S), healer.pending) == (True, {})


def test_heal_that_fails_is_tried_until_it_is_done(cluster: Cluster) -> None:
    """Ever more seldom; only what came to its end counts as a repair that was of no use."""
    cluster.fails = SubmitFailed("Another copy")
    healer, now, pauses = cluster.healer(), 0.0, list[float]()
    for _ in range(2 * HEALS_MAX):
        with pytest.raises(Unhealed, match="nothing decides now"):
            healer.heal(now)
        pauses.append(healer.due - now)
        now = healer.due
    assert pauses == [20, 40, 80, 160, 300, 300]
    cluster.fails = None
    assert healer.heal(now) is True


def test_heal_that_stopped_nothing_does_not_say_that_nothing_decides(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(settings: Settings) -> list[flink.Job]:
        raise http.HttpError("u", 503, "restarting")

    monkeypatch.setattr(flink, "jobs", away)
    with pytest.raises(Unhealed) as raised:
        cluster.healer().heal(now=0)
    assert "restarting" in str(raised.value)
    assert "nothing decides" not in str(raised.value)


def test_heal_whose_start_failed_behind_its_mark_is_tried_again(cluster: Cluster) -> None:
    """The job's `main()` has written down its start, and nothing runs: no other watch and no person will do it."""
    cluster.marks, cluster.jobs = [START, STOP, *rebuilt(12)], [ENDED]
    assert cluster.healer().heal(now=0) is True
    assert [one[0] for one in cluster.did] == ["ready", "begin"]


@pytest.mark.parametrize("by_hand", [False, True])
def test_heal_whose_job_comes_up_late_is_one(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, by_hand: bool) -> None:
    """It was given up, and runs when it is looked at again: bounds hold as for any other, and nothing is said to be
    down. Not where a person has made the state anew meanwhile."""
    monkeypatch.setattr(flink, "wait_running", lambda settings, kinds, seconds: kinds)
    monkeypatch.setattr(flink, "causes", lambda settings, kinds: "  no error yet")
    healer = cluster.healer()
    with pytest.raises(Unhealed, match="nothing decides now: the conversation does not come to run"):
        healer.heal(now=0)
    healer.valid(0, 19)
    if by_hand:
        cluster.marks += [DROP, Mark(CAUGHT_UP, "conversation", "", "file:/s/by-hand", {0: 30}), START]
    assert healer.heal(now=AGAIN_S) is not by_hand
    assert (healer.pending, healer.failed, healer.stopped) == ({}, 0, False)
    assert (len(healer.times), healer.healed) == ((0, {}) if by_hand else (1, {0: 20}))
    if not by_hand:
        healer.broke(Cause("void", (0, 99)))
        with pytest.raises(Unhealed, match="the last repair has not helped"):
            healer.heal(now=2 * AGAIN_S)


def test_heal_behind_a_late_one_counts_what_came_since_that(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid entry that was read before the job was found to run is one since the repair."""
    healer = cluster.healer()
    with monkeypatch.context() as given_up:
        given_up.setattr(flink, "wait_running", lambda settings, kinds, seconds: kinds)
        given_up.setattr(flink, "causes", lambda settings, kinds: "  no error yet")
        with pytest.raises(Unhealed):
            healer.heal(now=0)
    healer.valid(0, 20)
    assert healer.heal(now=AGAIN_S) is True
    healer.broke(Cause("void", (0, 99)))
    assert healer.heal(now=2 * AGAIN_S) is True


def test_heal_does_not_say_that_nothing_decides_where_a_person_has_begun(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try has stopped the conversation, and the next one fails before it stops what runs again."""
    cluster.fails = SubmitFailed("no slots")
    healer = cluster.healer()
    with pytest.raises(Unhealed, match="nothing decides now"):
        healer.heal(now=0)

    def away(*given: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer"))

    monkeypatch.setattr(starting, "write_mark", away)
    with pytest.raises(Unhealed) as raised:
        healer.heal(now=AGAIN_S)
    assert str(raised.value).startswith("no answer; it is tried again")
