# SPDX-License-Identifier: Apache-2.0
"""What benches tell of what they measured on: how many threads, how large a state, and which processes were theirs."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from bench import history, recovery, session
from bench.meter import Meter


def conditions(bench: Any, monkeypatch: pytest.MonkeyPatch, **stands_in: Any) -> dict[str, Any]:
    """What a bench tells with its figures, whatever these are."""
    told: dict[str, Any] = {}
    run = SimpleNamespace(report=lambda name, found, **conditions: told.update(conditions))
    monkeypatch.setattr(bench, "session", lambda *_, **__: nullcontext(run))
    monkeypatch.setattr(bench, "state_bytes", lambda run: 12_345)
    for name, one in stands_in.items():
        monkeypatch.setattr(bench, name, one)
    bench.main.main([], standalone_mode=False)
    return told


def test_recovery_tells_of_the_state_that_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty threads a kill, one kill for warming up: what is found again is small."""
    told = conditions(recovery, monkeypatch, _wait_well=lambda run: None, _gap_s=lambda run, prefix: 3.0)
    wanted = {"kills": 7, "threads_per_kill": 50, "threads": 400, "state_bytes": 12_345}
    assert wanted.items() <= told.items()


def test_history_tells_of_all_threads_in_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old ones and those of fifteen windows, in runs of two kinds: fewer than the job keeps, so all are warm."""
    told = conditions(history, monkeypatch, _pairs=lambda *_: [(1.0, 1.0)], _evicted=lambda rounds: [])
    assert {"threads": 200, "threads_in_state": 6_400, "state_bytes": 12_345}.items() <= told.items()


def test_what_was_started_again_is_metered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what was there before, under a name of its own; what is known already is not metered twice."""
    parts = [SimpleNamespace(name="kafka", pid=2), SimpleNamespace(name="taskmanager-1", pid=9)]
    monkeypatch.setattr(session.stack, "parts", lambda settings: parts)
    run: Any = SimpleNamespace(settings=None, meter=Meter({"taskmanager-1": 1, "kafka": 2}))
    for _ in range(2):
        session.Session.follow_restarts(run)
    assert run.meter.pids == {"taskmanager-1": 1, "kafka": 2, "taskmanager-1/9": 9}
