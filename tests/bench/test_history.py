# SPDX-License-Identifier: Apache-2.0
"""The old threads of the history's bench: of different ages, so that each window has its share of snapshots."""

from __future__ import annotations

import pytest

from bench.history import LISTEN, WINDOW, ages, event, in_turn
from bench.live import ASK, MORE, app
from bench.turns import NOTE
from threadlog.engine import follow, step
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.state import new_state

ROUNDS, EDGE = 7, 2  # messages at each end of a window that its middle leaves out


@pytest.fixture(scope="module", params=[False, True], ids=["short runs", "one long run"])
def with_snapshot(request: pytest.FixtureRequest) -> set[int]:
    """The numbers, from 1, of the messages of a thread whose entries hold a snapshot."""
    state, live, limits, found = new_state("t"), LiveRuns(), Limits(), set[int]()
    last = max(ages(200)) + ROUNDS * WINDOW
    first = 0 if request.param else 1  # the long run begins with an event that is none of the messages
    for number in range(first, last + 1):
        kind, data = (ASK, LISTEN) if number == 0 else (MORE if request.param else ASK, NOTE)
        decision = step(state, event(number, kind, data), app, limits, live)
        assert decision is not None and decision.entry.seq == number + 1 - first
        found |= {number} if decision.entry.snapshot else set()
        state = follow(state, decision)
    return found


@pytest.mark.parametrize("threads", [25, 100, 200, 500])
def test_every_window_holds_its_share_of_snapshots(threads: int, with_snapshot: set[int]) -> None:
    """One turn of 500, also in the middle that is measured, give or take one."""
    for number in range(ROUNDS):
        starts = [age + number * WINDOW for age in ages(threads)]
        whole = sum(start + n in with_snapshot for start in starts for n in range(1, WINDOW + 1))
        middle = sum(start + n in with_snapshot for start in starts for n in range(1 + EDGE, WINDOW + 1 - EDGE))
        assert whole == threads * WINDOW / 500
        assert middle == pytest.approx(threads * (WINDOW - 2 * EDGE) / 500, abs=1)


def test_old_threads_have_a_thousand_messages_on_average() -> None:
    """In the middle of the first window."""
    assert sum(ages(200)) / 200 + WINDOW / 2 == pytest.approx(1_000, abs=2)
    assert (min(ages(200)), max(ages(200))) == (740, 1_237)


def test_in_turn_gives_each_name_as_often_as_it_counts() -> None:
    """And no name twice before the others had theirs."""
    assert in_turn(["a", "b", "c"], [1, 3, 2]) == ["a", "b", "c", "b", "c", "b"]
