# SPDX-License-Identifier: Apache-2.0
"""The repair of a broken journal: what it does in which order, when it does nothing, and when it gives up."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ops.settings import remember
from ops.stack import flink, lifecycle, records, starting
from ops.stack.healing import AGAIN_S, HEALS_MAX, Cause, Unhealed
from ops.stack.layout import Layout
from ops.stack.submit import SubmitFailed
from tests.ops.heals import COPY, DROP, LOST, RUNS, START, STOP, TOOLS, VOID, Cluster, clustered, rebuilt
from wire.control import ACCEPTED, CAUGHT_UP, DROPPED, LEFT_STOPPED, Mark


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return clustered(tmp_path, monkeypatch)


def test_heal_stops_rebuilds_and_starts_the_code_that_ran(cluster: Cluster) -> None:
    """From no state at all; before the stop it is written down that none may be gone on from."""
    healer = cluster.healer()
    assert (healer.heal(now=0), healer.healed, healer.pending) == (True, {0: 20}, {})
    assert cluster.did == [
        "stop",
        ("ready", "m:app", {"conversation": ""}, "c0de"),
        ("begin", "file:/s/rebuilt", "c0de"),
    ]
    assert cluster.marks[0] == DROP
    assert healer.heal(now=999) is False


def test_heal_of_a_branch_goes_by_what_the_branch_ran(cluster: Cluster) -> None:
    """Not by what the stack's own namespace runs, whose records lie beside."""
    remember(cluster.settings)
    cluster.settings = dataclasses.replace(cluster.settings, namespace="branch")
    with pytest.raises(Unhealed, match="nothing tells which code ran"):
        cluster.healer().heal(now=0)
    folder = cluster.settings.state_dir
    (folder / "code" / "f00d").mkdir()
    records.write(Layout(folder, "branch"), records.Record("conversation", RUNS.id, "other:app", "f00d"))
    cluster.healer().heal(now=0)
    assert cluster.did[1] == ("ready", "other:app", {"conversation": ""}, "f00d")


def test_heal_cancels_what_cannot_be_stopped(cluster: Cluster) -> None:
    """Its state is dropped anyway; a job that is gone needs neither."""
    cluster.refuses_stop = True
    cluster.healer().heal(now=0)
    assert cluster.did[0] == "cancel"
    cluster.did, cluster.jobs, cluster.marks = [], [], []
    cluster.healer().heal(now=0)
    assert [one[0] for one in cluster.did] == ["ready", "begin"]


def test_heal_ends_each_copy_of_the_conversation(cluster: Cluster) -> None:
    """One that stays would decide beside what the heal starts, and the rebuild is refused while it runs."""
    cluster.jobs = [RUNS, COPY]
    cluster.healer().heal(now=0)
    assert cluster.did[:2] == ["stop", "stop"]


@pytest.mark.parametrize("cause", [VOID, LOST], ids=["void", "lost"])
def test_heal_does_nothing_about_what_is_healed(cluster: Cluster, cause: Cause) -> None:
    """By another watch, or by a person, while this one waited for them: a rebuild since then, and a start."""
    cluster.marks = [STOP, *rebuilt(12)]
    healer = cluster.healer(cause)
    assert (healer.heal(now=0), healer.pending, cluster.did) == (False, {}, [])


@pytest.mark.parametrize(
    ("cause", "marks"),
    [
        (VOID, rebuilt(7)),
        (replace(LOST, mark=1), rebuilt(12)),
        (VOID, [Mark(CAUGHT_UP, "conversation", "", "file:/s/1", {0: 12}), START]),
        (VOID, rebuilt(12)[:-1]),
    ],
    ids=["void behind it", "lost since", "caught up from a state", "not started"],
)
def test_heal_is_done_where_no_rebuild_has_done_it(cluster: Cluster, cause: Cause, marks: list[Mark]) -> None:
    """A state that was caught up may hold what the journal lacks; a rebuild that was not started is none."""
    cluster.marks = marks
    assert cluster.healer(cause).heal(now=0) is True


def test_heal_starts_nothing_that_a_person_has_stopped(cluster: Cluster) -> None:
    """It is done when the conversation runs again, on what it was stopped with."""
    cluster.marks, running = [START, STOP, Mark(ACCEPTED, "conversation", "", "", {})], cluster.jobs
    cluster.jobs, healer = [], cluster.healer()
    with pytest.raises(Unhealed, match="was stopped, and is left so"):
        healer.heal(now=0)
    cluster.jobs = running
    cluster.marks.append(START)
    assert (healer.heal(now=1), cluster.did) == (False, [])
    assert healer.heal(now=AGAIN_S) is True


def test_heal_repairs_what_runs_whatever_was_said(cluster: Cluster) -> None:
    """A stop that found no job, because the JobManager had just come back: what that recovers runs, and is repaired."""
    cluster.marks = [START, Mark(LEFT_STOPPED, "conversation", "", "", {})]
    assert cluster.healer().heal(now=0) is True


def test_heal_does_not_take_a_copy_that_was_stopped_for_one_that_runs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JobManager that died behind the stop brings it back, from a checkpoint before that; it refuses to begin."""
    cluster.marks = [START, msgspec.structs.replace(STOP, generation=3)]
    monkeypatch.setattr(flink, "generation", lambda settings, id: 3)
    with pytest.raises(Unhealed, match="was stopped, and is left so"):
        cluster.healer().heal(now=0)
    monkeypatch.setattr(flink, "generation", lambda settings, id: 4)
    assert cluster.healer().heal(now=0) is True


def test_heal_starts_nothing_that_a_person_has_left_stopped(cluster: Cluster) -> None:
    """A try had stopped it and failed, so that the person found nothing to stop; it is done when a person begins."""
    cluster.fails = SubmitFailed("no slots")
    healer = cluster.healer()
    with pytest.raises(Unhealed, match="it is tried again"):
        healer.heal(now=0)
    cluster.fails, cluster.jobs = None, [TOOLS]
    starting.leave_stopped(cluster.settings, cluster.said.append)
    with pytest.raises(Unhealed, match="was stopped, and is left so"):
        healer.heal(now=AGAIN_S)
    assert [mark.what for mark in cluster.marks] == [DROPPED, LEFT_STOPPED]
    cluster.marks.append(START)
    assert healer.heal(now=2 * AGAIN_S) is True


def test_heal_runs_with_the_parallelism_of_now(cluster: Cluster) -> None:
    """`threadlog start --parallelism` may have come since the watch began."""
    remember(dataclasses.replace(cluster.settings, parallelism=2))
    cluster.healer().heal(now=0)
    assert (cluster.settings.parallelism, cluster.parallelism) == (1, 2)


def test_heal_is_done_again_only_if_it_helped(cluster: Cluster) -> None:
    """A valid entry after it is what helping means."""
    healer = cluster.healer()
    healer.heal(now=0)
    healer.broke(Cause("void", (0, 99)))
    healer.valid(0, 19)
    with pytest.raises(Unhealed, match="the last repair has not helped"):
        healer.heal(now=1)
    healer.valid(0, 20)
    assert healer.heal(now=1 + AGAIN_S) is True


def test_heal_is_done_a_few_times_an_hour(cluster: Cluster) -> None:
    """Whatever comes of it."""
    healer = cluster.healer()
    for number in range(HEALS_MAX):
        healer.broke(Cause("void", (0, 99)))
        assert healer.heal(now=number) is True
        healer.valid(0, 100)
    healer.broke(Cause("void", (0, 99)))
    with pytest.raises(Unhealed, match=f"{HEALS_MAX} repairs within 60 minutes"):
        healer.heal(now=HEALS_MAX)
    assert healer.heal(now=3_601) is True


def test_heal_does_not_wait_for_another_command(cluster: Cluster) -> None:
    """A rebuild by hand may take hours, in which the watch goes on telling."""
    healer = cluster.healer()
    with lifecycle.alone(cluster.settings.state_dir, print):
        assert (healer.heal(now=0), cluster.did, healer.due) == (False, [], AGAIN_S)
    assert healer.heal(now=AGAIN_S) is True


def test_heal_of_the_last_cause_is_one_of_those_before(cluster: Cluster) -> None:
    """A rebuild that a person made may have repaired the first, and not what came behind it."""
    healer = cluster.healer()
    healer.broke(Cause("void", (0, 15)))
    healer.broke(Cause("void", (0, 11)))
    cluster.marks = [START, *rebuilt(12)]
    assert (healer.heal(now=0), healer.pending) == (True, {})


def test_heal_that_cannot_know_what_ran_stops_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """The conversation decides on, and a person is told what to do."""
    (tmp_path / "code" / "c0de").rmdir()
    with pytest.raises(Unhealed, match="nothing tells which code ran"):
        cluster.healer().heal(now=0)
    assert (cluster.did, cluster.marks) == ([], [])
