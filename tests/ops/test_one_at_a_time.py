# SPDX-License-Identifier: Apache-2.0
"""What changes which jobs run is done by one command at a time: two starts at once would each begin a job."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import Any

import pytest

from ops.commands import start, stop, submit
from ops.stack import flink, lifecycle
from tests.ops.fakes import begun, run


def test_a_second_one_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    told, order = threading.Event(), list[str]()

    def say(line: str) -> None:
        assert f"another command changes the stack in {tmp_path}" in line
        told.set()

    def second() -> None:
        with lifecycle.alone(tmp_path, say):
            order.append("second")

    with lifecycle.alone(tmp_path, print):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert told.wait(30)
        order.append("first")
    waiting.join(30)
    assert order == ["first", "second"]


@pytest.mark.parametrize("words", [("start",), ("start", "--take-over"), ("submit",), ("stop",)])
def test_each_looks_and_acts_alone(alone: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    begun(alone / ".threadlog")
    held = []

    def look(*_: Any, **__: Any) -> dict[str, Any]:
        with open(alone / ".threadlog" / "lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held.append(False)
            except BlockingIOError:
                held.append(True)
        return {}

    def submitted(*given: Any, **more: Any) -> dict[str, Any]:
        return look(*given, **more) or dict.fromkeys(flink.JOBS, "new")

    monkeypatch.setattr(flink, "live_jobs", look)
    for module in (start, submit):
        monkeypatch.setattr(module, "submit", submitted)
    for module, name in ((start, "take_over"), (start, "mismatches"), (stop, "stop_jobs"), (stop, "end_catch_ups")):
        monkeypatch.setattr(module, name, look)
    for name in ("check_inputs", "leave_stopped"):
        monkeypatch.setattr(start.starting, name, look)
    assert run(*words).exit_code == 0
    assert held
    assert all(held)
