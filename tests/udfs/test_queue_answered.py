# SPDX-License-Identifier: Apache-2.0
"""A queue of a new process, whose log has an answer that its state does not know of: what was answered is over."""

from __future__ import annotations

import pytest

from tests.udfs.test_queueing import Desk, ask, queue, restarted


def with_answered(*calls: int, waiting: tuple[int, ...] = ()) -> Desk:
    """Another process over a queue with call 1 in flight and others behind it; the log has an end of some of them."""
    pays = queue()
    for number in (1, *waiting):
        pays.accept(ask(number))
    after = restarted(pays, 60_000)
    after._answered = lambda one: one["call_id"] in {ask(number)["call_id"] for number in calls}
    return after


def test_queue_of_a_new_process_repeats_no_call_that_was_answered() -> None:
    """It was done, or its agent may have asked under a new key; the slot is free at once."""
    pays = with_answered(1, waiting=(2,))
    assert [(a.do, a.ask["ordinal"], a.again) for a in pays.recover(set())] == [("fire", "2", True)]
    assert pays.finished(ask(1)["call_id"]) == []  # the result itself comes by the source, in its time
    assert pays.finished(ask(2)["call_id"]) == [] and not pays.busy()


def test_queue_of_a_new_process_passes_over_what_waited_and_was_answered() -> None:
    """An earlier process had come as far; and an ask that is read only now is of a call that is over too."""
    pays = with_answered(2, 3, waiting=(2, 4))
    pays.recover(set())
    assert [a.ask["ordinal"] for a in pays.finished(ask(1)["call_id"])] == ["4"]
    assert pays.finished(ask(4)["call_id"]) == [] and pays.accept(ask(3)) == [] and not pays.busy()


def test_queue_of_a_new_process_repeats_reads_whatever_was_said() -> None:
    """They have no effect."""
    pays = with_answered()
    pays._answered = lambda one: True
    assert [a.do for a in pays.accept(ask(5, tool="look", effect="read"))] == ["fire"]


def test_queue_asks_the_log_for_nothing_that_began_here() -> None:
    """Reading it takes time; what this process was the first to hear of, no other has answered."""
    pays = queue()
    pays._answered = lambda one: pytest.fail("asked")
    assert [a.do for a in pays.accept(ask(1))] == ["fire"]
    assert pays.recover({ask(1)["call_id"]}) == [] and pays.finished(ask(1)["call_id"]) == []


def test_queue_drops_what_waits_when_its_result_comes() -> None:
    """It was fired by an earlier process, behind the checkpoint: whatever its end was, it is not fired once more."""
    pays = with_answered(waiting=(2, 3, 4))
    assert pays.finished(ask(2)["call_id"]) == [] and pays.finished(ask(3)["call_id"]) == []
    pays.recover(set())
    assert [a.ask["ordinal"] for a in pays.finished(ask(1)["call_id"])] == ["4"]
    assert pays.finished(ask(4)["call_id"]) == [] and not pays.busy()


def test_queue_of_a_new_process_fires_an_ask_that_was_repeated() -> None:
    """The "no" to the first ask was heard as a doubt: the second one may still settle it, under the same key."""
    pays = with_answered(5)
    assert [a.do for a in pays.recover(set())] == ["fire"]
    pays.finished(ask(1)["call_id"])
    assert pays.accept(ask(5)) == []
    assert [(a.do, a.again) for a in pays.accept(ask(5, ask=2))] == [("fire", True)]
