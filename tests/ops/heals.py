# SPDX-License-Identifier: Apache-2.0
"""A cluster whose journal is repaired, for the tests of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops import http
from ops.settings import Settings
from ops.stack import flink, healing, records, starting
from ops.stack.healing import Cause, Healer
from ops.stack.layout import Layout
from wire.control import CAUGHT_UP, DROPPED, STARTED, STOPPED, Mark, Written

DROP = Mark(DROPPED, "conversation", "", "", {})
STOP = Mark(STOPPED, "conversation", "a" * 32, "file:/s/1", {0: 7})
START = Mark(STARTED, "conversation", "", "file:/s/1", {0: 7}, generation=2)


def rebuilt(*ends: int) -> list[Mark]:
    """What rebuilds up to there, and the starts after them, leave in agent-control."""
    made = [[DROP, Mark(CAUGHT_UP, "conversation", "a" * 32, "file:/s/rebuilt", {0: end}), START] for end in ends]
    return [mark for marks in made for mark in marks]


VOID, LOST = Cause("void", (0, 9)), Cause("lost")
RUNS = flink.Job("conversation", "c" * 32, "RUNNING", {"total": 2, "running": 2})
COPY = flink.Job("conversation", "d" * 32, "RESTARTING", {})
ENDED = flink.Job("conversation", "e" * 32, "FAILED", {})
TOOLS = flink.Job("tools", "f" * 32, "RUNNING", {})


@dataclass
class Cluster:
    """What is asked of Flink, in order, and what it answers."""

    settings: Settings
    marks: list[Mark] = field(default_factory=list)
    jobs: list[flink.Job] = field(default_factory=lambda: [RUNS, TOOLS, ENDED])
    did: list[Any] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    refuses_stop: bool = False
    fails: Exception | None = None
    parallelism: int = 0

    def healer(self, cause: Cause | None = None) -> Healer:
        """With something to repair."""
        made = Healer(self.settings, self.said.append)
        made.broke(cause or VOID)
        return made

    def read(self, bootstrap: str, namespace: str, codec: Any) -> list[Written]:
        return [Written(at, 0, mark) for at, mark in enumerate(self.marks)]

    def stop(self, settings: Settings, job: flink.Job, folder: str, within_s: float) -> str:
        if self.refuses_stop:
            raise http.HttpError("u", 500, "no checkpoint can be taken")
        self.did.append("stop")
        return "file:/s/void"

    def ready(self, settings: Settings, layout: Layout, app: str, points: Any, packed: Any, say: Any) -> Any:
        if self.fails:
            raise self.fails
        self.did.append(("ready", app, points, packed[1]))
        self.parallelism = settings.parallelism
        self.marks += rebuilt(20)
        return {"conversation": "file:/s/rebuilt"}

    def begin(self, settings: Settings, layout: Layout, app: str, points: Any, packed: Any, say: Any) -> Any:
        self.did.append(("begin", points["conversation"], packed[1]))
        return {}


def clustered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A repair of a conversation that runs beside tools, over such a cluster."""
    layout = Layout(tmp_path)
    (layout.state / "code" / "c0de").mkdir(parents=True)
    layout.jobs.mkdir()
    records.write(layout, records.Record("conversation", RUNS.id, "m:app", "c0de"))
    made = Cluster(Settings(state_dir=tmp_path))
    for module in (healing, starting):
        monkeypatch.setattr(module, "read_marks", made.read)
    monkeypatch.setattr(starting, "write_mark", lambda bootstrap, namespace, codec, mark: made.marks.append(mark))
    monkeypatch.setattr(healing, "ready_points", made.ready)
    monkeypatch.setattr(healing, "begin", made.begin)
    monkeypatch.setattr(flink, "jobs", lambda settings: made.jobs)
    monkeypatch.setattr(flink, "stop_with_savepoint", made.stop)
    monkeypatch.setattr(flink, "cancel", lambda settings, job: made.did.append("cancel"))
    monkeypatch.setattr(flink, "wait_running", lambda settings, kinds, seconds: [])
    return made
