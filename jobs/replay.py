# SPDX-License-Identifier: Apache-2.0
"""The replay: the whole journal, decided again by today's code, as a bounded job.

    agent-decisions, from ──► by partition ──► ReplayFunction ──► replay-findings, one transaction
    its beginning to its                             ▲            per checkpoint
    end as of now                                    └─ after a restore: the journal since the states that were stored

It ends when all of it is verified, with a finding for each partition that sums up. It may be stopped and go on, from a
checkpoint or a savepoint, with the same arguments. It performs no call, decides nothing and moves no live state. One
at a time in a namespace: the names of its transactions are the same in every run, so each ends what a killed one left.

Submit: flink run -d -pyfs . -py jobs/replay.py --run NAME --journal-end 0:12,… (`threadlog replay --cluster` does it).
"""

from __future__ import annotations

from argparse import Namespace

from pyflink.datastream import StreamExecutionEnvironment

from jobs.arguments import parse_replay
from schemas.topics import kafka_name
from udfs.flink_io import FRAME, environment, keyed, partition_keys, source, write_transactional
from udfs.replay_function import ReplayFunction
from wire.findings import TOPIC, group

JOURNAL = "agent-decisions"

# State and transactions are found again by these names: changing one needs a migration.
SOURCE_UID = "journal"
VERIFY_UID = "verify"
FINDINGS_UID = "findings"


def build(args: Namespace) -> StreamExecutionEnvironment:
    """The job's graph."""
    journal, findings = ([kafka_name(args.namespace, topic)] for topic in (JOURNAL, TOPIC))
    env = environment(args.parallelism, args.checkpoint_interval_ms, args.checkpoint_dir)

    verify = ReplayFunction(
        args.app, args.app_digest, args.namespace, args.registry, args.bootstrap, args.run, args.journal_end
    )
    read_by, keys = group(args.namespace, args.run), partition_keys(max(args.journal_end) + 1)
    told = source(env, SOURCE_UID, args.bootstrap, journal, read_by, until=args.journal_end, keys=keys)
    found = keyed(told).process(verify, FRAME).uid(VERIFY_UID).name(VERIFY_UID)
    write_transactional(found, FINDINGS_UID, args.bootstrap, findings, prefix=f"{args.namespace}-replay")
    return env


def main() -> None:
    """Submit the job under the name that `threadlog` knows it by."""
    args = parse_replay()
    build(args).execute_async(f"{args.namespace}.replay")


if __name__ == "__main__":
    main()
