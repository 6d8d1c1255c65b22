# SPDX-License-Identifier: Apache-2.0
"""What is told of a rebuild: when all tasks ran, when the last entry was read, and that all of them were."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import rebuild
from bench.__main__ import BENCHES
from bench.floors import FLOORS
from ops.context import Trouble
from ops.stack.submit import SubmitFailed

SETTINGS: Any = SimpleNamespace(flink_rest="http://x", state_dir=Path("/nowhere"))


def task(start_s: float, deploying_ms: int, initializing_ms: int, end_s: float) -> dict[str, Any]:
    """A subtask as the JobManager tells of it; what it never did is -1."""
    spent = {"CREATED": 3, "SCHEDULED": 90, "DEPLOYING": deploying_ms, "INITIALIZING": initializing_ms, "FAILED": -1}
    return {"start-time": start_s * 1000, "end-time": end_s * 1000, "status-duration": spent}


TASKS = {
    "j": [task(100, 500, 1_500, 140), task(100, 500, 500, 145)],  # the source, of two subtasks
    "h": [task(100, 500, 500, 160)],
    "t": [task(100, 500, 4_500, 160)],  # Python is loaded last
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, list[str]]]:
    """A JobManager that knows one catch-up, which has read 200,000 entries; what was submitted."""
    names = {"j": "Source: journal-1f", "h": "Source: hold-1f", "t": "threads -> (Sink: a, Sink: b)"}
    metrics = {"j": 200_000, "h": 0, "t": 0}
    vertices = [{"id": id, "name": name, "metrics": {"write-records": metrics[id]}} for id, name in names.items()]

    def call(url: str) -> dict[str, Any]:
        return {"subtasks": TASKS[url[-1]]} if "/vertices/" in url else {"vertices": vertices}

    submitted = []

    def run_job(settings: Any, layout: Any, spec: str, kind: str, folder: Path, point: str, more: list[str]) -> str:
        submitted.append((kind, point, more))
        return "job"

    def ready(settings: Any, layout: Any, point: str, mine: Any, run: Any, say: Any) -> str:
        run(point, ["--generation", "1f"])
        return "file:///savepoints/1"

    monkeypatch.setattr(rebuild.http, "call", call)
    monkeypatch.setattr(rebuild, "run_job", run_job)
    monkeypatch.setattr(rebuild.starting, "ready", ready)
    return submitted


def test_reading_is_from_when_all_tasks_run_to_the_last_entry(cluster: Any) -> None:
    """The slowest to begin is the operator, the slowest to end one subtask of the source; the savepoint is later."""
    assert rebuild.reading(SETTINGS, "job") == (200_000, 40.0)


def test_rebuild_begins_from_nothing(cluster: Any) -> None:
    """The catch-up alone, with what the product's start tells it."""
    reading_s, whole_s, savepoint = rebuild.rebuild(SETTINGS, (Path("/code"), "digest"), 200_000)
    assert (reading_s, savepoint) == (40.0, "/savepoints/1") and 0 <= whole_s < 10
    assert cluster == [("catchup", "", ["--generation", "1f"])]


def test_a_rebuild_of_less_than_the_journal_is_trouble(cluster: Any) -> None:
    """It would be a fast one."""
    with pytest.raises(Trouble, match="has 200,001 entries, the catch-up has read 200,000"):
        rebuild.rebuild(SETTINGS, (Path("/code"), "digest"), 200_001)


def test_a_catch_up_that_fails_is_trouble(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it said."""

    def ready(*_: Any) -> str:
        raise SubmitFailed("no slots")

    monkeypatch.setattr(rebuild.starting, "ready", ready)
    with pytest.raises(Trouble, match="no slots"):
        rebuild.rebuild(SETTINGS, (Path("/code"), "digest"), 1)


def test_rebuild_is_among_the_benches_with_a_floor() -> None:
    """5,000 decisions a second."""
    (floor,) = (floor for floor in FLOORS if floor.figure == "rebuild.decisions")
    assert "rebuild" in BENCHES and (floor.limit, floor.at_least) == (5_000, True)
