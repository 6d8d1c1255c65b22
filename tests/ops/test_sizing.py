# SPDX-License-Identifier: Apache-2.0
"""How many TaskManagers a running stack has: with the parallelism of its jobs, and by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import Result

from ops.settings import CHECKS, SettingsError, check_jobs, load
from ops.stack import flink, lifecycle
from ops.stack.layout import Layout
from tests.ops.fakes import run
from udfs.flink_io import MAX_PARALLELISM


class Managers:
    """A supervisor and a JobManager that know which TaskManagers there are."""

    def __init__(self, stopped: Layout, monkeypatch: pytest.MonkeyPatch, *live: str) -> None:
        self.layout, self.run, self.gone = stopped, self.configured(stopped), list[str]()
        monkeypatch.setattr(lifecycle, "Supervisor", lambda layout: self)
        monkeypatch.setattr(
            flink, "live_jobs", lambda settings: {k: flink.Job(k, "f" * 32, "RUNNING", {}) for k in live}
        )
        self.namespaces = ["branch", "threadlog"] if live else list[str]()
        monkeypatch.setattr(flink, "namespaces", lambda settings: self.namespaces)
        monkeypatch.setattr(lifecycle.health, "wait", lambda settings, names, seconds: iter([(n, None) for n in names]))
        monkeypatch.setattr(lifecycle.health, "wait_unregistered", lambda s, names, seconds: self.gone.extend(names))

    @staticmethod
    def configured(layout: Layout) -> list[str]:
        return re.findall(r"\[program:(taskmanager-\d+)\]", layout.supervisor_conf.read_text())

    def is_running(self) -> bool:
        return True

    def info(self) -> dict[str, dict[str, str]]:
        return {name: {"statename": "RUNNING"} for name in self.run}

    def begin(self, names: list[str]) -> None:
        assert names == []

    def read_again(self) -> tuple[list[str], list[str]]:
        now, before = self.configured(self.layout), self.run
        self.run = now
        return [name for name in now if name not in before], [name for name in before if name not in now]


def test_resize_keeps_as_many_taskmanagers_to_spare(stopped: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot for each subtask of both jobs and the spare, there and back; the size is remembered."""
    managers = Managers(stopped, monkeypatch)
    sizes = []
    for parallelism in (2, 3, 1, 1):
        settings = lifecycle.resize(load({"state_dir": stopped.state}, {}, stopped.state), parallelism, print)
        sizes.append((settings.parallelism, settings.taskmanagers, len(managers.run)))
    assert sizes == [(2, 5, 5), (3, 7, 7), (1, 3, 3), (1, 3, 3)]
    assert managers.gone == ["taskmanager-4", "taskmanager-5", "taskmanager-6", "taskmanager-7"]
    assert load({"state_dir": stopped.state}, {}, stopped.state).taskmanagers == 3


@pytest.mark.parametrize(
    ("parallelism", "live", "words"),
    [
        (9, (), "A topic has 8 partitions"),
        (8, (), "8 subtasks of each job and .* make 17; a local stack has 16"),
        (2, ("tools",), "tools run with 1"),
        (0, (), "parallelism = 0, expected"),
    ],
)
def test_resize_that_cannot_be_changes_nothing(
    stopped: Layout, monkeypatch: pytest.MonkeyPatch, parallelism: int, live: tuple[str, ...], words: str
) -> None:
    """A job that runs would lose its TaskManagers, or go on at another size than its next start."""
    managers = Managers(stopped, monkeypatch, *live)
    before = stopped.supervisor_conf.read_text()
    with pytest.raises((lifecycle.StackFailed, SettingsError), match=words):
        lifecycle.resize(load({"state_dir": stopped.state}, {}, stopped.state), parallelism, print)
    assert (stopped.supervisor_conf.read_text(), managers.gone) == (before, [])


def test_resize_takes_no_taskmanager_from_a_branch(stopped: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs may be on those that would go; it runs on beside more of them."""
    managers = Managers(stopped, monkeypatch)
    managers.namespaces = ["branch"]
    settings = lifecycle.resize(load({"state_dir": stopped.state}, {}, stopped.state), 2, print)
    with pytest.raises(lifecycle.StackFailed, match=r"Of the 5 TaskManagers some would go, and jobs of branch run"):
        lifecycle.resize(settings, 1, print)
    assert (len(managers.run), managers.gone) == (5, [])


def up(stopped: Layout, count: int) -> Result:
    """`threadlog up --taskmanagers …` on that stack."""
    return run("--port-base", "28000", "up", "--no-jobs", "--taskmanagers", str(count))


def test_up_gives_a_running_stack_more_taskmanagers(stopped: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run on beside them, as for a branch; fewer only where none runs. Each size is remembered."""
    monkeypatch.setattr(lifecycle, "check_built", lambda: None)
    managers, sizes = Managers(stopped, monkeypatch, "tools"), []
    for count in (5, 5):
        assert "taskmanager-5  well" in up(stopped, count).stdout
        sizes.append((len(managers.run), load({"state_dir": stopped.state}, {}, stopped.state).taskmanagers))
    managers = Managers(stopped, monkeypatch)
    assert "2 TaskManagers: taskmanager-3, taskmanager-4, taskmanager-5 gone" in up(stopped, 2).stdout
    sizes.append((len(managers.run), load({"state_dir": stopped.state}, {}, stopped.state).taskmanagers))
    assert (sizes, managers.gone) == ([(5, 5), (5, 5), (2, 2)], ["taskmanager-3", "taskmanager-4", "taskmanager-5"])


def test_up_takes_no_taskmanager_from_jobs_that_run(stopped: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever namespace: they may be on those that would go."""
    monkeypatch.setattr(lifecycle, "check_built", lambda: None)
    managers, before = Managers(stopped, monkeypatch, "tools"), stopped.supervisor_conf.read_text()
    told = up(stopped, 2)
    assert (told.exit_code, "jobs of branch and threadlog run on them" in told.stderr) == (1, True)
    assert "`threadlog --namespace branch stop` and `threadlog --namespace threadlog stop` first." in told.stderr
    assert (stopped.supervisor_conf.read_text(), managers.gone) == (before, [])


def test_resize_says_how_many_subtasks_are_possible(stopped: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    Managers(stopped, monkeypatch)
    settings = load({"state_dir": stopped.state}, {}, stopped.state)
    with pytest.raises(lifecycle.StackFailed) as refused:
        lifecycle.resize(settings, 8, print)
    assert refused.value.hint == "At most `--parallelism 7`."
    assert lifecycle.resize(settings, 7, print).taskmanagers == 15


@pytest.mark.parametrize(
    ("parallelism", "way_out"), [("2", "--taskmanagers 5` has one to spare"), ("8", "set a smaller parallelism")]
)
def test_up_refuses_a_stack_that_is_too_small_for_its_jobs(
    alone: Path, monkeypatch: pytest.MonkeyPatch, parallelism: str, way_out: str
) -> None:
    """They would wait for slots. Without jobs it may be as small as it likes."""
    monkeypatch.setattr(lifecycle, "check_built", lambda: None)
    monkeypatch.setattr(lifecycle, "_start_cold", lambda settings, layout, say: pytest.fail("it was started"))
    monkeypatch.setenv("THREADLOG_PARALLELISM", parallelism)
    told = run("up")
    said = f"2 jobs with parallelism = {parallelism} take {2 * int(parallelism)} TaskManagers"
    assert (told.exit_code, said in told.stderr, way_out in told.stderr) == (1, True, True), told.stderr


def test_parallelism_is_limited_by_the_partitions(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster of one's own it may be as high as the jobs allow; beyond the partitions nothing is left to read."""
    for given, words in (
        ({"parallelism": 32, "partitions": 32}, ""),
        ({"parallelism": 128, "partitions": 128}, ""),
        ({"parallelism": 129, "partitions": 256}, "parallelism = 129, expected a whole number from 1 to 128"),
        ({"parallelism": 32}, "parallelism = 32, expected at most 8, the setting `partitions`"),
    ):
        if not words:
            check_jobs(load(given, {}, alone))
            continue
        with pytest.raises(SettingsError, match=words):
            check_jobs(load(given, {}, alone))
    monkeypatch.setenv("THREADLOG_PARALLELISM", "12")
    for command in ("up", "pack"):
        told = run(command)
        assert (told.exit_code, "the setting `partitions`" in told.stderr) == (1, True), command
    assert "partitions" not in run("show", "t").stderr  # who begins no job need not know
    assert CHECKS["parallelism"](MAX_PARALLELISM) is None and CHECKS["parallelism"](MAX_PARALLELISM + 1)
