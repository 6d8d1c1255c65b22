# SPDX-License-Identifier: Apache-2.0
"""A refresh goes on where the last one ended, whatever killed it, and only in the same log."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import ops.index.refresh
from ops.index.outline import outline_of
from tests.ops.fakes import FakeTopic
from tests.ops.indexes import (
    CODEC,
    TOPIC,
    bring,
    built,
    busy_journal,
    followed,
    held,
    journals,
    records,
    rows,
)
from tests.threadlog.histories import some
from threadlog.canonical import digest, text
from threadlog.entry import Entry
from wire.frames import Record


@dataclass
class Dies(FakeTopic):
    """A log in whose reading the process is killed."""

    after: int = 0

    def read(self, first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        for number, record in enumerate(super().read(first, end)):
            if number == self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            yield record


def _refresh_in_batches(path: Path, log: FakeTopic) -> None:
    ops.index.refresh.BATCH = 7
    bring(path, log)


def test_index_killed_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """SIGKILL at any record of any refresh: the next one ends in what one pass makes."""
    log = records(journals(*zip(*some(3), strict=True)))
    once = built(tmp_path / "whole" / "i", FakeTopic(log))
    path, draw = tmp_path / "killed" / "i", random.Random(1)
    for _ in range(8):
        left = len(log) - sum(after for (after,) in rows(path, "SELECT next FROM log")) if path.exists() else len(log)
        dies = Dies(log, after=draw.randrange(max(1, left)))
        child = multiprocessing.get_context("fork").Process(target=_refresh_in_batches, args=(path, dies))
        child.start()
        child.join()
        assert child.exitcode in (-signal.SIGKILL, 0)
    assert built(path, FakeTopic(log)) == once


def test_index_killed_in_a_transaction_has_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and the place up to which the log was read stand or fall together."""
    log = records(journals(*zip(*some(3), strict=True)))
    path = tmp_path / "i"
    bring(path, FakeTopic(log[:20]))
    before = held(path)
    monkeypatch.setattr(ops.index.refresh, "_META", "no SQL at all")  # the last statement of a transaction
    with pytest.raises(Exception, match="syntax error"):
        bring(path, FakeTopic(log))
    assert held(path) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cluster": "another"}, "another cluster"),
        ({"records": 5}, "partition 0 ends at 5"),
        ({"low": {0: 24}}, "retention has removed 20 to 24 of partition 0"),
        ({"namespace": "other"}, "another cluster, topic or namespace"),
    ],
    ids=str,
)
def test_index_of_another_log_is_left(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    """Another cluster's, a purged one's, or one with a hole in front: it is begun anew, and says why."""
    [(history, mode), *_] = some(1)
    log = records(journals([history], [mode]))
    assert len(log) > 25
    path = tmp_path / "i"
    bring(path, FakeTopic(log[:20]))
    kept = log[: change.get("records", len(log))]
    other = FakeTopic(kept, change.get("cluster", "cluster-1"), change.get("low", {}))
    done = bring(path, other, namespace=change.get("namespace", "threadlog"))
    assert why in done.anew
    bring(tmp_path / "fresh" / "i", other)
    assert held(path) == held(tmp_path / "fresh" / "i")


def cut_log() -> tuple[list[Entry], FakeTopic]:
    """A thread with a snapshot every few entries, of which retention has taken the first five."""
    [(history, mode), *_] = some(1)
    [entries] = journals([history], [mode])
    return entries, FakeTopic(records([entries]), low={0: 5})


def test_index_begins_at_a_snapshot_where_the_start_is_gone(tmp_path: Path) -> None:
    """Entries before it are counted as cut, none is void; from there on the thread stands as in its state."""
    entries, log = cut_log()
    first = next(entry.seq for entry in entries[5:] if entry.snapshot)
    done = bring(tmp_path / "i", log)
    assert (done.voids, done.cut, done.decisions) == (0, first - 6, len(entries) - first + 1)
    *_, (_, small) = followed(entries)
    wanted = outline_of(small)
    told = "SELECT first_seq, seq, state, waiting_on, open_calls FROM threads"
    assert rows(tmp_path / "i", told) == [(first, wanted.seq, wanted.state, wanted.waiting_on, len(wanted.calls))]
    assert {c for (c,) in rows(tmp_path / "i", "SELECT call_id FROM calls WHERE status = 'open'")} == set(
        small["calls"]
    )


def test_index_has_no_row_of_a_thread_that_waits_for_a_snapshot(tmp_path: Path) -> None:
    """Nothing of it can be told; refreshes before that snapshot change nothing of what is told from there on."""
    entries, log = cut_log()
    first = next(entry.seq for entry in entries[5:] if entry.snapshot)
    for count in range(6, first):
        bring(tmp_path / "i", shorter(log, count))
        assert [rows(tmp_path / "i", f"SELECT count(*) FROM {table}") for table in ("threads", "voids")] == [[(0,)]] * 2
    assert built(tmp_path / "i", log) == built(tmp_path / "once" / "i", log)


def shorter(log: FakeTopic, count: int) -> FakeTopic:
    """A log that ends earlier."""
    return FakeTopic(log.records[:count], low=log.low)


def test_index_leaves_out_a_snapshot_that_says_what_none_of_ours_does(tmp_path: Path) -> None:
    """Its digest is right, and it lacks a section: the thread begins at its next snapshot, if the chain goes on."""
    entries, log = cut_log()
    at = next(n for n, entry in enumerate(entries[5:], 5) if entry.snapshot)
    whole = json.loads(entries[at].snapshot or "")["state"]
    del whole["asks"]
    bad = replace(entries[at], snapshot=text({"state": whole, "hash": digest(whole)})).sealed()
    value = CODEC.encode("threadlog.Decision", bad.to_dict())
    log.records[at] = replace(log.records[at], value=value)
    for number in range(at + 1, len(entries)):  # as a foreign writer would go on
        bad = replace(entries[number], prev=bad.hash, snapshot=None).sealed()
        log.records[number] = replace(log.records[number], value=CODEC.encode("threadlog.Decision", bad.to_dict()))
    done = bring(tmp_path / "i", log)
    assert (done.decisions, done.voids, done.cut) == (0, 0, len(entries) - 5)
    assert rows(tmp_path / "i", "SELECT next FROM log") == [(len(entries),)]


def test_index_takes_a_gap_for_one_where_nothing_was_cut(tmp_path: Path) -> None:
    """A snapshot is no way around entries that are missing."""
    entries, log = cut_log()
    numbered = [replace(record, offset=number) for number, record in enumerate(log.records[5:])]
    done = bring(tmp_path / "i", FakeTopic(numbered))
    assert (done.decisions, done.voids, done.cut) == (0, len(entries) - 5, 0)


def test_index_without_news_is_not_written(tmp_path: Path) -> None:
    """A query of a quiet journal costs no transaction."""
    path, log = tmp_path / "i", FakeTopic(records([busy_journal()]))
    bring(path, log)
    before = path.read_bytes()
    assert (bring(path, log).decisions, path.read_bytes()) == (0, before)


def test_index_of_an_empty_topic_is_empty(tmp_path: Path) -> None:
    """Nothing is asked of a log in which nothing is."""
    assert bring(tmp_path / "i", FakeTopic([])).decisions == 0
    assert rows(tmp_path / "i", "SELECT count(*) FROM decisions") == [(0,)]
    assert TOPIC.endswith("agent-decisions")


def test_index_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Refreshes at the same time end in what one makes: the others wait and find nothing left to do."""
    log = records(journals(*zip(*some(3), strict=True)))
    once, path = built(tmp_path / "whole" / "i", FakeTopic(log)), tmp_path / "i"
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_refresh_in_batches, args=(path, FakeTopic(log))) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert held(path) == once
