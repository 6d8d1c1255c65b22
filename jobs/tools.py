# SPDX-License-Identifier: Apache-2.0
"""The tools job.

    tool-invocations ─┐                                                   ┌─► (reactor) tools ──► tool-results
    tool-reads ───────┼──► by quota key ──► ToolQueue: a durable queue ───┤
    tool-results ─────┘                                                   └─► dead-letters

Results do not leave through Flink: a finished call is one acknowledged record that the reactor writes, and this job
reads it again to free the slot.

Submit: flink run -d -pyfs . -py jobs/tools.py --app package.module:app … (`--help` lists the arguments).
"""

from __future__ import annotations

from argparse import Namespace

from pyflink.datastream import StreamExecutionEnvironment

from jobs.arguments import parse
from schemas.topics import kafka_name
from udfs.flink_io import FRAME, environment, keyed, source, write_at_once
from udfs.start_guard import begun, gate
from udfs.tool_queue import ToolQueue
from wire.control import STARTED, TOOLS, Mark

INPUTS = ("tool-invocations", "tool-reads", "tool-results")
OUTPUTS = ("dead-letters",)
QUOTA_KEY = "quota-key"

# State is found again by these names: changing one needs a migration.
SOURCE_UID = "asks-and-results"
QUEUE_UID = "tool-queue"
DEAD_LETTERS_UID = "dead-letters"


def build(args: Namespace, allowed: frozenset[str] | None = None) -> StreamExecutionEnvironment:
    """The job's graph. allowed: in a branch the tools with an effect that may run."""
    inputs, outputs = ([kafka_name(args.namespace, topic) for topic in topics] for topics in (INPUTS, OUTPUTS))
    env = environment(args.parallelism, args.checkpoint_interval_ms, args.checkpoint_dir)

    queue = ToolQueue(
        args.app, args.app_digest, args.namespace, args.bootstrap, args.registry, args.checkpoint_interval_ms, allowed
    )
    records = source(env, SOURCE_UID, args.bootstrap, inputs, group=f"{args.namespace}.tools", key_header=QUOTA_KEY)
    dead = keyed(records).process(queue, FRAME).uid(QUEUE_UID).name(QUEUE_UID)
    write_at_once(dead, DEAD_LETTERS_UID, args.bootstrap, outputs)
    return env


def main() -> None:
    """Submit the job under the name that `threadlog` knows it by."""
    args = parse("tools")
    begun(args, Mark(STARTED, TOOLS, "", "", {}, args.app))
    build(args, gate(args)).execute_async(f"{args.namespace}.tools")


if __name__ == "__main__":
    main()
