# SPDX-License-Identifier: Apache-2.0
"""A replay that goes on shows how far it is and how fast, to a person at a terminal and to nobody else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ops.context import Context
from ops.replay import telling
from ops.settings import Settings
from threadlog.replay import Divergence

DIVERGED: dict[str, Any] = {
    "thread": "t", "seq": 1, "input_kind": "event", "verdict": "began", "topic": "agent-events", "partition": 0,
    "offset": 0, "time_ms": 0, "agent": "go", "version": 1, "run_id": "r", "differences": [],
}  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock says, in seconds."""
    now = [100.0]
    monkeypatch.setattr("ops.replay.telling.time.monotonic", lambda: now[0])
    return now


def tell(folder: Path, clock: list[float], json: bool = False) -> None:
    """1,500 decisions and one divergence in two seconds, then two words of the cluster, then the end."""
    voice = telling.Voice(Context(Settings(state_dir=folder), json), began=clock[0])
    clock[0] += 0.5
    voice(1_000)
    voice(Divergence(**DIVERGED))
    clock[0] += 1.5
    voice(500)
    voice.verified(12_000, 40_000)
    voice.clear()


@pytest.mark.parametrize("json", [False, True])
def test_replay_progress_is_shown_on_a_terminal(
    tmp_path: Path, clock: list[float], json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On one line, over and over: the count, the rate since the beginning and what diverged; of the cluster, offsets.
    At the end the line is empty."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tell(tmp_path, clock, json)
    assert [line.rstrip() for line in capsys.readouterr().err.split("\r")] == [
        "",
        "1,000 decisions, 2,000/s, 0 diverged",
        "1,500 decisions, 750/s, 1 diverged",
        "12,000 of 40,000 offsets, 2 s",
        "",
        "",
    ]


def test_replay_progress_is_not_shown_elsewhere(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file or a pipe would keep each state of the line."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    tell(tmp_path, clock)
    assert capsys.readouterr() == ("", "")
