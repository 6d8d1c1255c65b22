# SPDX-License-Identifier: Apache-2.0
"""The catch-up: the conversation's graph over the journal instead of its inputs, to bring its state up to the end.

    agent-decisions, to its end as of now ──┐                                            ┌─► nothing, but the sinks'
                                            ├──► by thread ──► ThreadFollower ──► nothing ┤   recovery ends what a
    agent-decisions, from there on ─────────┘                                            └─► killed job left open

Operator and sinks have the uids of the conversation, so it goes on from the savepoint in which this job ends: stop it
when the first source has finished. The second keeps the job alive until then. Both have uids of this one catch-up, so
that no later one takes their offsets for its own. Started from no savepoint at all, it makes the state anew.

Submit: flink run -d [-s OLDER -n] -pyfs . -py jobs/catchup.py --generation NAME --journal-begin 0:0,… --journal-end
0:12,… (`threadlog start` does all of it).
"""

from __future__ import annotations

from argparse import Namespace

from pyflink.datastream import StreamExecutionEnvironment

from jobs.arguments import parse_catch_up
from jobs.conversation import AT_ONCE, AT_ONCE_UID, COMMITTED_UID, OUTPUTS, THREADS_UID
from schemas.topics import kafka_name
from udfs.flink_io import FRAME, environment, keyed, side, source, write_at_once, write_transactional
from udfs.start_guard import acquaint, alone, none_under_way, reaches_the_end
from udfs.thread_follower import ThreadFollower
from udfs.thread_function import READS
from wire.control import CONVERSATION
from wire.transactions import conversations as transactions

JOURNAL = "agent-decisions"


def build(args: Namespace) -> StreamExecutionEnvironment:
    """The job's graph."""
    journal, outputs, at_once = ([kafka_name(args.namespace, t) for t in ts] for ts in ((JOURNAL,), OUTPUTS, AT_ONCE))
    env = environment(args.parallelism, args.checkpoint_interval_ms, args.checkpoint_dir)
    group, begin, end = f"{args.namespace}.catchup", args.journal_begin, args.journal_end
    cut = frozenset(partition for partition, first in begin.items() if first > 0)

    told = source(env, f"journal-{args.generation}", args.bootstrap, journal, group, first=begin, until=end)
    hold = source(env, f"hold-{args.generation}", args.bootstrap, journal, group, first=end)
    threads = ThreadFollower(args.registry, args.generation, args.namespace, args.bootstrap, cut)
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
