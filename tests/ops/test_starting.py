# SPDX-License-Identifier: Apache-2.0
"""From where the conversation starts, without a cluster: what is chosen, what is recorded, what is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from ops.settings import Settings
from ops.stack import flink, records, starting, submit
from ops.stack.catch_up import SubmitFailed
from ops.stack.command_line import run_command
from ops.stack.layout import Layout
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.starts import LEFT, OTHER, POINT, Cluster, clustered
from wire.control import CAUGHT_UP, DROPPED, ENDED, STOPPED, Mark


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return clustered(tmp_path, monkeypatch)


def test_start_goes_on_from_the_last_stop(cluster: Cluster) -> None:
    """Where nothing was decided since, nothing is read and nothing recorded."""
    cluster.held = {0: (0, 7)}
    assert (cluster.go(POINT), cluster.runs, cluster.written) == (POINT, [], [])


@pytest.mark.parametrize("point", [POINT, "file:/s/older", "file:/chk-7", ""])
def test_start_from_anywhere_else_catches_up(cluster: Cluster, point: str) -> None:
    """To the end as of now; what it leaves is recorded with that end, and the live job begins there."""
    assert cluster.go(point) == LEFT
    [(began, [_, generation, _, _, _, until])] = cluster.runs
    assert (began, until, len(generation)) == (point, "0:9", 12)
    *dropped, mark = cluster.written
    assert [one.what for one in dropped] == ([] if point else [DROPPED])
    assert (mark.what, mark.savepoint, mark.journal, mark.app, mark.code) == (CAUGHT_UP, LEFT, {0: 9}, "m:app", "code")
    assert ("rebuilding" if not point else "catching up") in cluster.said[0]


def test_start_gives_each_catch_up_a_name_of_its_own(cluster: Cluster) -> None:
    """Its sources must not go on from the offsets of an earlier one."""
    cluster.go(POINT)
    cluster.go(POINT)
    first, second = (more[1] for _, more in cluster.runs)
    assert first != second


def test_start_saves_the_state_of_a_long_catch_up_seldom(cluster: Cluster) -> None:
    """The last word on the line counts: it overrules the interval that the live job has."""
    cluster.held = {0: (0, 90_000)}
    cluster.go("")
    assert cluster.runs[0][1][:2] == ["--checkpoint-interval-ms", "5000"]


def test_start_beside_an_empty_journal_discards_a_state(cluster: Cluster) -> None:
    """A state that is ahead of the journal holds what nobody has decided."""
    cluster.held, cluster.mark = {0: (0, 0)}, None
    assert (cluster.go("file:/chk-1"), cluster.runs) == ("", [])


def test_start_from_a_state_of_another_history_rebuilds(cluster: Cluster) -> None:
    """The catch-up fails on it, is ended, and the state is made from the journal alone."""
    cluster.failures = [OTHER]
    assert cluster.go("file:/s/fork") == LEFT
    assert [point for point, _ in cluster.runs] == ["file:/s/fork", ""]
    assert [mark.what for mark in cluster.written] == [DROPPED, CAUGHT_UP]
    assert cluster.cancelled == ["job-1"]
    assert any("thread 't' stands at seq 3: rebuilding" in line for line in cluster.said)


def test_start_from_a_state_that_is_ahead_rebuilds(cluster: Cluster) -> None:
    """A commit was lost after the checkpoint, and no entry came since: the journal was followed to its end, and what
    that leaves is written down nowhere. Of a rebuild nothing is asked: it holds what the journal holds."""
    cluster.ahead = ["file:/chk-7", LEFT, ""]
    assert cluster.go("file:/chk-7") == LEFT
    assert [point for point, _ in cluster.runs] == ["file:/chk-7", ""]
    assert [mark.what for mark in cluster.written] == [DROPPED, CAUGHT_UP]
    assert "  it is ahead: rebuilding the state from the journal" in cluster.said


def test_rebuild_that_finds_another_history_is_told_in_a_sentence(cluster: Cluster) -> None:
    cluster.failures = [OTHER, OTHER]
    with pytest.raises(SubmitFailed, match="makes no state that goes on from its end"):
        cluster.go("file:/s/fork")
    assert cluster.cancelled == ["job-1", "job-2"]


def test_rebuild_that_is_not_let_in_drops_no_state(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the conversation runs elsewhere: its checkpoints, and what it is stopped with, stay to go on from."""

    def refused(self: Cluster, point: str, more: list[str]) -> str:
        raise SubmitFailed("a copy of it runs")

    monkeypatch.setattr(Cluster, "run", refused)
    with pytest.raises(SubmitFailed):
        cluster.go("")
    assert cluster.written == []


@pytest.mark.parametrize("point", ["", "file:/s/older"], ids=["rebuilt", "caught up"])
def test_start_that_fails_behind_its_catch_up_is_followed_by_one_from_there(cluster: Cluster, point: str) -> None:
    """Not by one from the state before, which is dropped: it may hold decisions that the journal lacks."""
    records.write(cluster.layout, records.Record("conversation", "a" * 32, "m:app", "c0de", "file:/s/void"))
    cluster.go(point)
    found = records.read(cluster.layout, "conversation")
    assert found is not None
    assert (found.job_id, found.code, found.savepoint) == ("a" * 32, "c0de", LEFT)


def test_start_that_fails_behind_a_first_catch_up_is_followed_by_one_from_there(cluster: Cluster) -> None:
    """Also where nothing told of any job."""
    cluster.go("")
    assert records.restore_point(cluster.layout, "conversation") == LEFT


def test_start_from_a_state_that_was_dropped_rebuilds(cluster: Cluster) -> None:
    """A repair was broken off in the middle: what was found is the state that is not the journal's."""
    cluster.mark = Mark(DROPPED, "conversation", "", "", {})
    assert cluster.go("file:/s/void") == LEFT
    assert [point for point, _ in cluster.runs] == [""]
    assert any("file:/s/void may not be gone on from" in line for line in cluster.said)


def test_start_beside_another_writer_is_refused(cluster: Cluster) -> None:
    """A record that came while the state was brought up to the journal is another copy's."""
    cluster.more = 1
    with pytest.raises(SubmitFailed, match="Another copy of the job writes threadlog: stop that one first"):
        cluster.go(POINT)
    assert cluster.written == []


def test_start_without_the_beginning_of_the_journal_tells_what_is_lost(cluster: Cluster) -> None:
    """Threads begin at their snapshots; those that have none left are named."""
    cluster.held = {0: (5, 9), 1: (0, 0)}
    cluster.lost = ["t-1", "t-2", "t-3", "t-4"]
    assert cluster.go(POINT) == LEFT
    assert cluster.runs[0][1][-4:] == ["--journal-begin", "0:5,1:0", "--journal-end", "0:9,1:0"]
    assert any("gone from 1 of its partitions" in line for line in cluster.said)
    assert any("4 of them have none left (t-1, t-2, t-3, …)" in line for line in cluster.said)


def test_start_whose_catch_up_fails_leaves_none_running(cluster: Cluster) -> None:
    """It would hold the names of the live job's transactions."""
    cluster.status, cluster.state = "CANCELED", "FAILED"
    with pytest.raises(SubmitFailed, match="catch-up job-1 did not come to its end"):
        cluster.go(POINT)
    assert (cluster.cancelled, cluster.written) == (["job-1"], [])


def test_start_finds_what_is_left(cluster: Cluster, tmp_path: Path) -> None:
    """The job's own newest point, else the last recorded stop; a path that is gone is none."""
    there = tmp_path / "savepoint-1"
    there.mkdir()
    (there / "_metadata").touch()
    left = starting.what_is_left
    assert left(Settings(), f"file:{there}", "conversation") == f"file:{there}"
    assert left(Settings(), "file:/gone", "conversation") == ""
    cluster.mark = Mark(STOPPED, "conversation", "", f"file:{there}", {})
    assert left(Settings(), "file:/gone", "conversation") == f"file:{there}"
    assert left(Settings(), "file:/gone", "tools") == ""
    assert left(Settings(), "s3://b/savepoint-2", "conversation") == "s3://b/savepoint-2"


def test_catch_up_alone_may_drop_state(tmp_path: Path) -> None:
    """The switch that loses state in silence is on no other job's command line."""
    (tmp_path / "m.py").touch()
    for kind, allowed in ((flink.CATCH_UP, True), ("conversation", False), ("tools", False)):
        for point in ("file:/s", ""):
            line = run_command(Settings(), Layout(tmp_path), "m:app", kind, tmp_path, point)
            assert ("-n" in line) == (allowed and bool(point)), line
            assert line[line.index("-py") + 1] == str(tmp_path / "jobs" / f"{kind}.py")


def test_catch_up_that_was_left_running_is_ended(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else is started or stopped; other jobs are left alone."""
    jobs = {kind: flink.Job(kind, kind, "RUNNING", {}) for kind in ("tools", flink.CATCH_UP)}
    monkeypatch.setattr(flink, "live_jobs", lambda settings: jobs)
    monkeypatch.setattr(flink, "cancel", lambda settings, job: cluster.cancelled.append(jobs.pop(job.id).id))
    submit.end_catch_ups(Settings(), cluster.said.append)
    assert (cluster.cancelled, list(jobs)) == ([flink.CATCH_UP], ["tools"])


def test_stop_whose_last_commit_was_lost_is_not_recorded(cluster: Cluster) -> None:
    """Another writer took it away: the next start finds no mark of that savepoint. That this start of the job has ended
    is told all the same, so that no copy of it goes on."""
    cluster.ahead = [LEFT]
    known = records.Record("conversation", "", "m:app", "code")
    starting.remember_stop(Settings(), "id", LEFT, known, 4, cluster.said.append)
    assert cluster.said == ["  it is ahead: the next start will make the state anew"]
    assert [(mark.what, mark.generation, mark.savepoint) for mark in cluster.written] == [
        (ENDED, 4, ""),
        (DROPPED, 0, ""),
    ]


def test_stop_of_a_job_that_has_gone_on_from_another_history_is_not_recorded(cluster: Cluster) -> None:
    """However long ago the commit was lost that it lacks: the tools job has told of what came since."""
    cluster.forked = "it forked"
    known = records.Record("conversation", "", "m:app", "code")
    starting.remember_stop(Settings(), "id", LEFT, known, 4, cluster.said.append)
    assert cluster.said == ["  it forked: the next start will hold the state against the journal"]
    assert [mark.what for mark in cluster.written] == [ENDED]
    starting.remember(Settings(), CAUGHT_UP, "id", LEFT, known)  # as by hand, of what a catch-up has left
    assert cluster.written[-1].what == CAUGHT_UP


@pytest.mark.parametrize("is_mine", [True, False])
def test_start_from_a_stop_that_may_be_of_another_history_catches_up(cluster: Cluster, is_mine: bool) -> None:
    """The tools job may have read only after the stop what tells of it. Where another copy wrote that, the state stays
    as it is: what retention has taken of a thread is in it alone."""
    cluster.held, cluster.forked, cluster.failures = {0: (0, 7)}, "it forked", [OTHER] * is_mine
    assert cluster.go(POINT) == LEFT
    assert [point for point, _ in cluster.runs] == [POINT, ""][: 1 + is_mine]
    assert [mark.what for mark in cluster.written] == ([DROPPED, CAUGHT_UP] if is_mine else [CAUGHT_UP])
    assert cluster.said[0] == "  it forked: catching up"


@pytest.mark.parametrize("fails", [False, True])
def test_stop_of_the_conversation_is_recorded(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: bool
) -> None:
    """With the journal's end; a stop that cannot be recorded is a stop all the same. Both jobs say how far they are."""
    layout = Layout(tmp_path)
    layout.make()
    jobs = {kind: flink.Job(kind, kind, "RUNNING", {}) for kind in flink.JOBS}
    monkeypatch.setattr(flink, "live_jobs", lambda settings: jobs)
    monkeypatch.setattr(flink, "generation", lambda settings, id: {"conversation": 4, "tools": 2}[id])
    if fails:

        def write_mark(*given: object) -> None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

        monkeypatch.setattr(starting, "write_mark", write_mark)
    assert submit.stop_jobs(Settings(), layout, list(flink.JOBS), cluster.said.append) == []
    assert records.restore_point(layout, "conversation") == LEFT
    if fails:
        assert any("the next start will catch up" in line for line in cluster.said)
    else:
        marks = {mark.job: mark for mark in cluster.written}
        assert {job: mark.generation for job, mark in marks.items()} == {"conversation": 4, "tools": 2}
        assert {job: (m.what, m.job_id, m.savepoint, m.journal, m.inputs) for job, m in marks.items()} == {
            "conversation": (
                STOPPED,
                "conversation",
                LEFT,
                {0: 9},
                {"of-conversation/0": 3, "agent-events/1": 5, "tool-results/0": 9},
            ),
            "tools": (STOPPED, "tools", LEFT, {}, {"of-tools/0": 3, "agent-decisions/1": 5, "tool-results/0": 9}),
        }


def test_pack_tells_the_line_of_a_catch_up(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To the journal's end as of now, under a new name; from a savepoint with the sources dropped."""
    monkeypatch.setattr("ops.commands.pack.pack", lambda layout, spec: (tmp_path, "code"))
    monkeypatch.setattr("ops.commands.pack.check", lambda spec, folder: None)
    monkeypatch.setattr("ops.commands.pack.app_digest", lambda spec, folder: "d")
    monkeypatch.setattr(
        "ops.commands.pack.arguments", lambda settings, kind, spec, folder, checkpoints: ["--app", spec]
    )
    monkeypatch.setattr("ops.commands.pack.bounds", lambda bootstrap, topic: {0: (0, 9), 1: (0, 0)})
    line = ["pack", "--json", "--checkpoint-dir", "s3://b/c", "--job", "catchup"]
    [fresh], [older] = objects(run(*line)), objects(run(*line, "--from-savepoint", "s3://b/s"))
    assert (fresh["job"], fresh["command"][-1], "-n" in fresh["command"]) == ("catchup", "0:9,1:0", False)
    assert older["command"][:6] == ["flink", "run", "-d", "-s", "s3://b/s", "-n"]
    assert fresh["command"][-5] != older["command"][-5]
