# SPDX-License-Identifier: Apache-2.0
"""A replay in the cluster is paused by a cancel, and goes on from the checkpoint that was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops import http
from ops.context import Trouble
from ops.replay import cluster, findings
from ops.settings import Settings
from ops.stack import flink, records, submit
from ops.stack.layout import Layout
from ops.stack.pausing import pause
from ops.stack.submit import SubmitFailed
from tests.ops.fakes import begun, objects, run
from tests.ops.test_records import complete
from tests.ops.test_replay_cluster import Flink, made, settings

__all__ = ["made", "settings"]

ID = "c" * 32
TOLD = ("--parallelism", "2", "--checkpoint-interval-ms", "10000", "--run", "run-1", "--journal-end", "0:12,1:0")
BEGUN = records.Record(flink.REPLAY, ID, "m:app", "code", more=TOLD)


@pytest.fixture
def layout(made: Flink, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A replay that runs, written down, with the code that began it."""
    layout = Layout(settings.state_dir)
    (layout.state / "code" / "code").mkdir(parents=True)
    records.write(layout, BEGUN)
    made.live = {flink.REPLAY: flink.Job(flink.REPLAY, ID, "RUNNING", {})}
    monkeypatch.setattr(
        flink, "cancel", lambda settings, job, within_s: made.cancelled.append(made.live.pop(job.kind).id)
    )
    return layout


def go_on(settings: Settings, name: str = "") -> cluster.Run:
    return cluster.go_on(settings, name, print, lambda *told: None)


def test_pause_cancels_a_replay_and_says_where_it_goes_on(
    made: Flink, settings: Settings, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the newest complete checkpoint; a second time there is nothing to cancel."""
    complete(layout, 3, ID)
    point = complete(layout, 12, ID)
    assert (pause(settings, layout, print), made.cancelled) == ([point], [ID])
    assert "replay run-1 is cancelled; `threadlog replay --cluster --go-on` goes on from /" in capsys.readouterr().out
    assert pause(settings, layout, print) == []


def test_pause_before_the_first_checkpoint(
    settings: Settings, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """It begins again then, and nothing it found was told."""
    assert pause(settings, layout, print) == [""]
    assert "goes on from its beginning" in capsys.readouterr().out


def test_pause_of_a_replay_that_was_submitted_by_other_means(
    made: Flink, settings: Settings, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its arguments are not known here: only its checkpoint is told."""
    made.live = {flink.REPLAY: flink.Job(flink.REPLAY, "d" * 32, "RUNNING", {})}
    point = complete(layout, 3, "d" * 32)
    assert pause(settings, layout, print) == [point]
    assert "submitted by other means" in capsys.readouterr().out


def test_stop_pauses_a_replay_alone(
    made: Flink, settings: Settings, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live jobs go on; without a replay it says so."""
    monkeypatch.setattr("ops.commands.stop.stop_jobs", lambda *given: pytest.fail("a live job was stopped"))
    begun(settings.state_dir)
    point, line = complete(layout, 3, ID), ("--state-dir", str(settings.state_dir), "stop", "--job", "replay")
    assert objects(run(*line, "--json")) == [{"job": "replay", "checkpoint": point}]
    assert run(*line).stdout == "No replay was running.\n"


def test_replay_goes_on_as_it_was_begun(made: Flink, settings: Settings, layout: Layout) -> None:
    """From its checkpoint, told what it was told, with the code of then; what runs now is written down, so that it can
    be paused again before it has a checkpoint of its own."""
    point = complete(layout, 3, ID)
    pause(settings, layout, print)
    assert go_on(settings, "run-1").name == "run-1"
    assert made.submitted == [("replay", [point, BEGUN.code, "--parallelism", "2", "--app", "m:app", *TOLD])]
    again = records.read(layout, flink.REPLAY)
    assert again is not None
    assert (again.job_id, again.more, records.restore_point(layout, flink.REPLAY)) == ("a" * 32, [*TOLD], point)


def test_replay_is_written_down_when_it_is_begun(made: Flink, settings: Settings) -> None:
    """All that is needed to go on, before anybody waits for its end."""
    made.states = ["FAILED"]
    with pytest.raises(Trouble):
        made.verify(settings)
    begun = records.read(Layout(settings.state_dir), flink.REPLAY)
    assert begun is not None
    assert (begun.job_id, begun.app, begun.code, tuple(begun.more)) == ("a" * 32, "m:app", "code", TOLD)


def test_watched_replay_that_is_paused_says_how_it_goes_on(made: Flink, settings: Settings) -> None:
    """To who waits for its end, in another terminal."""
    made.states = ["RUNNING", "CANCELED"]
    with pytest.raises(Trouble, match=r"`threadlog replay --cluster --go-on` goes on with it"):
        made.verify(settings)


def sums(partitions: int) -> findings.Findings:
    """Of a run that has summed up so many of two partitions that hold anything, and not the third, which is empty."""
    ends = {"0": 12, "1": 3, "2": 0}
    return findings.Findings("run-1", "m:app", summaries={p: findings.Summary(ends=ends) for p in range(partitions)})


def test_replay_that_has_ended_does_not_go_on(
    made: Flink, settings: Settings, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every partition that holds anything is summed up; its last checkpoint is gone, an older one must not be used."""
    complete(layout, 3, ID)
    made.live = {}
    monkeypatch.setattr(findings, "read", lambda settings, run: sums(2))
    with pytest.raises(Trouble, match="run-1 has come to its end"):
        go_on(settings)
    monkeypatch.setattr(findings, "read", lambda settings, run: sums(1))
    assert go_on(settings).name == "run-1"


@pytest.mark.parametrize("gone", ["checkpoint", "code", "record", "name", "pause"])
def test_replay_cannot_go_on_from_what_is_gone(
    made: Flink, settings: Settings, layout: Layout, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """What it has found would be told twice from its beginning, and by other code it would be another replay."""
    monkeypatch.setattr(findings, "read", lambda settings, run: findings.Findings(run, "m:app"))
    if gone != "pause":
        made.live = {}
    if gone != "checkpoint":
        complete(layout, 3, ID)
    if gone == "code":
        (layout.state / "code" / "code").rmdir()
    if gone == "record":
        (layout.jobs / "replay.json").unlink()
    said = {
        "record": "No replay can go on",
        "name": "No replay 'run-2' can go on; the last one is run-1",
        "pause": "A replay runs already",
    }
    with pytest.raises(Trouble, match=said.get(gone, "needs to go on was removed")):
        go_on(settings, "run-2" if gone == "name" else "")
    assert made.submitted == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--go-on",), "Say --cluster --go-on"),
        (("--go-on", "--cluster", "--app", "a:b"), "takes no app"),
        (("--go-on", "--cluster", "--parallelism", "3"), "takes no parallelism"),
    ],
)
def test_go_on_takes_nothing_that_was_told_before(alone: Path, line: tuple[str, ...], said: str) -> None:
    """It goes on as it was begun."""
    told = run("replay", *line)
    assert (told.exit_code, said in told.stderr) == (1, True), told.stderr


def test_pause_takes_a_replay_that_ends_meanwhile_for_ended(
    made: Flink, settings: Settings, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flink cancels no job that has ended, and a person who paused it has what they wanted."""

    def cancel(settings: Settings, job: flink.Job, within_s: float) -> None:
        del made.live[job.kind]
        raise http.HttpError("", 409, "it has ended")

    monkeypatch.setattr(flink, "cancel", cancel)
    assert pause(settings, layout, print) == []


def test_replay_whose_client_died_is_written_down(
    made: Flink, settings: Settings, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster may have taken the job: what goes on later must be that one, which has told more by then."""
    complete(layout, 3, ID)
    pause(settings, layout, print)

    def run_job(*given: Any) -> str:
        made.live = {flink.REPLAY: flink.Job(flink.REPLAY, "d" * 32, "RUNNING", {})}
        raise SubmitFailed("replay: `flink run` did not end within 120 s")

    monkeypatch.setattr(submit, "run_job", run_job)
    with pytest.raises(SubmitFailed):
        go_on(settings)
    begun = records.read(layout, flink.REPLAY)
    assert begun is not None
    assert begun.job_id == "d" * 32


def test_cluster_leaves_a_replay_alone_that_nobody_waits_for(
    made: Flink, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a Ctrl-C it runs on: its TaskManagers are not taken from it."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    records.note_code(Layout(settings.state_dir), "other")
    monkeypatch.setattr(cluster, "_wait", interrupt)
    with pytest.raises(Trouble, match="The replay goes on as job"):
        made.verify(settings)
    assert made.restarted == []
