# SPDX-License-Identifier: Apache-2.0
"""What is told of a rebuild: when all tasks ran, when the last entry was read, and that all of them were."""

from __future__ import annotations

from datetime import datetime
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


def task(start_s: float, deploying_ms: int, initializing_ms: int, end_s: float) -> dict[str, Any]:
    """A subtask as the JobManager tells of it; what it never did is -1."""
    spent = {"CREATED": 3, "SCHEDULED": 90, "DEPLOYING": deploying_ms, "INITIALIZING": initializing_ms, "FAILED": -1}
    return {"start-time": start_s * 1000, "end-time": end_s * 1000, "status-duration": spent}


TASKS = {
    "j": [task(100, 500, 1_500, 145), task(100, 500, 500, 148)],  # the source, of two subtasks
    "h": [task(100, 500, 500, 160)],
    "t": [task(100, 500, 4_500, 160)],  # Python is loaded last
}


def finished(at_s: float, splits: tuple[int, ...], topic: str = "n.agent-decisions") -> str:
    """What a source's reader logs when it has handed on the last record of these partitions."""
    stamp = datetime.fromtimestamp(at_s).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
    read = ", ".join(f"{topic}-{split}" for split in splits)
    return f"{stamp} INFO  o.a.f.c.b.s.r.SourceReaderBase           Finished reading split(s) [{read}]\n"


LOGS = {
    # Of the round before, of each subtask of this one, and of a job that came after it.
    "taskmanager-1.log": "no time\n" + finished(90, (0, 1, 2, 3)) + finished(139, (3, 1)),
    "taskmanager-2.log": finished(121, (2,))
    + finished(144.25, (0,))
    + finished(146, (0,), "n.agent-events")
    + finished(149, (0, 1, 2, 3)),
}


@pytest.fixture
def stack(tmp_path: Path) -> Any:
    """The settings of a stack that has left its logs and a savepoint of 1,000 bytes."""
    for folder in ("logs", "savepoints/1"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in LOGS.items():
        (tmp_path / "logs" / name).write_text(text)
    (tmp_path / "savepoints" / "1" / "_metadata").write_bytes(b"x" * 1_000)
    return SimpleNamespace(
        flink_rest="http://x", state_dir=tmp_path, namespace="n", partitions=4, checkpoint_interval_ms=200
    )


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, stack: Any) -> list[tuple[str, str, list[str]]]:
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
        run(point, ["--checkpoint-interval-ms", "5000", "--generation", "1f"])
        return f"file:{stack.state_dir}/savepoints/1"  # with one slash, as Flink answers

    monkeypatch.setattr(rebuild.http, "call", call)
    monkeypatch.setattr(rebuild, "run_job", run_job)
    monkeypatch.setattr(rebuild.starting, "ready", ready)
    return submitted


def test_reading_is_from_when_all_tasks_run_to_the_last_entry(stack: Any, cluster: Any) -> None:
    """The slowest to begin is the operator, the slowest to read one subtask of the source; that one then waits for its
    last checkpoint, which is none of it."""
    assert rebuild.reading(stack, "job") == (200_000, 39.25)


def test_a_reading_that_no_log_tells_of_is_trouble(stack: Any, cluster: Any) -> None:
    """The end of the source would flatter nobody, but it is another figure."""
    for log in (stack.state_dir / "logs").iterdir():
        log.unlink()
    with pytest.raises(Trouble, match="No TaskManager's log tells"):
        rebuild.reading(stack, "job")


def test_a_reading_of_which_one_partition_is_not_told_is_trouble(stack: Any, cluster: Any) -> None:
    """It may be the last one, and the reading shorter than it was."""
    log = stack.state_dir / "logs" / "taskmanager-2.log"
    log.write_text(log.read_text().replace(finished(144.25, (0,)), ""))
    with pytest.raises(Trouble, match=r"partitions \[0\] was read"):
        rebuild.reading(stack, "job")


def test_rebuild_begins_from_nothing(stack: Any, cluster: Any) -> None:
    """The catch-up alone, with what the product's start tells it, also how seldom it takes a checkpoint."""
    found = rebuild.rebuild(stack, (Path("/code"), "digest"), 200_000)
    assert (found.reading_s, found.savepoint_bytes, found.interval_ms) == (39.25, 1_000, 5_000)
    assert 0 <= found.whole_s < 10
    assert cluster == [("catchup", "", ["--checkpoint-interval-ms", "5000", "--generation", "1f"])]


def test_a_rebuild_is_told_the_interval_that_the_settings_have(stack: Any) -> None:
    """A short catch-up is told none of its own."""
    assert rebuild._interval_ms(stack, ["--generation", "1f"]) == 200


def test_a_rebuild_of_less_than_the_journal_is_trouble(stack: Any, cluster: Any) -> None:
    """It would be a fast one."""
    with pytest.raises(Trouble, match="has 200,001 entries, the catch-up has read 200,000"):
        rebuild.rebuild(stack, (Path("/code"), "digest"), 200_001)


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
