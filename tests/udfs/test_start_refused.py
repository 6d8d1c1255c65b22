# SPDX-License-Identifier: Apache-2.0
"""Starts that would go on from less than the log holds."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable

import pytest

from tests.udfs.around import ARGS, Around, Ended, mark
from udfs import start_guard
from wire.control import BRANCHED, BRANCHING, CAUGHT_UP, STOPPED, Mark
from wire.frames import Record
from wire.inputs import Gap, Looked


def test_catch_up_that_does_not_reach_the_journals_end_is_refused(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line was made before the job that then died: the start behind it would decide again what it has not read."""
    asked, behind = [], [Record("ns.agent-decisions", 1, 9, 0, b"t", b"", [])]

    def read_topic(bootstrap: str, topic: str, first: dict[int, int]) -> Iterable[Record]:
        asked.append((topic, first))
        return iter(behind)

    monkeypatch.setattr(start_guard, "read_topic", read_topic)
    args = Namespace(**vars(ARGS), journal_end={0: 7, 1: 8})
    with pytest.raises(Ended):
        start_guard.reaches_the_end(args)
    assert "the journal has moved on since this line was made (partition 1 has a record at offset 9)" in around.why
    behind.clear()
    start_guard.reaches_the_end(args)
    assert asked == [("ns.agent-decisions", {0: 7, 1: 8})] * 2


def test_inputs_that_have_lost_their_end_are_refused(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Looked({}, [], [Gap("agent-events", 0, 5, 9)])
    monkeypatch.setattr(start_guard, "look", lambda *given: short)
    around.mark = mark(STOPPED)
    assert "inputs end before what was handled of them" in around.admit()
    assert around.taken == []


def test_branch_that_is_only_half_made_is_not_started(around: Around) -> None:
    """A part of a history is another history. One that is whole starts."""
    around.mark = mark(CAUGHT_UP)
    around.branch = Mark(BRANCHING, "tools", "", "", {}, branch_of="o")
    assert "it is a branch of o, and making it has not ended" in around.admit()
    around.branch = Mark(BRANCHED, "tools", "", "", {}, branch_of="o")
    assert around.admit() == ""
