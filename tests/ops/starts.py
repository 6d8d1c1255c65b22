# SPDX-License-Identifier: Apache-2.0
"""A cluster without jobs and a journal beside it, for the tests of where the conversation starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops import http
from ops.settings import Settings
from ops.stack import catch_up, flink, records, starting
from ops.stack.layout import Layout
from ops.stack.starting import ready
from tests.ops.fakes import FakeKafka
from wire.control import STOPPED, Mark, Written

POINT, LEFT = "file:/s/1", "file:/s/caught-up"
MARK = Mark(STOPPED, "conversation", "a" * 32, POINT, {0: 7})
OTHER = "threadlog.errors.NotOfThisJournal: the restored state is not of this journal: thread 't' stands at seq 3"


@dataclass
class Cluster:
    """What the broker holds and Flink answers; `runs` are the catch-ups that were submitted."""

    layout: Layout
    held: dict[int, tuple[int, int]] = field(default_factory=lambda: {0: (0, 9)})
    mark: Mark | None = MARK
    status: str = "FINISHED"
    state: str = "RUNNING"
    failures: list[str] = field(default_factory=list)
    more: int = 0
    lost: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)
    forked: str = ""
    runs: list[tuple[str, list[str]]] = field(default_factory=list)
    written: list[Mark] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def run(self, point: str, more: list[str]) -> str:
        self.runs.append((point, more))
        return f"job-{len(self.runs)}"

    def job(self, url: str) -> Any:
        words = self.runs[-1][1]
        generation = words[words.index("--generation") + 1]
        return {"state": self.state, "vertices": [{"name": f"Source: journal-{generation}", "status": self.status}]}

    def go(self, point: str) -> str:
        mine = records.Record("conversation", "", "m:app", "code")
        return ready(Settings(), self.layout, point, mine, self.run, self.said.append)


def clustered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A start over such a cluster."""
    made, kafka = Cluster(Layout(tmp_path)), FakeKafka()
    monkeypatch.setattr(starting, "bounds", lambda bootstrap, topic: made.held)
    monkeypatch.setattr(
        starting, "settled_ends", lambda bootstrap, topic: {p: high for p, (_, high) in made.held.items()}
    )
    monkeypatch.setattr(starting, "last_mark", lambda bootstrap, namespace, codec: made.mark)
    monkeypatch.setattr(
        starting, "read_marks", lambda bootstrap, namespace, codec: [Written(0, 0, made.mark)] if made.mark else []
    )
    monkeypatch.setattr(starting, "write_mark", lambda bootstrap, namespace, codec, mark: made.written.append(mark))
    monkeypatch.setattr(
        starting, "committed", lambda bootstrap, namespace, job: {f"of-{job}/0": 3, "tool-results/0": 9}
    )
    monkeypatch.setattr(
        starting, "source_offsets", lambda point, ns, topics: {f"{topics[0]}/1": 5, "tool-results/0": 7}
    )
    monkeypatch.setattr(starting, "without_beginning", lambda *given: made.lost)
    monkeypatch.setattr(starting, "ahead", lambda _, codec, point, read: "it is ahead" if point in made.ahead else "")
    monkeypatch.setattr(starting, "of_another_history", lambda settings, codec: made.forked)
    grown = [kafka.add("agent-decisions", b"t", b"v") for _ in range(3)]
    monkeypatch.setattr(starting, "read_topic", lambda bootstrap, topic, first: iter(grown[: made.more]))
    monkeypatch.setattr(http, "call", lambda url, *rest, **more: made.job(url))
    monkeypatch.setattr(
        flink, "last_failed", lambda settings, id: (1, made.failures.pop(0)) if made.failures else (0, "")
    )
    monkeypatch.setattr(flink, "stop_with_savepoint", lambda settings, job, folder, *within_s: LEFT)
    monkeypatch.setattr(flink, "cancel", lambda settings, job: made.cancelled.append(job.id))
    monkeypatch.setattr(catch_up, "POLL_S", 0)
    return made
