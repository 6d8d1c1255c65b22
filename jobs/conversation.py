# SPDX-License-Identifier: Apache-2.0
"""The conversation job.

    agent-events ───┐                                   ┌─► agent-decisions   ┐
    human-feedback ─┤                                   ├─► tool-invocations  │
    tool-results ───┼──► by thread ──► ThreadFunction ──┼─► agent-replies     │ one transaction per checkpoint
    agent-signals ──┘                        │          ├─► agent-signals     │
                                             │          └─► dead-letters      ┘
                                             └──► tool-reads, at once

A start is refused from a state that is not the journal's end, and behind lost inputs (`udfs/start_guard.py`);
jobs/catchup.py leads to a state that is.

Submit: flink run -d -pyfs . -py jobs/conversation.py --app package.module:app … (`--help` lists the arguments).
"""

from __future__ import annotations

from argparse import Namespace

from pyflink.datastream import StreamExecutionEnvironment

from jobs.arguments import parse
from schemas.topics import kafka_name
from udfs.flink_io import (
    FRAME,
    allow_dropped_sources,
    environment,
    keyed,
    of_start,
    side,
    source,
    write_at_once,
    write_transactional,
)
from udfs.start_guard import Start, acquaint, admit
from udfs.thread_function import READS, ThreadFunction
from wire.control import CONVERSATION
from wire.transactions import conversations as transactions

INPUTS = ("agent-events", "human-feedback", "tool-results", "agent-signals")
OUTPUTS = ("agent-decisions", "tool-invocations", "agent-replies", "agent-signals", "dead-letters")
AT_ONCE = ("tool-reads",)

# State and transactions are found again by these names: changing one needs a migration.
SOURCE_UID = "thread-inputs"
THREADS_UID = "threads"
COMMITTED_UID = "committed"
AT_ONCE_UID = "at-once"


def build(args: Namespace, start: Start) -> StreamExecutionEnvironment:
    """The job's graph, for this start of it."""
    inputs, outputs, at_once = ([kafka_name(args.namespace, topic) for topic in t] for t in (INPUTS, OUTPUTS, AT_ONCE))
    env = environment(args.parallelism, args.checkpoint_interval_ms, args.checkpoint_dir)
    of_start(env, start.generation)

    threads = ThreadFunction(
        args.app, args.app_digest, args.namespace, args.registry, args.bootstrap, start.generation, start.told
    )
    records = source(env, SOURCE_UID, args.bootstrap, inputs, group=f"{args.namespace}.conversation")
    decisions = keyed(records).process(threads, FRAME).uid(THREADS_UID).name(THREADS_UID)
    prefix, timeout_ms = transactions(args.namespace), args.transaction_timeout_ms
    write_transactional(decisions, COMMITTED_UID, args.bootstrap, outputs, prefix, timeout_ms)
    write_at_once(side(decisions, READS), AT_ONCE_UID, args.bootstrap, at_once)
    return env


def main() -> None:
    """Submit the job under the name that `threadlog` knows it by."""
    args = parse("conversation")
    acquaint(args, CONVERSATION, args.app)
    start = admit(args)
    env = build(args, start)
    if start.drops_sources:
        allow_dropped_sources(env)
    env.execute_async(f"{args.namespace}.conversation")


if __name__ == "__main__":
    main()
