# SPDX-License-Identifier: Apache-2.0
"""A submission leaves records that lead on from where the jobs are, whatever fails on the way."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ops import http
from ops.context import Trouble
from ops.failures import trouble
from ops.settings import Settings, load, remember
from ops.stack import flink, records, starting, submit, versions
from ops.stack.layout import Layout
from wire.app_code import AppCodeError
from wire.control import Mark, Written, here
from wire.inputs import Gap, Looked

KINDS = ("conversation", "tools")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack without jobs whose folder takes records; no cluster is asked."""
    settings = Settings(state_dir=tmp_path)
    Layout(tmp_path).make()
    remember(settings)
    monkeypatch.setattr(submit, "pack", lambda layout, spec: (tmp_path, "code"))
    monkeypatch.setattr(submit, "check", lambda spec, folder: frozenset({"go/1"}))
    monkeypatch.setattr(versions, "missing", lambda settings, layout, has: "")
    monkeypatch.setattr(submit, "end_jobs", lambda settings, layout, kinds, say: None)
    monkeypatch.setattr(submit, "is_empty", lambda bootstrap, topic: True)
    monkeypatch.setattr(starting, "ready", lambda s, layout, point, mine, run, say: point)
    monkeypatch.setattr(flink, "live_jobs", lambda settings: {})
    return settings


def stopped(settings: Settings, kind: str) -> None:
    """A job that ran and was stopped."""
    savepoint = f"file:/old-{kind}"
    records.write(Layout(settings.state_dir), records.Record(kind, "a" * 32, "m:app", "", savepoint=savepoint))


def go(settings: Settings, **more: object) -> dict[str, str]:
    layout = Layout(settings.state_dir)
    return submit.submit(settings, layout, "m:new", list(KINDS), lambda line: None, wait=False, **more)  # type: ignore[arg-type]


def test_submit_writes_down_the_job_that_began_when_the_other_failed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The savepoint of the one that runs is used up: its next start must not be from there."""
    for kind in KINDS:
        stopped(settings, kind)

    def run_job(s: Settings, layout: Layout, spec: str, kind: str, folder: Path, point: str, more: Any) -> str:
        if kind == "conversation":
            raise submit.SubmitFailed("conversation: no")
        return "c" * 32

    monkeypatch.setattr(submit, "run_job", run_job)
    with pytest.raises(submit.SubmitFailed, match="conversation: no"):
        go(settings)
    layout = Layout(settings.state_dir)
    checkpoint = layout.checkpoints / ("c" * 32) / "chk-7"
    checkpoint.mkdir(parents=True)
    (checkpoint / "_metadata").touch()
    assert records.restore_point(layout, "tools") == f"file://{checkpoint}"
    assert records.restore_point(layout, "conversation") == "file:/old-conversation"


def test_submit_stops_nothing_for_code_that_is_no_app(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs that run are worth more than the code that is to replace them."""

    def check(spec: str, folder: Path) -> None:
        raise AppCodeError("no app")

    monkeypatch.setattr(submit, "check", check)
    monkeypatch.setattr(submit, "end_jobs", lambda settings, layout, kinds, say: pytest.fail("a job was stopped"))
    with pytest.raises(AppCodeError):
        go(settings)


@pytest.mark.parametrize("answers", [True, False])
def test_submit_writes_down_a_job_whose_client_died(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """The cluster may have taken it: then it is written down; a cluster that does not answer changes nothing."""
    stopped(settings, "tools")

    died: list[str] = []

    def run_job(s: Settings, layout: Layout, spec: str, kind: str, folder: Path, point: str, more: Any) -> str:
        died.append(kind)
        raise submit.SubmitFailed(f"{kind}: did not end")

    def live_jobs(s: Settings) -> dict[str, flink.Job]:
        if not died:
            return {}
        if not answers:
            raise http.HttpError("u", 0, "no")
        return {"tools": flink.Job("tools", "d" * 32, "RUNNING", {})}

    monkeypatch.setattr(submit, "run_job", run_job)
    monkeypatch.setattr(flink, "live_jobs", live_jobs)
    with pytest.raises(submit.SubmitFailed):
        go(settings)
    found = records.read(Layout(settings.state_dir), "tools")
    assert found is not None
    assert (found.job_id, found.savepoint) == (("d" * 32, "") if answers else ("a" * 32, "file:/old-tools"))


def test_submit_from_nothing_beside_a_journal_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has run here and left nothing to go on from would decide everything a second time."""
    began: list[str] = []
    monkeypatch.setattr(submit, "is_empty", lambda bootstrap, topic: topic != "threadlog.agent-decisions")
    monkeypatch.setattr(
        submit, "run_job", lambda s, la, spec, kind, folder, point, more: began.append(kind) or "e" * 32
    )
    with pytest.raises(
        submit.SubmitFailed, match=r"conversation has run before \(threadlog.agent-decisions is not empty\)"
    ):
        go(settings)
    assert began == []
    stopped(settings, "conversation")
    assert set(go(settings)) == set(began) == set(KINDS)


def test_submit_is_remembered_by_the_next_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack goes on with the app that was submitted last, not with the one it was started with."""
    monkeypatch.setattr(submit, "run_job", lambda s, la, spec, kind, folder, point, more: "e" * 32)
    go(settings)
    assert load({"state_dir": settings.state_dir}, {}, Path(os.devnull)).app == "m:new"


@pytest.mark.parametrize(("told", "stops"), [(["lacks go"], 0), (["", "lacks go"], 1)])
def test_submit_of_code_that_lacks_a_version_begins_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[str], stops: int
) -> None:
    """Asked before anything is stopped; and again, because a run may have begun until then."""
    stopped_for: list[str] = []
    stopped(settings, "conversation")
    monkeypatch.setattr(versions, "missing", lambda settings, layout, has: told.pop(0))
    monkeypatch.setattr(submit, "end_jobs", lambda settings, layout, kinds, say: stopped_for.append("it"))
    monkeypatch.setattr(submit, "run_job", lambda *given: pytest.fail("a job was begun"))
    with pytest.raises(submit.SubmitFailed, match="lacks go") as raised:
        go(settings)
    assert len(stopped_for) == stops
    assert ("conversation and tools stopped" in str(raised.value)) is bool(stops)


@pytest.mark.parametrize("live", [True, False])
def test_submit_stops_nothing_where_inputs_are_lost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    """The job's own `main()` would refuse only when those that ran are stopped; where none runs that is soon enough."""
    asked: list[str] = []

    def look(bootstrap: str, namespace: str, codec: Any, job: str) -> Looked:
        asked.append(job)
        return Looked({}, [Gap("agent-decisions", 1, 5, 9)] if job == "tools" else [])

    running = {"conversation": flink.Job("conversation", "c" * 32, "RUNNING", {})}
    monkeypatch.setattr(flink, "live_jobs", lambda settings: running if live else {})
    monkeypatch.setattr(starting, "look", look)
    monkeypatch.setattr(submit, "end_jobs", lambda *given: pytest.fail("a job was stopped") if live else None)
    monkeypatch.setattr(submit, "run_job", lambda s, la, spec, kind, folder, point, more: "e" * 32)
    if live:
        with pytest.raises(Trouble, match=r"tools: 4 input offsets were deleted(.|\n)*--accept-lost-inputs"):
            go(settings)
    else:
        assert go(settings).keys() == {*KINDS}
    assert asked == (list(KINDS) if live else [])


def test_submit_that_fails_does_not_say_that_jobs_run() -> None:
    """They may be stopped by then."""
    told = trouble(submit.SubmitFailed("no"), None)
    assert told is not None
    assert "`threadlog status` tells which jobs run now" in told.hint


def test_submit_writes_down_the_versions_that_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """By them the next start sees whether any has gone."""
    monkeypatch.setattr(submit, "run_job", lambda s, la, spec, kind, folder, point, more: "e" * 32)
    go(settings)
    found = records.read(Layout(settings.state_dir), "conversation")
    assert found is not None and tuple(found.versions) == ("go/1",)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            "x\nCaused by: E: Cannot map checkpoint/savepoint state for operator 27ab to the",
            "lacks (the hash of its uid",
        ),
        (
            "E: disabled but no UID or hash has been assigned to operator counted\n\tat a",
            "operator counted has no uid,",
        ),
        ("something else", "`flink run` started no job:\n  | something else"),
    ],
)
def test_submit_tells_in_a_sentence_what_flink_refuses(output: str, told: str) -> None:
    """The cause, and not the page around it; of what is not known, the lines that say why."""
    assert told in str(submit._failure("conversation", output))


@pytest.mark.parametrize(
    ("said", "starts", "ended"),
    [
        ("no UID or hash has been assigned to operator counted", 1, ["conversation"]),
        ("no UID or hash has been assigned to operator counted", 2, []),
        ("no answer", 1, []),
    ],
)
def test_submit_lets_the_next_start_follow_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, said: str, starts: int, ended: list[str]
) -> None:
    """A start that Flink declined is over, and the log says so; of one that failed otherwise nobody knows, and one that
    another has followed is not the last."""
    marks, others = list[str](), [Written(0, 0, Mark("started", "conversation", "", "", {}, place=here()))]  # long ago

    def run_job(s: Settings, layout: Layout, spec: str, kind: str, folder: Path, point: str, more: Any) -> str:
        if kind == "conversation":
            ours = Mark("started", "conversation", "", "", {}, time_ms=time.time_ns() // 1_000_000, place=here())
            others.extend([Written(1, 0, ours)] * starts)  # whatever the broker's clock says
        raise submit._failure(kind, said)

    monkeypatch.setattr(submit, "run_job", run_job)
    monkeypatch.setattr("ops.stack.starting.read_marks", lambda *where: others)
    monkeypatch.setattr(
        "ops.stack.starting.remember_end", lambda s, job_id, generation, say: marks.append("conversation")
    )
    with pytest.raises(submit.SubmitFailed):
        go(settings)
    assert marks == ended
