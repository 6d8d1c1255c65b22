# SPDX-License-Identifier: Apache-2.0
"""What the operator writes from its keyed state, snapshots included, is decided again to the bit from its bytes."""

from __future__ import annotations

import base64

import pytest

from tests.threadlog.desk import app_of, refund
from tests.udfs.test_thread_function import JOURNAL, Operator
from threadlog.entry import Entry
from threadlog.replay import Replay, input_of
from wire.frames import OutRecord

TURNS = 400  # of three decisions: past two snapshots, and maps that have gone far


def entry_of(operator: Operator, record: OutRecord) -> Entry:
    data = operator.data(record)
    data["input"]["value"] = base64.b64decode(data["input"]["value"])
    return Entry.from_dict(data)


def story(operator: Operator) -> list[Entry]:
    """A thread's journal: refunds one after the other, some events sent twice, some that cannot be read."""
    written: list[OutRecord] = []
    for n in range(TURNS):
        operator.flink.now_ms += 1_000
        main, [read] = operator.give(operator.log.go("t-1", f"e-{n}"))
        written += main
        written += (main := operator.answer(read, {"total": n})[0])
        written += operator.answer(main[1], n)[0]
        if n % 7 == 0:
            written += operator.give(operator.log.go("t-1", f"e-{n}"))[0]
            written += operator.give(operator.log.record("agent-events", "t-1", "t.Go", f"p-{n}", b"\0\0\0\0\x63x"))[0]
        if n % 50 == 0:
            operator.restarted()
    return [entry_of(operator, record) for record in written if record.topic == JOURNAL]


def test_replay_of_the_operators_journal_is_equal_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the beginning, and from each snapshot as if what is before it were cut."""
    operator = Operator(app_of(refund), monkeypatch)
    entries = story(operator)
    assert {entry.verdict for entry in entries} == {"began", "resumed", "duplicate", "unreadable"}
    places = [place for place, entry in enumerate(entries) if entry.snapshot is not None]
    assert len(places) == 2
    for place in (0, *places):
        replay = Replay(app_of(refund))
        standings = {replay.check(e, input_of(e, operator.log.codec.decode)).standing for e in entries[place:]}
        assert (standings, replay.cut) == ({"equal"}, {"t-1": place + 1} if place else {})
