# SPDX-License-Identifier: Apache-2.0
"""Timers that were due while no job ran: what they would give up may lie in the log, and is read first."""

from __future__ import annotations

import pytest

from tests.threadlog.desk import BEGAN_MS, app_of, refund
from tests.udfs.test_thread_function import JOURNAL, READS, Operator, topics
from udfs.thread_function import OVERDUE_HELD_MS
from wire.frames import OutRecord

LATER_MS = BEGAN_MS + 3_600_000  # every deadline of a call is over by then


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Operator:
    return Operator(app_of(refund), monkeypatch)


def out_for_an_hour(operator: Operator) -> OutRecord:
    """A read is asked for; then no job runs until long after its deadline. The ask."""
    _, [ask] = operator.give(operator.log.go("t-1", "e-1"))
    operator.flink.now_ms = LATER_MS
    operator.restarted()
    return ask


def test_overdue_deadline_waits_for_what_the_log_holds(operator: Operator) -> None:
    """The answer was given long ago. It is taken, and nothing is asked again; then no timer is left of the call."""
    ask = out_for_an_hour(operator)
    assert operator.flink.fire(LATER_MS) == ([], [])
    main, side = operator.answer(ask, {"total": 7})
    assert (topics(main), operator.data(main[0])["verdict"], side) == ([JOURNAL, "ns.tool-invocations"], "resumed", [])
    main, side = operator.flink.fire(LATER_MS + OVERDUE_HELD_MS)
    assert (main, side) == ([], [])


def test_overdue_deadline_is_kept_when_nothing_comes(operator: Operator) -> None:
    """Some seconds after the start the call is asked for again, once, by a timer that was armed for then."""
    out_for_an_hour(operator)
    operator.flink.fire(LATER_MS)
    assert operator.flink.due("t-1") == [LATER_MS + OVERDUE_HELD_MS]
    assert operator.flink.fire(LATER_MS + OVERDUE_HELD_MS - 1) == ([], [])
    main, side = operator.flink.fire(LATER_MS + OVERDUE_HELD_MS)
    assert ([operator.data(record)["verdict"] for record in main], topics(side)) == (["asked_again"], [READS])


def test_timer_that_is_due_after_the_start_is_on_time(operator: Operator) -> None:
    """Another thread's, armed by this process."""
    out_for_an_hour(operator)
    _, [ask] = operator.give(operator.log.go("t-2", "e-2"), "t-2")
    [due] = operator.flink.due("t-2")
    assert due == operator.data(ask)["deadline_ms"]
    main, _ = operator.flink.fire(due)
    assert {operator.data(record)["thread"] for record in main} == {"t-1", "t-2"}
