# SPDX-License-Identifier: Apache-2.0
"""The wait for a catch-up ends: with all of the journal read, or with why it never will be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaException

from ops import http
from ops.settings import Settings
from ops.stack import catch_up, flink
from ops.stack.catch_up import APART_MS, FAILURES_MAX, SubmitFailed, wait_read

# What one look finds: the reader's status, how far it has read, and when the job last failed.
Look = tuple[str, int, int]


@dataclass
class Cluster:
    """A catch-up as it is found, look by look; the last one stays."""

    looks: list[Look] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    failure: str = "ValueError: poison"
    read: int = 0
    is_away: bool = False
    checkpoints: list[str] = field(default_factory=list)

    def call(self, url: str, body: Any = None) -> dict[str, Any]:
        if body is not None:
            self.checkpoints.append(url)
            raise http.HttpError(url, 503, "not all tasks run")
        status, self.read, _ = self.looks[0]
        return {"state": "RUNNING", "vertices": [{"name": "journal-g", "status": status}]}

    def left_behind(self, bootstrap: str, namespace: str, group: str, begin: Mapping[int, int]) -> int:
        assert (namespace, group, begin) == ("threadlog", "threadlog.catchup.g", {0: 10})
        if self.is_away:
            raise KafkaException("no broker")
        return self.read

    def last_failed(self, settings: Settings, job_id: str) -> tuple[int, str]:
        _, _, at = self.looks.pop(0)
        return at, self.failure if at else ""

    def wait(self, looks: Iterator[Look] | list[Look]) -> None:
        """Fails where it is still waiting when there is nothing more to see."""
        self.looks = [*looks]
        wait_read(Settings(), "c", "g", {0: (10, 109)}, self.said.append)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(http, "call", made.call)
    monkeypatch.setattr(flink, "last_failed", made.last_failed)
    monkeypatch.setattr(catch_up, "left_behind", made.left_behind)
    monkeypatch.setattr(catch_up, "POLL_S", 0)
    return made


def attempts(count: int, apart_ms: int = 2_000, read: int = 7, more: int = 0) -> Iterator[Look]:
    """Each runs, reads, and fails; `more`: how much further each gets."""
    for number in range(count):
        yield "RUNNING", read + number * more, number * apart_ms
        yield "RUNNING", read + number * more, number * apart_ms
        yield "CREATED", read + number * more, (number + 1) * apart_ms


END: list[Look] = [("FINISHED", 99, 0)]


def test_catch_up_that_fails_again_and_again_is_given_up(cluster: Cluster) -> None:
    """Flink restarts it for ever, and each attempt runs for a moment; the cause is told."""
    with pytest.raises(SubmitFailed, match=f"failed {FAILURES_MAX} times in a row, .*: ValueError: poison"):
        cluster.wait([*attempts(FAILURES_MAX), *END])


def test_catch_up_that_gets_further_is_waited_for(cluster: Cluster) -> None:
    """TaskManagers that are killed cost attempts, and not the rebuild."""
    cluster.wait([*attempts(3 * FAILURES_MAX, more=1), *END])
    cluster.wait([*attempts(FAILURES_MAX - 1), *END])


def test_catch_up_that_seldom_fails_is_waited_for(cluster: Cluster) -> None:
    """A rebuild of hours goes on from its checkpoints, so that no attempt may read as much as the first."""
    cluster.wait([*attempts(3 * FAILURES_MAX, apart_ms=APART_MS), *END])


def test_catch_up_that_fails_tells_why_while_it_is_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "TELL_S", -1)
    monkeypatch.setattr(catch_up, "ASK_S", -1)
    cluster.wait([("RUNNING", 3, 0), ("RUNNING", 5, 1), *END])
    assert cluster.said == [
        "  3 of 99 offsets of the journal read",
        "  5 of 99 offsets of the journal read; it has failed: ValueError: poison",
    ]


def test_catch_up_is_waited_for_while_the_broker_is_away(cluster: Cluster) -> None:
    """How far it is, nobody can tell then, nor whether its failures are its own."""
    cluster.is_away = True
    cluster.wait([*attempts(3 * FAILURES_MAX), *END])


def test_catch_up_that_has_read_all_does_not_wait_for_its_next_checkpoint(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is asked for, again and again: the first may come before what was read has been followed."""
    monkeypatch.setattr(catch_up, "ASK_S", -1)
    cluster.wait([("RUNNING", 98, 0), *END])
    assert cluster.checkpoints == []
    cluster.wait([("RUNNING", 98, 0), ("RUNNING", 99, 0), ("RUNNING", 99, 0), *END])
    assert cluster.checkpoints == [f"{Settings().flink_rest}/jobs/c/checkpoints"] * 2


def test_catch_up_of_which_something_was_deleted_is_given_up_at_once(cluster: Cluster) -> None:
    """Each attempt would fail in the same way."""
    cluster.failure = "udfs.slices.Deleted: offsets 3 to 9 of partition 0 were deleted by retention"
    with pytest.raises(SubmitFailed, match=r"start again: .* offsets 3 to 9 of partition 0 were deleted"):
        cluster.wait([("RUNNING", 3, 0), ("RUNNING", 5, 1), *END])
