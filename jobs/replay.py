# SPDX-License-Identifier: Apache-2.0
"""The replay: the whole journal, decided again by today's code, as a bounded job.

    0, 1, 2, … ──► slices of the journal's ──► by partition ──► ReplayFunction ──► replay-findings, one transaction
                   partitions, to their ends                    reads them         per checkpoint

It ends when all of it is verified, with a finding for each partition that sums up. Cancelled, it goes on from
its last checkpoint with the same arguments. It performs no call, decides nothing and moves no live state. One
at a time in a namespace: the names of its transactions are the same in every run, so each ends what a killed one left.

The slices lie before the operator in no time, so a checkpoint's barrier has to overtake them, and they are part of it.

Submit: flink run -d -pyfs . -py jobs/replay.py --run NAME --journal-end 0:12,… (`threadlog replay --cluster` does it).
"""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pyflink.datastream import StreamExecutionEnvironment

from jobs.arguments import parse_replay
from schemas.topics import kafka_name
from udfs.flink_io import FRAME, KEYED_FRAME, environment, keyed, numbers, partition_keys, write_transactional
from udfs.replay_function import ReplayFunction
from udfs.slices import Cut, slices
from wire.findings import TOPIC

# State and transactions are found again by these names: changing one needs a migration.
NUMBERS_UID, SLICES_UID = "numbers", "slices"
VERIFY_UID = "verify"
FINDINGS_UID = "findings"


def build(args: Namespace) -> StreamExecutionEnvironment:
    """The job's graph."""
    findings = [kafka_name(args.namespace, TOPIC)]
    env = environment(args.parallelism, args.checkpoint_interval_ms, args.checkpoint_dir, overtaking=True)

    cut = Cut(partition_keys(max(args.journal_end) + 1), partial(slices, args.journal_end))
    verify = ReplayFunction(
        args.app, args.app_digest, args.namespace, args.registry, args.bootstrap, args.run, args.journal_end
    )
    told = numbers(env, NUMBERS_UID, len(slices(args.journal_end)))
    pieces = told.map(cut, KEYED_FRAME).uid(SLICES_UID).name(SLICES_UID).set_parallelism(1)
    found = keyed(pieces).process(verify, FRAME).uid(VERIFY_UID).name(VERIFY_UID)
    write_transactional(found, FINDINGS_UID, args.bootstrap, findings, prefix=f"{args.namespace}-replay")
    return env


def main() -> None:
    """Submit the job under the name that `threadlog` knows it by."""
    args = parse_replay()
    build(args).execute_async(f"{args.namespace}.replay")


if __name__ == "__main__":
    main()
