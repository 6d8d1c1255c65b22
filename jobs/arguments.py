# SPDX-License-Identifier: Apache-2.0
"""What a job's `main()` is told on its command line; jobs read neither settings nor environment."""

from __future__ import annotations

import argparse

from wire.registry import Registry


def parse(job: str) -> argparse.Namespace:
    """The arguments of both jobs; all of them are required, so a job never runs against a default by mistake."""
    return _parser(job).parse_args()


def parse_catch_up() -> argparse.Namespace:
    """The arguments of the catch-up: those of the conversation, and what it is to read."""
    parser = _parser("catchup")
    parser.add_argument("--generation", required=True, help="a name that no catch-up had before")
    parser.add_argument(
        "--journal-begin", required=True, type=_offsets, help="PARTITION:OFFSET,…, the first record that each still has"
    )
    _add_journal_end(parser)
    return parser.parse_args()


def parse_replay() -> argparse.Namespace:
    """The arguments of the replay: those of the conversation, a name, and how far it is to read."""
    parser = _parser("replay")
    parser.add_argument("--run", required=True, help="a name that no replay had before; it is in each finding")
    _add_journal_end(parser)
    return parser.parse_args()


def _add_journal_end(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--journal-end",
        required=True,
        type=_offsets,
        help="PARTITION:OFFSET,…, after the last record of each partition",
    )


def _offsets(text: str) -> dict[int, int]:
    pairs = (pair.partition(":") for pair in text.split(","))
    return {int(partition): int(offset) for partition, _, offset in pairs}


def _parser(job: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=job, allow_abbrev=False)
    parser.add_argument("--app", required=True, help="the app, package.module:attribute")
    parser.add_argument("--app-digest", required=True, help="digest of the app's code; TaskManagers refuse any other")
    parser.add_argument("--namespace", required=True, help="prefix of every topic")
    parser.add_argument("--bootstrap", required=True, help="the broker, host:port")
    parser.add_argument("--registry", required=True, type=Registry, help="the schema registry's Confluent API, a URL")
    parser.add_argument("--parallelism", required=True, type=int, help="subtasks; at most the topics' partitions")
    parser.add_argument(
        "--checkpoint-interval-ms", required=True, type=int, help="the conversation's is most of what an effect waits"
    )
    parser.add_argument(
        "--transaction-timeout-ms", required=True, type=int, help="an outage that lasts longer may lose a commit"
    )
    parser.add_argument("--checkpoint-dir", required=True, help="a URI that every Flink process can reach")
    return parser
