# SPDX-License-Identifier: Apache-2.0
"""A TaskManager that died lets the spare one take over first; one that was stopped begins at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops.settings import Settings
from ops.stack import processes
from ops.stack.layout import Layout
from ops.stack.render import render


def waits(layout: Layout, name: str) -> bool:
    """Whether the part's script would wait: what it does before its own preparations, with another `sleep`."""
    script = (layout.run / f"{name}.sh").read_text()
    begun = re.sub(r"(?m)^(export .*|rm -rf .*|if ls .*|date .*|exec .*|\[ -f .*exit 1)$", "", script)
    done = subprocess.run(
        ["sh", "-c", f"sleep() {{ echo slept; }}\n{begun}"], capture_output=True, text=True, check=True
    )
    return done.stdout == "slept\n"


@pytest.mark.parametrize(("taskmanagers", "patient"), [(3, True), (2, False)])
def test_respite_is_for_who_died_and_has_a_spare(tmp_path: Path, taskmanagers: int, patient: bool) -> None:
    """Without a spare nobody else can take over; who was never there, or was stopped, did not die."""
    layout = Layout(tmp_path)
    render(Settings(state_dir=tmp_path, taskmanagers=taskmanagers), layout)
    names = ["taskmanager-1", "kafka", "jobmanager"]
    assert [waits(layout, name) for name in names] == [False, False, False]
    for name in names:
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            processes.note(layout, name, gone.pid)
    assert [waits(layout, name) for name in names] == [patient, False, False]
    processes.forget(layout, "taskmanager-1")
    assert not waits(layout, "taskmanager-1")


def test_what_runs_is_not_forgotten(tmp_path: Path) -> None:
    """By what was written down of it, it can still be ended."""
    layout = Layout(tmp_path)
    layout.run.mkdir(parents=True)
    processes.note(layout, "taskmanager-1", os.getpid())
    processes.forget(layout, "taskmanager-1")
    assert processes.read(layout, "taskmanager-1") is not None
