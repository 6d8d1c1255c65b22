# SPDX-License-Identifier: Apache-2.0
"""Readers of a journal whose beginning is gone judge its entries alike: local, in the cluster, tools and index."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from ops.reading import Journal
from ops.settings import Settings
from tests.ops.fakes import FakeKafka, FakeTopic
from tests.ops.indexes import TOPIC, bring, rows
from tests.threadlog.gates import Case, cases
from tests.threadlog.histories import play
from tests.threadlog.test_verifying import Partition
from threadlog.entry import Entry
from threadlog.following import Head
from threadlog.gate import Kept, take
from wire.frames import Record


class Told(NamedTuple):
    """What a reader says: which entries are void and why, and how many valid ones precede the first snapshot."""

    voids: list[tuple[int, str]]
    before: int


def locally(kafka: FakeKafka) -> tuple[Told, Head]:
    """As `show`, `parked`, `watch` and `replay` read it; and the thread's last valid entry."""
    journal = Journal(Settings(brokers=os.environ["THREADLOG_BROKERS"]), from_snapshot=True)
    list(journal)
    told = Told([(void.offset, void.reason) for void in journal.voids], journal.cut.total())
    return told, journal.heads.get("t", Head())


def in_cluster(case: Case, log: list[tuple[int, Entry]], low: int) -> Told:
    """As a replay in the cluster does, with a restart behind each record."""
    thread = play(case.history, case.mode)
    partition = Partition(thread.app, thread.limits, low=low)
    for offset, entry in log:
        partition.first = offset
        partition.take(entry)
        partition.restart()
    return Told([(found.offset, found.reason) for found in partition.found], partition.checked.lost)


def before_tools(log: list[tuple[int, Entry]], low: int) -> Head:
    """The last valid entry for the tools job."""
    kept = Kept()
    for offset, entry in log:
        kept = take(kept, entry, "t", (0, offset, 0), is_cut=low > 0).kept
    return kept.head


def in_index(path: Path, records: list[Record], low: int) -> Told:
    """As the index does, with a refresh for some records each."""
    for count in (*range(1, len(records), 6), len(records)):
        bring(path, FakeTopic(records[:count], low={0: low}))
    told = rows(path, 'SELECT "offset", reason FROM voids ORDER BY 1')
    [(before,)] = rows(path, "SELECT cut FROM log")
    return Told(told, before)


@pytest.mark.parametrize("deleted", [True, False])
@pytest.mark.parametrize("number", range(6))
def test_readers_judge_alike(kafka: FakeKafka, tmp_path: Path, number: int, deleted: bool) -> None:
    """Forks, gaps and repeats, before and behind the first snapshot that is left; also where what is missing was
    rolled back, not deleted, so that nothing is taken for cut."""
    case = cases(6)[number]
    entries = case.log()
    for cut in range(1, min(len(entries), 14), 4):
        kafka.topics.clear()
        kafka.lows.clear()
        for entry in entries:
            kafka.add_entry(entry)
        if deleted:
            kafka.cut("agent-decisions", cut)
        else:
            del kafka.topics[TOPIC][:cut]
        log, low = list(enumerate(entries))[cut:], cut if deleted else 0
        told, head = locally(kafka)
        assert before_tools(log, low) == head
        assert in_cluster(case, log, low) == told
        assert in_index(tmp_path / str(cut) / "i", kafka.topics[TOPIC], low) == told
