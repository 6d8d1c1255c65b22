# SPDX-License-Identifier: Apache-2.0
"""What is told of a rebuild: how long after all tasks ran its state was there, and that all entries were read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaException

from bench import rebuild
from bench.__main__ import BENCHES
from bench.floors import FLOORS
from ops.context import Trouble
from ops.stack.submit import SubmitFailed
from schemas.errors import WireError


def task(start_s: float, deploying_ms: int, initializing_ms: int) -> dict[str, Any]:
    """A subtask as the JobManager tells of it; what it never did is -1."""
    spent = {"CREATED": 3, "SCHEDULED": 90, "DEPLOYING": deploying_ms, "INITIALIZING": initializing_ms, "FAILED": -1}
    return {"start-time": start_s * 1000, "status-duration": spent}


TASKS = {
    "j": [task(100, 500, 1_500), task(100, 500, 500)],  # who reads, of two subtasks
    "h": [task(100, 500, 500)],
    "t": [task(100, 500, 4_500)],  # Python is loaded last
}


@pytest.fixture
def stack(tmp_path: Path) -> Any:
    """The settings of a stack that has left a savepoint of 1,000 bytes."""
    (tmp_path / "savepoints" / "1").mkdir(parents=True)
    (tmp_path / "savepoints" / "1" / "_metadata").write_bytes(b"x" * 1_000)
    return SimpleNamespace(
        flink_rest="http://x", state_dir=tmp_path, namespace="n", checkpoint_interval_ms=200, bootstrap="b:1"
    )


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, stack: Any) -> list[tuple[str, str, list[str]]]:
    """A JobManager that knows one catch-up, which has read 200,000 entries; what was submitted."""

    def call(url: str) -> dict[str, Any]:
        return {"subtasks": TASKS[url[-1]]} if "/vertices/" in url else {"vertices": [{"id": id} for id in TASKS]}

    def left_behind(bootstrap: str, namespace: str, group: str) -> int:
        assert group == "n.catchup.1f"
        return 200_000

    submitted = []

    def run_job(settings: Any, layout: Any, spec: str, kind: str, folder: Path, point: str, more: list[str]) -> str:
        submitted.append((kind, point, more))
        return "job"

    def ready(settings: Any, layout: Any, point: str, mine: Any, run: Any, say: Any) -> str:
        run(point, ["--checkpoint-interval-ms", "5000", "--generation", "1f"])
        return f"file:{stack.state_dir}/savepoints/1"  # with one slash, as Flink answers

    monkeypatch.setattr(rebuild.http, "call", call)
    monkeypatch.setattr(rebuild, "left_behind", left_behind)
    monkeypatch.setattr(rebuild.flink, "last_failure", lambda settings, job_id: "")
    monkeypatch.setattr(rebuild.time, "time", lambda: 144.25)
    monkeypatch.setattr(rebuild, "run_job", run_job)
    monkeypatch.setattr(rebuild.starting, "ready", ready)
    return submitted


def test_rebuild_begins_from_nothing(stack: Any, cluster: Any) -> None:
    """The catch-up alone, with what the product's start tells it, also how seldom it takes a checkpoint. Told from when
    the last of its tasks ran, which is the operator."""
    found = rebuild.rebuild(stack, (Path("/code"), "digest"), 200_000)
    assert (found.running_s, found.savepoint_bytes, found.interval_ms) == (39.25, 1_000, 5_000)
    assert 0 <= found.whole_s < 10
    assert cluster == [("catchup", "", ["--checkpoint-interval-ms", "5000", "--generation", "1f"])]


def test_a_rebuild_is_told_the_interval_that_the_settings_have(stack: Any) -> None:
    """A short catch-up is told none of its own."""
    assert rebuild._interval_ms(stack, ["--generation", "1f"]) == 200


def test_a_rebuild_of_less_than_the_journal_is_trouble(stack: Any, cluster: Any) -> None:
    """It would be a fast one."""
    with pytest.raises(Trouble, match="has 200,001 entries, the catch-up has read 200,000"):
        rebuild.rebuild(stack, (Path("/code"), "digest"), 200_001)


def test_a_rebuild_that_failed_on_its_way_is_trouble(stack: Any, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last attempt went on from a checkpoint: less was read in the time that is told."""
    monkeypatch.setattr(rebuild.flink, "last_failure", lambda settings, job_id: "a TaskManager is lost")
    with pytest.raises(Trouble, match="has failed once: a TaskManager is lost"):
        rebuild.rebuild(stack, (Path("/code"), "digest"), 200_000)


def test_a_savepoint_without_bytes_is_trouble(stack: Any, cluster: Any) -> None:
    """It was looked for in the wrong place, or nothing was made."""
    (stack.state_dir / "savepoints" / "1" / "_metadata").unlink()
    with pytest.raises(Trouble, match="has no bytes"):
        rebuild.rebuild(stack, (Path("/code"), "digest"), 200_000)


@pytest.mark.parametrize("failure", [SubmitFailed("no slots"), WireError("no slots"), KafkaException("no slots")])
def test_a_catch_up_that_fails_is_trouble(
    stack: Any, cluster: Any, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """With what it said."""

    def ready(*_: Any) -> str:
        raise failure

    monkeypatch.setattr(rebuild.starting, "ready", ready)
    with pytest.raises(Trouble, match="no slots"):
        rebuild.rebuild(stack, (Path("/code"), "digest"), 1)


def test_rebuild_is_among_the_benches_with_a_floor() -> None:
    """5,000 decisions a second."""
    (floor,) = (floor for floor in FLOORS if floor.figure == "rebuild.decisions")
    assert "rebuild" in BENCHES and (floor.limit, floor.at_least) == (5_000, True)
