# SPDX-License-Identifier: Apache-2.0
"""The tools job.

    agent-decisions ──► by thread ──► OutboxGate ─┐ asks of valid entries
                                          │       │
                        dead-letters ◄────┘       │                                ┌─► (reactor) tools ──► tool-results
    tool-reads ───────────────────────────────────┼──► by quota key ──► ToolQueue ─┤
    tool-results ─────────────────────────────────┘                                └─► dead-letters

Effect calls are taken from the journal itself, so that none can run which no valid entry asks for; a fork of a thread's
history has none (docs/decisions/0016-effects-from-the-journal.md). Results do not leave through Flink: a finished call
is one acknowledged record that the reactor writes, and this job reads it again to free the slot.

Submit: flink run -d -pyfs . -py jobs/tools.py --app package.module:app … (`--help` lists the arguments).
"""

from __future__ import annotations

from argparse import Namespace

from confluent_kafka import KafkaException
from pyflink.datastream import StreamExecutionEnvironment

from jobs.arguments import parse
from schemas.topics import kafka_name
from udfs.flink_io import FRAME, KEYED_FRAME, environment, keyed, of_start, side, source, write_at_once
from udfs.outbox_gate import REFUSED, OutboxGate
from udfs.start_guard import acquaint, begun, gate
from udfs.tool_queue import ToolQueue
from wire.control import STARTED, TOOLS, Mark
from wire.kafka import bounds

JOURNAL = ("agent-decisions",)
INPUTS = ("tool-reads", "tool-results")
OUTPUTS = ("dead-letters",)
QUOTA_KEY = "quota-key"

# State is found again by these names: changing one needs a migration.
JOURNAL_UID = "journal"
GATE_UID = "outbox-gate"
SOURCE_UID = "asks-and-results"
QUEUE_UID = "tool-queue"
DEAD_LETTERS_UID = "dead-letters"


def build(args: Namespace, allowed: frozenset[str] | None = None) -> StreamExecutionEnvironment:
    """The job's graph. allowed: in a branch the tools with an effect that may run."""
    journal, inputs, outputs = ([kafka_name(args.namespace, t) for t in ts] for ts in (JOURNAL, INPUTS, OUTPUTS))
    env = environment(args.parallelism, args.checkpoint_interval_ms, args.checkpoint_dir)
    group = f"{args.namespace}.tools"

    outbox = OutboxGate(args.namespace, args.registry, args.journal)
    queue = ToolQueue(
        args.app, args.app_digest, args.namespace, args.bootstrap, args.registry, args.checkpoint_interval_ms, allowed
    )
    entries = source(env, JOURNAL_UID, args.bootstrap, journal, group)
    asks = keyed(entries).process(outbox, KEYED_FRAME).uid(GATE_UID).name(GATE_UID)
    records = source(env, SOURCE_UID, args.bootstrap, inputs, group, key_header=QUOTA_KEY)
    dead = keyed(records.union(asks)).process(queue, FRAME).uid(QUEUE_UID).name(QUEUE_UID)
    write_at_once(dead.union(side(asks, REFUSED)), DEAD_LETTERS_UID, args.bootstrap, outputs)
    return env


def main() -> None:
    """Submit the job under the name that `threadlog` knows it by."""
    args = parse("tools")
    acquaint(args, TOOLS)
    try:
        args.journal = bounds(args.bootstrap, kafka_name(args.namespace, *JOURNAL))
    except KafkaException as error:
        raise SystemExit(
            f"threadlog: tools was not started: the journal cannot be read: {error.args[0].str()}."
        ) from None
    generation = begun(args, Mark(STARTED, TOOLS, "", "", {}, args.app))
    env = build(args, gate(args))
    of_start(env, generation)
    env.execute_async(f"{args.namespace}.tools")


if __name__ == "__main__":
    main()
