# SPDX-License-Identifier: Apache-2.0
"""The big journal of the queries' bench: the same bytes whoever makes which part of it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from bench import journal
from schemas.codec import Codec
from wire.journal import entry_of

SEED, COUNT = 3, 300


def test_a_group_is_the_same_whoever_makes_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """So processes may share them out; no thread is in two of them."""
    monkeypatch.setattr(journal, "GROUP", 4)
    first, second = (list(journal.of_group(SEED, group)) for group in (0, 1))
    assert second == list(journal.of_group(SEED, 1))
    assert {entry.thread for entry in first} & {entry.thread for entry in second} == set()
    assert min(map(len, (first, second))) >= 4


def test_a_journal_is_its_groups_up_to_the_count(tmp_path: Path) -> None:
    """In their order, each record in the partition of its thread."""
    journal.make(tmp_path / "j.bin", SEED, COUNT)
    log, codec = journal.FileLog(tmp_path / "j.bin"), Codec(journal.schemas())
    marks = log.marks()
    read = list(log.read(dict.fromkeys(marks, 0), {p: end for p, (_, end) in marks.items()}))
    assert len(log) == COUNT
    assert [entry_of(one.value, codec) for one in read] == list(islice(journal.of_group(SEED, 0), COUNT))
    assert len({(one.partition, one.offset) for one in read}) == COUNT
