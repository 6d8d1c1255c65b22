# SPDX-License-Identifier: Apache-2.0
"""What changes which jobs run is done by one command at a time: two starts at once would each begin a job."""

from __future__ import annotations

import fcntl
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from ops.commands import start, stop, submit
from ops.settings import Settings
from ops.stack import flink, lifecycle
from ops.stack.layout import Layout
from tests.ops.fakes import begun, run


def is_locked(state: Path) -> bool:
    """Whether somebody holds the lock that is there to be seen."""
    with open(state / "lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


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


def test_purge_keeps_out_whoever_waits_until_all_is_gone(stopped: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `up` would begin in a folder that is being removed. It begins in a new one, under a lock that others see."""
    state, told, held = stopped.state, threading.Event(), list[tuple[bool, bool]]()
    (state / "kafka").mkdir()

    def second() -> None:
        with lifecycle.alone(state, lambda line: told.set()):
            held.append((stopped.is_ours, is_locked(state)))

    waiting = threading.Thread(target=second)
    rmtree = shutil.rmtree

    def removed(path: Path, **more: Any) -> None:
        if not waiting.is_alive():
            waiting.start()
            assert told.wait(30)
        rmtree(path, **more)

    monkeypatch.setattr(shutil, "rmtree", removed)
    lifecycle.down(Settings(state_dir=state), print, purge=True)
    waiting.join(30)
    assert held == [(False, True)]


def test_purge_leaves_no_lock_behind(stopped: Layout) -> None:
    """It goes last, by whoever holds it."""
    done = lifecycle.down(Settings(state_dir=stopped.state), print, purge=True)
    assert (stopped.state.exists(), done.kept) == (False, [])
    assert done.removed[-2:] == [stopped.state / "lock", stopped.state]


@pytest.mark.parametrize("words", [("start",), ("start", "--take-over"), ("submit",), ("stop",)])
def test_each_looks_and_acts_alone(alone: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    begun(alone / ".threadlog")
    held = []

    def look(*_: Any, **__: Any) -> dict[str, Any]:
        held.append(is_locked(alone / ".threadlog"))
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
