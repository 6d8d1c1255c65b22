# SPDX-License-Identifier: Apache-2.0
"""A job that waits for a slot is told apart from one that fails, and how many TaskManagers would do is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops import http
from ops.compose import start
from ops.settings import Settings
from ops.stack import catch_up, flink, lifecycle, submit
from ops.stack.layout import Layout

WAITS = {"total": 4, "running": 0, "scheduled": 4}
FAILS = {"total": 4, "running": 0, "scheduled": 0}


class Cluster:
    """A cluster of three TaskManagers whose jobs do not come to run."""

    def __init__(self) -> None:
        self.free, self.tasks = 0, {"conversation": WAITS, "tools": WAITS}

    def call(self, url: str, *rest: Any, **more: Any) -> dict[str, Any]:
        """REST."""
        if url.endswith("/jobs/overview"):
            jobs = [(f"threadlog.{kind}", tasks) for kind, tasks in self.tasks.items()]
            return {"jobs": [{"name": n, "jid": n, "state": "RUNNING", "start-time": 1, "tasks": t} for n, t in jobs]}
        if url.endswith("/overview"):
            return {"slots-total": 3, "slots-available": self.free}
        if "exceptions" in url:
            return {"exceptionHistory": {"entries": [{"timestamp": 1, "stacktrace": "ValueError: boom"}]}}
        return {"state": "RUNNING", "vertices": [], "request-id": ""}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(http, "call", made.call)
    monkeypatch.setattr(flink, "wait_running", lambda settings, kinds, seconds: kinds)
    return made


def test_lack_of_slots_is_named_with_what_would_do(cluster: Cluster) -> None:
    """Both jobs of parallelism 2 take four, of which one is free."""
    cluster.free = 1
    said, hint = flink.not_running(Settings(parallelism=2), ["conversation", "tools"], 90)
    assert said == (
        "conversation and tools not running after 90 s: "
        "conversation and tools wait for slots: 4 needed, 1 free of 3 TaskManagers."
    )
    assert "`threadlog up --taskmanagers 6`" in hint


@pytest.mark.parametrize(("free", "tasks"), [(0, FAILS), (2, WAITS)], ids=["fails", "room"])
def test_job_that_fails_waits_for_no_slot(cluster: Cluster, free: int, tasks: dict[str, int]) -> None:
    """It keeps those that it has while it is tried again; its failure is told."""
    cluster.free, cluster.tasks = free, {"conversation": tasks, "tools": tasks}
    said, hint = flink.not_running(Settings(), ["conversation", "tools"], 90)
    assert ("conversation: ValueError: boom" in said, "slots" in said, "Mend the app" in hint) == (True, False, True)


def test_each_that_waits_for_jobs_names_it(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up`, `submit` and `start`, and the jobs of a stack in containers."""
    settings, layout = Settings(state_dir=tmp_path), Layout(tmp_path)
    with pytest.raises(lifecycle.StackFailed, match="2 needed, 0 free of 3") as failed:
        lifecycle.ensure_jobs(settings, layout, "m:app", print, cold=False)
    assert "--taskmanagers 5" in failed.value.hint
    layout.make()
    for name, given in (
        ("pack", (tmp_path, "")),
        ("check", frozenset[str]()),
        ("begin", {}),
        ("end_jobs", None),
        ("_lacks", ""),
    ):
        monkeypatch.setattr(submit, name, lambda *_, given=given: given)
    monkeypatch.setattr(submit.starting, "check_inputs", lambda *given: None)
    monkeypatch.setattr(submit, "ready_points", lambda s, layout, spec, points, packed, say: points)
    with pytest.raises(submit.SubmitFailed, match=r"2 needed, 0 free of 3 TaskManagers\.\n.*--taskmanagers 5"):
        submit.submit(settings, layout, "m:app", [*flink.JOBS], print, find=lambda *_: "")
    monkeypatch.setattr(start, "from_environment", lambda: settings)
    monkeypatch.setattr(lifecycle, "ensure_wire", lambda settings, say: None)
    with pytest.raises(submit.SubmitFailed, match=r"2 needed, 0 free of 3 TaskManagers\.\n.*--scale taskmanager=5"):
        start.start({}, print)


def test_catch_up_that_waits_for_a_slot_says_so(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.tasks = {"catchup": WAITS}
    monkeypatch.setattr(catch_up, "RUNNING_S", -1)
    monkeypatch.setattr(flink, "last_failed", lambda settings, job_id: (0, ""))
    with pytest.raises(catch_up.SubmitFailed, match="catchup waits for slots: 1 needed, 0 free of 3"):
        catch_up.wait_read(Settings(), "c", "g", {}, print)
