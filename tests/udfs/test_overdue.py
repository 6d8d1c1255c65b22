# SPDX-License-Identifier: Apache-2.0
"""Timers that were due while no job ran: what they would give up may lie in the log, and is read first."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.threadlog.desk import BEGAN_MS, app_of, refund
from tests.udfs.test_thread_function import JOURNAL, READS, Operator, topics
from udfs.backlog import CLOCKS_MS, HELD_MS, HELD_MS_MAX, Backlog
from udfs.thread_state import Kept
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
    main, side = operator.flink.fire(LATER_MS + HELD_MS)
    assert (main, side) == ([], [])


def test_overdue_deadline_is_kept_when_nothing_comes(operator: Operator) -> None:
    """Some seconds after the start the call is asked for again, once, by a timer that was armed for then."""
    out_for_an_hour(operator)
    operator.flink.fire(LATER_MS)
    assert operator.flink.due("t-1") == [LATER_MS + HELD_MS]
    assert operator.flink.fire(LATER_MS + HELD_MS - 1) == ([], [])
    main, side = operator.flink.fire(LATER_MS + HELD_MS)
    assert ([operator.data(record)["verdict"] for record in main], topics(side)) == (["asked_again"], [READS])


def test_timer_that_is_due_after_the_start_is_on_time(operator: Operator) -> None:
    """Another thread's, armed by this process."""
    out_for_an_hour(operator)
    _, [ask] = operator.give(operator.log.go("t-2", "e-2"), "t-2")
    [due] = operator.flink.due("t-2")
    assert due == operator.data(ask)["deadline_ms"]
    main, _ = operator.flink.fire(due)
    assert {operator.data(record)["thread"] for record in main} == {"t-1", "t-2"}


def test_no_timer_fires_while_the_log_still_gives_what_is_older(operator: Operator) -> None:
    """The answer lies behind a minute of other threads' events; a deadline that passes meanwhile waits for it, too."""
    ask = out_for_an_hour(operator)
    _, [late] = operator.give(operator.log.go("t-late", "e-1"), "t-late")
    due = operator.data(late)["deadline_ms"]
    for number, now in enumerate(range(LATER_MS, due + 60_000, HELD_MS - 1)):
        assert operator.flink.fire(now) == ([], [])
        operator.give(operator.log.go(f"other-{number}", "e-1"), f"other-{number}")
    assert operator.flink.now_ms > due
    for one, thread in ((ask, "t-1"), (late, "t-late")):
        main, side = operator.give(operator.log.result(operator.data(one), {"total": 7}), thread)
        assert ([operator.data(main[0])["verdict"], side]) == ["resumed", []]
    main, _ = operator.flink.fire(operator.flink.now_ms + HELD_MS_MAX)
    assert {operator.data(record)["thread"] for record in main} & {"t-1", "t-late"} == set()
    assert main  # the others have deadlines of their own, which nothing holds any more


def test_records_of_today_hold_no_timer(operator: Operator) -> None:
    """What the broker took after this attempt began is no backlog, however much it is."""
    out_for_an_hour(operator)
    operator.flink.now_ms = LATER_MS + HELD_MS
    new = replace(operator.log.go("t-2", "e-1"), timestamp_ms=LATER_MS)
    operator.give(new, "t-2")
    main, _ = operator.flink.fire(LATER_MS + HELD_MS)
    assert [operator.data(record)["verdict"] for record in main] == ["asked_again"]


def test_answers_that_came_after_the_start_are_read_before_a_timer_of_before(operator: Operator) -> None:
    """The job cannot keep up: what the log has since the start is read a minute late. A timer whose time has passed in
    the meantime fires when what is as old was read."""
    out_for_an_hour(operator)
    operator.flink.now_ms = LATER_MS + HELD_MS
    _, [ask] = operator.give(operator.log.go("t-2", "e-2"), "t-2")
    due = operator.data(ask)["deadline_ms"]
    now = operator.flink.now_ms = due + 30_000
    operator.give(replace(operator.log.go("t-3", "e-1"), timestamp_ms=now - 60_000), "t-3")
    main, _ = operator.flink.fire(now)
    assert "t-2" not in {operator.data(record)["thread"] for record in main}
    main, side = operator.give(operator.log.result(operator.data(ask), {"total": 7}), "t-2")
    assert ([operator.data(main[0])["verdict"], side]) == ["resumed", []]


@pytest.mark.parametrize("late_ms", [HELD_MS, HELD_MS + 1, 600_000])
def test_timers_are_as_late_as_records_are(late_ms: int) -> None:
    """No later, however long that lasts; and where nothing is late any more they are on time again."""
    backlog, at = Backlog(0), 1_000_000
    for at in range(1_000_000, 1_100_000, 1_000):
        backlog.came(at - late_ms, at)
    shows = late_ms if late_ms > HELD_MS else 0
    assert not backlog.may_fire(at - shows + 1, at)
    assert backlog.may_fire(at - shows, at)
    assert backlog.not_before(at + 1, at) == at + 1
    for later in (at, at + 9 * HELD_MS):
        looked = backlog.not_before(later - 1, later)
        assert looked == later - 1 if backlog.may_fire(later - 1, later) else later < looked <= later + HELD_MS_MAX
    assert backlog.may_fire(at + 2 * HELD_MS, at + 2 * HELD_MS)


def test_time_in_which_nothing_could_be_read_is_no_silence() -> None:
    """A record that is worked on for long, as when the registry restarts; a process or a broker that hangs."""
    backlog = Backlog(0)
    backlog.came(-1, 1_000)
    backlog.took(1_000, 9_000)
    assert not backlog.may_fire(0, 1_000 + 8_000 + HELD_MS - 1)
    assert backlog.may_fire(0, 1_000 + 8_000 + HELD_MS)
    steady = [HELD_MS / 1_000 - 0.001]
    backlog = Backlog(0, lambda: steady[0])
    assert not backlog.may_fire(0, 60_000)
    assert 60_000 < backlog.not_before(0, 60_000) <= 60_000 + HELD_MS
    steady[0] = HELD_MS / 1_000
    assert backlog.may_fire(0, 60_000)


def test_deadline_waits_while_a_record_hangs(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is over, timers are served before the next record is: the answer may be that one."""
    ask = out_for_an_hour(operator)
    load = operator.flink.function._state.load

    def hanging(thread: str) -> Kept:
        operator.flink.now_ms += 2 * HELD_MS
        return load(thread)

    with monkeypatch.context() as patch:
        patch.setattr(operator.flink.function._state, "load", hanging)
        operator.give(operator.log.go("t-2", "e-1"), "t-2")
    assert operator.flink.fire(LATER_MS + 2 * HELD_MS) == ([], [])
    main, side = operator.answer(ask, {"total": 7})
    assert ([operator.data(main[0])["verdict"], side]) == ["resumed", []]


def test_timers_wait_behind_what_came_while_a_record_hung() -> None:
    """Long after the start, and although nothing came late: the next record may be the answer."""
    backlog = Backlog(0)
    backlog.came(999_000, 1_000_000)
    backlog.took(1_000_000, 1_003_000)
    assert not backlog.may_fire(1_002_000, 1_005_999)
    assert [backlog.not_before(due, 1_003_000) for due in (1_002_000, 1_009_000)] == [1_006_000, 1_009_000]
    assert backlog.may_fire(1_002_000, 1_006_000)


def test_a_job_that_is_busy_with_new_records_holds_no_timer() -> None:
    """To be busy all the time is no backlog."""
    backlog = Backlog(0)
    for at in range(1, HELD_MS):
        backlog.came(at, at)
        backlog.took(at, at + 1)
    assert backlog.may_fire(0, HELD_MS)


def test_held_threads_are_looked_at_ever_more_seldom() -> None:
    """Each look reads a thread from RocksDB; there may be a hundred thousand of them."""
    backlog, at, looks = Backlog(0), 0, 0
    while at < 600_000:
        backlog.came(-1, at)
        at, looks = backlog.not_before(0, at), looks + 1
    assert looks < 20
    assert at <= 600_000 + HELD_MS_MAX


def test_new_record_under_an_offset_that_was_decided_is_a_dead_letter(operator: Operator) -> None:
    """The topic is another one than the thread knows. What a source only gives again is dropped without a word."""
    first = operator.log.go("t-1", "e-1")
    operator.give(first)
    operator.restarted()
    for appended_ms, letters in ((first.timestamp_ms, []), (BEGAN_MS + CLOCKS_MS, []), (BEGAN_MS + CLOCKS_MS + 1, [1])):
        main, side = operator.give(replace(first, timestamp_ms=appended_ms))
        assert (topics(main), side) == (["ns.dead-letters" for _ in letters], [])
    assert b"offset_reused" in dict(main[0].headers).values()


def test_restart_does_not_hide_that_an_offset_was_reused(operator: Operator) -> None:
    """The thread has decided nothing since long before the record was appended."""
    first = operator.log.go("t-1", "e-1")
    operator.give(first)
    operator.flink.now_ms = LATER_MS
    operator.restarted()
    main, _ = operator.give(replace(first, timestamp_ms=LATER_MS - 1))
    assert topics(main) == ["ns.dead-letters"]
