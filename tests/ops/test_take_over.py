# SPDX-License-Identifier: Apache-2.0
"""`threadlog start` with what it does before it starts: copies are ended, lost inputs accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops import http
from ops.commands import start
from ops.context import Trouble
from ops.retention import Mismatch
from ops.settings import Settings
from ops.stack import flink, starting, take_over
from ops.stack.flink import CATCH_UP, Job
from ops.stack.layout import Layout
from tests.ops.fakes import FakeKafka, begun, objects, run
from wire.control import ACCEPTED, ENDED, Mark
from wire.inputs import Gap, Looked
from wire.leases import Found

RUNS, STUCK = {"total": 2, "running": 2}, {"total": 2, "running": 0}


@dataclass
class Cluster:
    """Flink's jobs, and what the broker says of others; `done` is what was done, in order."""

    jobs: list[Job] = field(default_factory=list)
    place: str = ""
    under_way: list[str] = field(default_factory=list)
    gaps: dict[str, list[Gap]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def end(self, how: str, job: Job) -> None:
        self.done.append(f"{how} {job.id}")
        self.jobs.remove(job)

    def stop_jobs(self, settings: Settings, layout: Layout, kinds: list[str], say: Any, s: float) -> list[str]:
        for job in [job for job in self.jobs if job.kind in kinds and job.is_running]:
            if job.id == "stubborn":
                return [job.kind]
            self.end("stop", job)
        return []

    def living(self, *given: Any) -> Found:
        self.done.append("ask for leases")
        return Found(self.place, {})

    def take_over(self, *kinds: str) -> None:
        take_over.take_over(Settings(), Layout(Path("/none")), list(kinds), self.said.append)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(flink, "jobs", lambda settings: list(made.jobs))
    monkeypatch.setattr(flink, "cancel", lambda settings, job: made.end("cancel", job))
    monkeypatch.setattr(flink, "generation", lambda settings, id: {"stuck": 3, "stubborn": 4}[id])
    monkeypatch.setattr(take_over, "stop_jobs", made.stop_jobs)
    monkeypatch.setattr(take_over, "living", made.living)
    monkeypatch.setattr(take_over, "read_marks", lambda *where: [])
    monkeypatch.setattr(take_over, "under_way", lambda *given: made.under_way.pop(0) if made.under_way else "")
    monkeypatch.setattr(take_over, "_POLL_S", 0)
    monkeypatch.setattr(starting, "write_mark", lambda b, n, codec, mark: made.marks.append(mark))
    monkeypatch.setattr(starting, "look", lambda b, n, codec, job: Looked({"x/0": 9}, made.gaps.get(job, [])))
    return made


def test_take_over_ends_every_copy(cluster: Cluster) -> None:
    """Catch-ups first; a copy that runs is stopped with a savepoint, one that cannot be is cancelled, and so is a
    second one and one that only tries to run; then nobody holds a lease."""
    cluster.jobs = [
        Job("conversation", "stuck", "RESTARTING", STUCK), Job(CATCH_UP, "catch-up", "RUNNING", RUNS),
        Job("tools", "tools", "RUNNING", RUNS), Job("conversation", "stubborn", "RUNNING", RUNS),
        Job("conversation", "old", "CANCELED", {}),
    ]  # fmt: skip
    cluster.take_over("conversation")
    assert cluster.done == ["cancel catch-up", "cancel stuck", "cancel stubborn", "ask for leases"]
    ends = [(mark.what, mark.job_id, mark.generation) for mark in cluster.marks]
    assert ends == [(ENDED, "stuck", 3), (ENDED, "stubborn", 4)]
    assert [job.id for job in cluster.jobs] == ["tools", "old"]


def test_take_over_of_a_job_that_runs_leaves_its_savepoint(cluster: Cluster) -> None:
    """The start then goes on from there. The tools job holds no lease."""
    cluster.jobs = [Job("tools", "t", "RUNNING", RUNS), Job("conversation", "c", "RUNNING", RUNS)]
    cluster.take_over("tools")
    cluster.take_over("conversation")
    assert (cluster.done, cluster.marks) == (["stop t", "stop c", "ask for leases"], [])


def test_take_over_of_a_copy_elsewhere_is_refused(cluster: Cluster) -> None:
    """It is out of this cluster's reach, and named."""
    cluster.place = "far/7"
    with pytest.raises(Trouble, match="A copy of the conversation runs in process far/7 and renews its lease"):
        cluster.take_over("conversation")


def test_take_over_waits_for_what_becomes_of_another_start(cluster: Cluster) -> None:
    """It may have been made a moment ago; said once."""
    cluster.under_way = ["generation 4", "generation 4"]
    cluster.take_over("conversation")
    assert [line for line in cluster.said if "under way (generation 4)" in line] == cluster.said


def test_lost_inputs_stop_a_start_unless_accepted(cluster: Cluster) -> None:
    """What is accepted is written down for each job that has lost any, and said."""
    cluster.gaps = {"tools": [Gap("tool-invocations", 1, 5, 9)]}
    with pytest.raises(Trouble, match="tools: 4 input offsets were deleted before they were handled: tool-inv"):
        starting.check_inputs(Settings(), ["conversation", "tools"], False, cluster.said.append)
    assert cluster.marks == []
    starting.check_inputs(Settings(), ["conversation", "tools"], True, cluster.said.append)
    assert [(mark.what, mark.job, mark.inputs) for mark in cluster.marks] == [(ACCEPTED, "tools", {"x/0": 9})]
    assert "tools: 4 input offsets" in cluster.said[0] and cluster.said[0].endswith(": accepted")


@pytest.fixture
def submitted(alone: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """`threadlog start …` with what it submits written down in `done`."""

    def submit(settings: Any, layout: Any, spec: str, kinds: list[str], *rest: Any, **more: Any) -> dict[str, str]:
        cluster.done.append(f"submit {' '.join(kinds)}")
        return dict.fromkeys(kinds, "new")

    begun(alone / ".threadlog")
    monkeypatch.setattr(start, "submit", submit)
    monkeypatch.setattr(start, "RUNNING_S", 0)
    monkeypatch.setattr(flink, "causes", lambda settings, kinds: "  the reason")
    monkeypatch.setattr(start, "mismatches", lambda settings: [Mismatch("agent-events", -1, 5)])
    monkeypatch.setattr(start, "take_over", lambda s, layout, kinds, say: cluster.jobs.clear())
    return lambda *words: objects(run("--json", "start", *words))


def test_start_leaves_what_runs_unless_it_takes_over(cluster: Cluster, submitted: Callable[..., list[Any]]) -> None:
    """With --take-over the same job is ended and begun."""
    cluster.jobs = [Job("conversation", "c", "RUNNING", RUNS), Job("tools", "t", "RUNNING", RUNS)]
    assert [line["started"] for line in submitted()] == [False, False]
    first, *jobs = submitted("--take-over")
    assert first == {"topic": "agent-events", "retention_ms": -1, "limit_ms": 5}  # told where a conversation begins
    assert [line["started"] for line in jobs] == [True, True]
    assert cluster.done == ["submit conversation tools"]


@pytest.mark.parametrize(
    ("words", "live"),
    [
        (("--rebuild",), ["conversation"]),
        (("--rebuild", "--job", "tools"), ["conversation", "tools"]),
        (("--job", "conversation", "--from-savepoint", "file:/s"), ["conversation"]),
    ],
    ids=str,
)
def test_start_with_another_state_is_refused_beside_what_runs(
    cluster: Cluster, submitted: Callable[..., list[Any]], words: tuple[str, ...], live: list[str]
) -> None:
    """It would go on with the state that it has, and look like done."""
    cluster.jobs = [Job(kind, kind, "RUNNING", RUNS) for kind in live]
    told = run("start", *words)
    assert (told.exit_code, f"{live[-1]} runs" in told.stderr, cluster.done) == (1, True, [])
    assert "`threadlog stop` first, or --take-over" in told.stderr
    assert next(line["started"] for line in submitted(*words, "--take-over") if "job" in line) is True


def test_rebuild_leaves_the_other_job_alone(cluster: Cluster, submitted: Callable[..., list[Any]]) -> None:
    """Where both are wanted the conversation is rebuilt, and tools may run."""
    cluster.jobs = [Job("tools", "t", "RUNNING", RUNS)]
    assert [line["started"] for line in submitted("--rebuild") if "job" in line] == [True, False]


def test_start_does_not_call_running_what_only_fails(cluster: Cluster, submitted: Callable[..., list[Any]]) -> None:
    """Flink brings it back again and again: why it failed last is told, and what ends it."""
    cluster.jobs = [Job("conversation", "c", "RESTARTING", STUCK), Job("tools", "t", "RUNNING", RUNS)]
    told = run("start")
    assert told.exit_code == 1
    assert "conversation is there and does not come to run:\n  the reason" in told.stderr
    assert "--take-over" in told.stderr


def test_start_accepts_lost_inputs_of_a_job_that_cannot_run(
    cluster: Cluster, submitted: Callable[..., list[Any]]
) -> None:
    """Flink tries it again and again; once the loss is accepted it goes on by itself."""
    cluster.jobs = [Job("conversation", "c", "RESTARTING", STUCK), Job("tools", "t", "RUNNING", RUNS)]
    cluster.gaps = {"conversation": [Gap("agent-events", 1, 5, 9)]}
    assert run("start").exit_code == 1
    assert cluster.marks == []
    run("start", "--accept-lost-inputs")
    assert [(mark.what, mark.job) for mark in cluster.marks] == [(ACCEPTED, "conversation")]
    assert cluster.done == []


def test_lost_inputs_are_accepted_on_a_cluster_of_ones_own(
    kafka: FakeKafka, cluster: Cluster, submitted: Callable[..., list[Any]]
) -> None:
    """Where jobs are started by other means; nothing is submitted, and any other start stays refused."""
    cluster.gaps = {"tools": [Gap("tool-invocations", 1, 5, 9)]}
    assert submitted("--accept-lost-inputs") == [{"accepted": ["conversation", "tools"]}]
    assert ([mark.job for mark in cluster.marks], cluster.done) == (["tools"], [])
    assert "no local stack" in run("start").stderr


def test_jobs_of_another_namespace_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster may run several."""
    names = ["threadlog.tools", "other.tools", "threadlog-2.conversation", "threadlog.conversation", "tools", "x.bare"]
    listed = [{"name": n, "jid": n, "state": "RUNNING", "tasks": {}, "start-time": 1} for n in names]
    monkeypatch.setattr(http, "call", lambda url: {"jobs": listed})
    assert [(job.kind, job.id) for job in flink.jobs(Settings())] == [
        ("tools", "threadlog.tools"), ("conversation", "threadlog.conversation"),
    ]  # fmt: skip
