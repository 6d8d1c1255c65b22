# SPDX-License-Identifier: Apache-2.0
"""Whoever interrupts `make bench` waits until the bench that runs has taken its stack down."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.stack.layout import ROOT

# A shell's background ignores the signal, and its children with it.
HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
BENCH = f"""
{HEARS}
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
try:
    (folder / "begun").touch()
    time.sleep(60)
finally:
    time.sleep(1)  # longer than the quarter of a second that `subprocess.run` gives
    (folder / "down").touch()
"""
ALL = f"""
{HEARS}
import sys
from bench.__main__ import run
run([sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_interrupted_bench_takes_its_stack_down(tmp_path: Path, number: signal.Signals) -> None:
    whole = subprocess.Popen([sys.executable, "-c", ALL, BENCH, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        while not (tmp_path / "begun").exists():
            assert whole.poll() is None, whole.communicate()
            time.sleep(0.05)
        whole.send_signal(number)
        assert b"KeyboardInterrupt" in whole.communicate(timeout=60)[1]
        assert (tmp_path / "down").exists()
    finally:
        whole.kill()
