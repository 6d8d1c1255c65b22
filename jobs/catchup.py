# SPDX-License-Identifier: Apache-2.0
"""The catch-up: the conversation's graph over the journal instead of its inputs, to bring its state up to the end.

    0, 1, 2, … ──► slices of agent-decisions, ──► by partition ──► JournalSlices ──┐
                   to its end as of now                            reads them      │
                                                                                   ├──► by thread ──► ThreadFollower
    agent-decisions, from there on ────────────────────────────────────────────────┘                      │
                                                            nothing, but the sinks' recovery ends what ◄──┘
                                                            a killed job left open

Operator and sinks have the uids of the conversation, so it goes on from the savepoint in which this job ends: stop it
when the slices are read. The second source keeps the job alive until then. What reads has uids of this one catch-up, so
that no later one takes its place in the journal for its own. Started from no savepoint at all, it makes the state anew.

All slices are told at once and lie before who reads them, so a checkpoint's barrier has to overtake them, and what is
between operators is part of it. A savepoint's barrier does not: what was read before it is in the state.

Submit: flink run -d [-s OLDER -n] -pyfs . -py jobs/catchup.py --generation NAME --journal-begin 0:0,… --journal-end
0:12,… (`threadlog start` does all of it).
"""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pyflink.datastream import StreamExecutionEnvironment

from jobs.arguments import parse_catch_up
from jobs.conversation import AT_ONCE, AT_ONCE_UID, COMMITTED_UID, OUTPUTS, THREADS_UID
from schemas.topics import kafka_name
from udfs.flink_io import (
    FRAME,
    KEYED_FRAME,
    environment,
    keyed,
    numbers,
    partition_keys,
    side,
    source,
    write_at_once,
    write_transactional,
)
from udfs.journal_slices import JournalSlices
from udfs.slices import Cut, slices_in_turn
from udfs.start_guard import acquaint, alone, none_under_way, reaches_the_end
from udfs.thread_follower import ThreadFollower
from udfs.thread_function import READS
from wire.control import CONVERSATION
from wire.journal import TOPIC, catch_up_group
from wire.transactions import conversations as transactions

# Threads whose entries lie among each other's are the more together the longer a slice is; no checkpoint is taken while
# what one holds is given away, some seconds of work.
SLICE = 5_000


def build(args: Namespace) -> StreamExecutionEnvironment:
    """The job's graph."""
    journal = kafka_name(args.namespace, TOPIC)
    outputs, at_once = ([kafka_name(args.namespace, topic) for topic in topics] for topics in (OUTPUTS, AT_ONCE))
    env = environment(args.parallelism, args.checkpoint_interval_ms, args.checkpoint_dir, overtaking=True)
    begin, end, generation = args.journal_begin, args.journal_end, args.generation
    truncated = frozenset(partition for partition, first in begin.items() if first > 0)

    pieces = partial(slices_in_turn, begin, end, SLICE)
    cut = Cut(partition_keys(max(end) + 1), pieces)
    read = JournalSlices(args.bootstrap, journal, catch_up_group(args.namespace, generation), end)
    counted = numbers(env, f"numbers-{generation}", len(pieces()))
    cuts = counted.map(cut, KEYED_FRAME).uid(f"slices-{generation}").name(f"slices-{generation}").set_parallelism(1)
    told = keyed(cuts).process(read, KEYED_FRAME).uid(f"journal-{generation}").name(f"journal-{generation}")
    hold = source(env, f"hold-{generation}", args.bootstrap, [journal], f"{args.namespace}.catchup", first=end)
    threads = ThreadFollower(args.registry, generation, args.namespace, args.bootstrap, truncated)
    nothing = keyed(told.union(hold)).process(threads, FRAME).uid(THREADS_UID).name(THREADS_UID)
    prefix, timeout_ms = transactions(args.namespace), args.transaction_timeout_ms
    write_transactional(nothing, COMMITTED_UID, args.bootstrap, outputs, prefix, timeout_ms)
    write_at_once(side(nothing, READS), AT_ONCE_UID, args.bootstrap, at_once)
    return env


def main() -> None:
    """Submit the job under the name that `threadlog` knows it by."""
    args = parse_catch_up()
    acquaint(args, CONVERSATION)
    none_under_way(args)
    alone(args)
    reaches_the_end(args)
    env = build(args)
    env.execute_async(f"{args.namespace}.catchup")


if __name__ == "__main__":
    main()
