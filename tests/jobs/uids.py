# SPDX-License-Identifier: Apache-2.0
"""Prints the operators of a job's stream graph as JSON: `python -m tests.jobs.uids conversation`."""

from __future__ import annotations

import importlib
import json
import sys
from argparse import Namespace

from pyflink.java_gateway import get_gateway

from udfs.start_guard import Start
from wire.registry import Registry

EXPECTED = {
    "conversation": [
        "Sink Committer: at-once",
        "Sink Committer: committed",
        "at-once",
        "at-once-cut",
        "committed",
        "committed-cut",
        "thread-inputs",
        "threads",
    ],
    "catchup": [
        "Sink Committer: at-once",
        "Sink Committer: committed",
        "at-once",
        "at-once-cut",
        "committed",
        "committed-cut",
        "hold-g7",
        "journal-g7",
        "numbers-g7",
        "slices-g7",
        "threads",
    ],
    "replay": [
        "Sink Committer: findings",
        "findings",
        "findings-cut",
        "numbers",
        "slices",
        "verify",
    ],
    "tools": [
        "Sink Committer: dead-letters",
        "asks-and-results",
        "dead-letters",
        "dead-letters-cut",
        "journal",
        "outbox-gate",
        "tool-queue",
    ],
}
ARGUMENTS = Namespace(
    app="app:app", app_digest="0" * 64, namespace="test", bootstrap="127.0.0.1:9", registry=Registry("http://127.0.0.1:9"),
    parallelism=1, checkpoint_interval_ms=200, checkpoint_dir="file:///tmp/unused",
    transaction_timeout_ms=600_000,
    generation="g7", journal_begin={0: 5, 1: 0}, journal_end={0: 12, 1: 0}, journal={0: (0, 12), 1: (0, 0)},
    run="r-1",
)  # fmt: skip


def main(job: str) -> None:
    """Build the job's graph, without submitting it, and print what Flink holds of it."""
    start = (Start(0, False),) if job == "conversation" else ()
    env = importlib.import_module(f"jobs.{job}").build(ARGUMENTS, *start)
    graph = env._generate_stream_graph(clear_transformations=True, job_name=job)
    nodes = [
        {
            "name": node.getOperatorName(),
            "uid": node.getTransformationUID(),
            "max_parallelism": node.getMaxParallelism(),
        }
        for node in get_gateway().jvm.java.util.ArrayList(graph.getStreamNodes())
    ]
    print(json.dumps({"job": job, "nodes": nodes}))


if __name__ == "__main__":
    main(sys.argv[1])
