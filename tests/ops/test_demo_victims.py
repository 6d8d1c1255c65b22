# SPDX-License-Identifier: Apache-2.0
"""The demo hits the host of those refunds that are unanswered now."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from jobs import conversation, tools
from ops.demo import kills, victims
from ops.settings import Settings
from ops.stack import processes

# What Flink 2.3 itself computes for Row.of(key): its key group of 128, and its subtask under 1, 2, 3 and 5.
KEYS = {
    "refund": (83, 0, 1, 1, 3),
    "look_up_order": (107, 0, 1, 2, 4),
    "check_stock": (33, 0, 0, 0, 1),
    "c1-00000": (52, 0, 0, 1, 2),
    "c1-00001": (88, 0, 1, 2, 3),
    "c1-00042": (49, 0, 0, 1, 1),
    "c7-00499": (77, 0, 1, 1, 3),
    "ключ": (108, 0, 1, 2, 4),
    "📦": (42, 0, 0, 0, 1),
}


@pytest.mark.parametrize("key", KEYS)
def test_demo_finds_the_subtask_of_a_key(key: str) -> None:
    """Key groups and subtasks are those that Flink gives."""
    assert tuple(victims.subtask_of(key, count, 128) for count in (128, 1, 2, 3, 5)) == KEYS[key]


def test_demo_knows_the_keyed_operators() -> None:
    """The operators whose subtasks hold the refunds are those of the jobs."""
    assert victims.OPERATORS == {"tools": tools.QUEUE_UID, "conversation": conversation.THREADS_UID}


class Run:
    """The files of a demo that goes on."""

    def __init__(self, folder: Path) -> None:
        self.ledger, self.sent = folder / "ledger.jsonl", folder / "sent.jsonl"
        self.watch = victims.Watch(victims.Tail(self.ledger), victims.Tail(self.sent))
        self.requests = 0

    def line(self, kind: str, request: int = 0, order: str = "") -> None:
        with self.ledger.open("a") as ledger:
            ledger.write(json.dumps({"kind": kind, "request": request, "order": order}) + "\n")

    def ask(self, thread: str) -> int:
        """A thread's refund arrives at the service; the request's number."""
        self.requests += 1
        order = f"o-{thread}-{self.requests}"
        with self.sent.open("a") as sent:
            sent.write(json.dumps({"thread": thread, "data": {"order_id": order}}) + "\n")
        self.line("arrived", self.requests, order)
        return self.requests

    def looked(self) -> victims.Watch:
        self.watch.look()
        return self.watch


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_demo_counts_what_is_unanswered_now(run: Run) -> None:
    """Answered and dropped requests are over; a service that starts has none in flight; half a line is no line."""
    assert run.looked().open == {}
    first, second, third = (run.ask("a") for _ in range(3))
    run.line("answered", first)
    run.line("dropped", second)
    run.ledger.open("a").write('{"kind": "ans')
    assert list(run.looked().open) == [third]
    run.ledger.open("a").write(json.dumps({"kind": "answered", "request": third})[len('{"kind": "ans') :] + "\n")
    assert list(run.looked().open) == []
    run.ask("a")
    run.line("started")
    assert run.looked().open == {}


def test_demo_counts_for_each_subtask_what_it_holds(run: Run) -> None:
    """The tools job holds every refund under one key, the conversation job each under its thread."""
    for thread in ("c1-00000", "c1-00001", "c1-00001"):
        run.ask(thread)
    hosts = {0: "taskmanager-1", 1: "taskmanager-2"}
    of_tools, of_threads = (victims.Subtasks(kind, hosts, 128) for kind in ("tools", "conversation"))
    assert of_tools.holding(run.looked()) == (1, 3)
    assert of_threads.holding(run.watch) == (1, 2)
    assert [of_threads.held(subtask, run.watch) for subtask in hosts] == [1, 2]


def test_demo_looks_for_subtasks_in_the_keyed_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the subtasks run is what REST says of the vertex that holds the state, not of the source's."""
    job = {"vertices": [{"id": "v1", "name": "Source: asks"}, {"id": "v2", "name": "tool-queue -> cut"}]}
    job["vertices"][1]["maxParallelism"] = 128  # type: ignore[assignment]
    tasks = [{"subtask": n, "taskmanager-id": f"taskmanager-{3 - n}"} for n in (0, 1)]
    answers = {"jobs/j": job, "jobs/j/vertices/v2": {"subtasks": tasks}}
    running = victims.flink.Job("tools", "j", "RUNNING", {})
    monkeypatch.setattr(victims.flink, "live_jobs", lambda settings: {"tools": running})
    monkeypatch.setattr(victims.http, "call", lambda url: answers[url.split("/", 3)[3]])
    found = victims.subtasks(Settings(), "tools")
    assert found == victims.Subtasks("tools", {0: "taskmanager-3", 1: "taskmanager-2"}, 128)


def test_demo_kills_the_host_of_the_subtask_that_holds_the_refunds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two hosts the one with three refunds is hit; what was answered meanwhile is not counted."""
    for thread in ("c1-00001", "c1-00000", "c1-00001", "c1-00001"):
        run.ask(thread)
    where = victims.Subtasks("conversation", {0: "taskmanager-1", 1: "taskmanager-2"}, 128)
    killed: list[tuple[str, signal.Signals]] = []

    def kill(process: processes.Process, number: signal.Signals) -> None:
        killed.append((process.name, number))
        run.line("answered", 1)

    monkeypatch.setattr(kills, "subtasks", lambda settings, kind: where)
    monkeypatch.setattr(kills, "_restarted_ms", lambda settings, kind: 0)
    monkeypatch.setattr(kills, "_wait_recovered", lambda settings, kind, before_ms: (1, 2))
    monkeypatch.setattr(processes, "read", lambda layout, name: processes.Process(name, 1, 1))
    monkeypatch.setattr(processes.Process, "alive", lambda self: True)
    monkeypatch.setattr(processes, "send", kill)
    found = kills.kill_host(Settings(), "conversation", run.watch)
    assert killed == [("taskmanager-2", signal.SIGKILL)]
    assert (found.killed, found.subtask, found.unanswered, found.hit) == ("taskmanager-2", 1, 2, False)
