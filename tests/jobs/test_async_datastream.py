# SPDX-License-Identifier: Apache-2.0
"""Why tools do not run in PyFlink's AsyncDataStream (docs/decisions/0001-no-async-data-stream.md).

It takes an element whose coroutine raised out of its queue at once, and reports the error when the *next* element
comes, or while it waits at a barrier for elements that are still in flight. When none is, the barrier passes: the
element is neither in the output nor in the checkpoint nor in an error.

This test turns red when PyFlink mends that. Then think the decision over, draining at barriers included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyflink
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.chaos
def test_async_datastream_loses_elements_whose_coroutines_raise() -> None:
    """Two of four elements are lost, and the job ends as finished without a word."""
    home = Path(pyflink.__file__).parent
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "FLINK_HOME": str(home), "PATH": path, "PYTHONPATH": str(ROOT)}
    environment.pop("FLINK_LIB_DIR", None)
    command = [sys.executable, "-m", "tests.jobs.async_loss"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, [json.dumps([0, 2])]), done.stderr[-2000:]
