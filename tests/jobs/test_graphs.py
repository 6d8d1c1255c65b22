# SPDX-License-Identifier: Apache-2.0
"""The graphs that the jobs submit, read back from Flink."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyflink
import pytest

from tests.jobs import uids

ROOT = Path(__file__).resolve().parents[2]
JARS = ROOT / ".build" / "flink-lib"


@pytest.fixture(scope="module", params=["conversation", "catchup", "replay", "tools"])
def graph(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The operators of a job's stream graph; built in a process of its own, because a JVM comes with it."""
    if not (JARS / "threadlog-connector.jar").exists():
        pytest.skip("needs the jars: run `make setup`")
    home = str(Path(pyflink.__file__).parent)  # without it, PyFlink would fall back to its own jars
    environment = {**os.environ, "FLINK_HOME": home, "FLINK_LIB_DIR": str(JARS), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.jobs.uids", request.param]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_graph_gives_every_operator_a_uid(graph: dict[str, Any]) -> None:
    """No operator is left to a generated id, which would change with the graph and lose the state without a word."""
    assert [node["name"] for node in graph["nodes"] if node["uid"] is None] == []


def test_graph_has_the_uids_of_the_job(graph: dict[str, Any]) -> None:
    """The uids in the graph are the constants of the job, written out here: renaming one is a migration."""
    assert sorted(node["uid"] for node in graph["nodes"]) == uids.EXPECTED[graph["job"]]


def test_graph_has_a_fixed_max_parallelism(graph: dict[str, Any]) -> None:
    """State is cut into 128 key groups, whatever the parallelism."""
    assert {node["max_parallelism"] for node in graph["nodes"]} == {128}


def test_catch_up_has_the_conversations_state() -> None:
    """Operator and sinks are found again by the live job; what is not is only what reads, and that by no other."""
    live, catching_up = (set(uids.EXPECTED[job]) for job in ("conversation", "catchup"))
    assert live - catching_up == {"thread-inputs"}
    assert catching_up - live == {"numbers-g7", "slices-g7", "journal-g7", "hold-g7"}
