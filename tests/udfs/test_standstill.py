# SPDX-License-Identifier: Apache-2.0
"""A process that stood still ends itself; one that is only busy goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from udfs.app_guard import EXIT_CODE
from udfs.standstill import STILL_S, stood_still

ROOT = Path(__file__).resolve().parents[2]
BUSY = "sum(range(10**8))"  # seconds in one call that keeps the interpreter's lock


def process(limit_s: float, then: str) -> subprocess.Popen[str]:
    """A process with the look-out and so short a limit, which says when it has begun and when `then` is done."""
    code = (
        f"from udfs import standstill as s; s.STILL_S = {limit_s}; s.end_after_standstill(); s.end_after_standstill()\n"
        f"import time; print('began', flush=True); {then}; print('done', flush=True)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_process_that_was_stopped_ends_itself_when_it_is_woken() -> None:
    """With a sentence, and before it does what it was about to do."""
    with process(0.5, "time.sleep(60)") as stopped:
        assert stopped.stdout is not None and stopped.stdout.readline() == "began\n"
        os.kill(stopped.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(stopped.pid, signal.SIGCONT)
        out, error = stopped.communicate(timeout=30)
    assert (out, stopped.returncode) == ("", EXIT_CODE)
    assert "this process stood still for" in error


def test_process_that_is_busy_goes_on() -> None:
    """A long call that keeps the interpreter's lock is no standstill: Flink's own threads answer meanwhile."""
    with process(0.5, BUSY) as busy:
        assert busy.communicate(timeout=120)[0] == "began\ndone\n"
    assert busy.returncode == 0


@pytest.mark.parametrize(
    ("passed_s", "used_s", "expected"),
    [(0.1, 0, False), (2.4, 0, False), (2.5, 0, True), (9, 0.5, True), (9, 1, False)],
)
def test_standstill_is_time_without_cpu(passed_s: float, used_s: float, expected: bool) -> None:
    """Too long, and no more than what waking up takes."""
    assert stood_still(passed_s, used_s) == expected


def test_standstill_is_shorter_than_flink_waits() -> None:
    """Who is given up has stood still for the heartbeat's timeout, less what has passed since the last one."""
    [[interval], [timeout]] = (
        re.findall(rf"^heartbeat.{name}: (\d+)$", (ROOT / "flink-conf" / "config.yaml").read_text(), re.MULTILINE)
        for name in ("interval", "timeout")
    )
    assert int(timeout) - int(interval) >= STILL_S * 1000
