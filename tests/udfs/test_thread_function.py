# SPDX-License-Identifier: Apache-2.0
"""The conversation operator over a Flink in memory: what it writes, keeps and arms for records and due timers."""

from __future__ import annotations

import pickle
import time
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.codec import OURS, FixedSchemas, Schema, SchemaSource
from schemas.errors import RegistryUnavailable, UnknownSchema
from tests.threadlog.desk import BEGAN_MS, app_of, refund
from tests.udfs.kafka import Log
from tests.udfs.keyed import Keyed
from tests.wire.client import Client, connected
from threadlog import App, Event, Thread, gather, sleep
from threadlog.app import Handler
from udfs import thread_function
from udfs.thread_function import TIMERS_PER_ROUND_MAX, ThreadFunction, rearmed
from udfs.thread_state import NO_TIMER
from wire.frames import OutRecord, Record, pack_in

JOURNAL, OUTBOX, READS = "ns.agent-decisions", "ns.tool-invocations", "ns.tool-reads"
REPLIES, LETTERS = "ns.agent-replies", "ns.dead-letters"


class Flaky(FixedSchemas):
    """A registry that is away for the next so many questions."""

    away = 0

    def by_id(self, id: int) -> Schema:
        if self.away > 0:
            self.away -= 1
            raise RegistryUnavailable("no answer")
        return super().by_id(id)


class Operator:
    """A thread function over a Flink in memory, with the registry and the clock in the test's hand."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = Log(Flaky())
        self.taken_along: SchemaSource = self.log.schemas
        self.pauses_s: list[float] = []
        monkeypatch.setattr(thread_function.AppCode, "load", lambda code: app)
        monkeypatch.setattr(thread_function, "now_ms", lambda: self.flink.now_ms)
        monkeypatch.setattr(time, "sleep", self.pauses_s.append)
        self.flink = Keyed(self.function(), BEGAN_MS)
        self.flink.open()

    def function(self) -> ThreadFunction:
        return ThreadFunction("app:app", "0" * 64, "ns", self.taken_along)

    def give(self, record: Record, key: str = "t-1") -> tuple[list[OutRecord], list[OutRecord]]:
        return self.flink.give(key, pack_in(record))

    def data(self, record: OutRecord) -> Any:
        return self.log.codec.decode(record.value)[2]

    def answer(self, call: OutRecord, value: Any) -> tuple[list[OutRecord], list[OutRecord]]:
        return self.give(self.log.result(self.data(call), value))

    def restarted(self) -> None:
        """A new function over the same state, as after a crash right behind a checkpoint."""
        self.flink.function = self.function()
        self.flink.open()


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Operator:
    return Operator(app_of(refund), monkeypatch)


def topics(records: list[OutRecord]) -> list[str]:
    return [record.topic for record in records]


def operator_of(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> Operator:
    return Operator(app_of(handler), monkeypatch)


def run(operator: Operator, restart: bool) -> list[OutRecord]:
    """A whole run, with or without a restart between its turns; everything written."""
    written = []
    main, [read] = operator.give(operator.log.go("t-1", "e-1"))
    written += [*main, read]
    for value in ({"total": 7}, 99):
        if restart:
            operator.restarted()
        main, side = operator.answer(read if value != 99 else written[-1], value)
        written += [*side, *main]
    return written


def test_turn_writes_entry_and_effects_each_on_its_lane(operator: Operator) -> None:
    """The entry first and what it asks for behind it, in the transaction; a read at once, on the side."""
    main, side = operator.give(operator.log.go("t-1", "e-1"))
    assert (topics(main), topics(side)) == ([JOURNAL], [READS])
    main, side = operator.answer(side[0], {"total": 7})
    assert (topics(main), topics(side)) == ([JOURNAL, OUTBOX], [])
    main, side = operator.answer(main[1], 99)
    assert (topics(main), topics(side)) == ([JOURNAL, REPLIES], [])
    assert operator.data(main[1])["text"] == "paid 99"


def test_turn_takes_its_time_from_the_clock(operator: Operator) -> None:
    """The operator's reading is in the entry; the producer's time is not asked."""
    operator.flink.now_ms = BEGAN_MS + 5_000
    [entry], _ = operator.give(operator.log.go("t-1", "e-1"))
    found = operator.data(entry)
    assert (found["time_ms"], found["input"]["clock_ms"]) == (BEGAN_MS + 5_000, BEGAN_MS + 5_000)


def test_restart_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a function knows is in Flink's state."""
    straight, restarted = (run(Operator(app_of(refund), monkeypatch), restart) for restart in (False, True))
    assert topics(straight) == [JOURNAL, READS, JOURNAL, OUTBOX, JOURNAL, REPLIES]
    assert restarted == straight


def test_record_that_was_decided_before_writes_nothing(operator: Operator) -> None:
    """What the source reads again leaves state and timers as they are."""
    record = operator.log.go("t-1", "e-1")
    operator.give(record)
    before = operator.flink.copy()
    assert operator.give(record) == ([], [])
    assert operator.flink.copy() == before


def test_threads_of_one_function_know_nothing_of_each_other(operator: Operator) -> None:
    """Each has its own journal and its own state."""
    entries = [operator.give(operator.log.go(thread, "e-1"), thread)[0][0] for thread in ("t-1", "t-2", "t-1")]
    found = [operator.data(entry) for entry in entries]
    assert [(e["thread"], e["seq"], e["verdict"]) for e in found] == [
        ("t-1", 1, "began"),
        ("t-2", 1, "began"),
        ("t-1", 2, "duplicate"),
    ]
    assert found[2]["prev"] == found[0]["hash"]


def test_record_without_a_thread_is_a_dead_letter_and_no_state(operator: Operator) -> None:
    """KafkaInput gives it a key that no thread can have."""
    record = Record("ns.agent-events", 0, 7, BEGAN_MS, b"\xff", b"?", [("ce_id", b"1")], legal_key=False)
    main, side = operator.give(record, "\0ns.agent-events-0")
    assert (topics(main), side) == ([LETTERS], [])
    assert (main[0].key, main[0].value, main[0].headers[0]) == (b"\xff", b"?", ("ce_id", b"1"))
    assert dict(main[0].headers)["__streams.errors.exception"] == b"illegal_key"
    assert operator.flink.copy() == ({}, set())


def test_record_without_a_thread_is_told_of_once(operator: Operator) -> None:
    """Behind a catch-up inputs are read from their beginning: the places of those whose letters are there were given to
    this start of the job."""
    told = frozenset({("agent-events", 0, 7)})
    operator.flink.function = ThreadFunction("app:app", "0" * 64, "ns", operator.taken_along, told=told)
    operator.flink.open()
    records = [Record(f"ns.{t}", 0, at, BEGAN_MS, None, b"?", []) for t, at in
               (("agent-events", 7), ("agent-events", 8), ("human-feedback", 7))]  # fmt: skip
    letters = [len(operator.give(record, "\0ns.agent-events-0")[0]) for record in records]
    assert letters == [0, 1, 1]


def test_record_that_cannot_be_read_is_an_entry_and_a_dead_letter(operator: Operator) -> None:
    """It takes its place in the journal of its thread; the letter has its bytes."""
    record = Record("ns.agent-events", 0, 7, BEGAN_MS, b"t-1", b"?", [])
    main, side = operator.give(record)
    assert (topics(main), side) == ([JOURNAL, LETTERS], [])
    assert (operator.data(main[0])["verdict"], main[1].key, main[1].value) == ("unreadable", b"t-1", b"?")


def test_one_timer_is_armed_at_the_earliest_due_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It follows the state: earlier, later, and gone when nothing is due."""

    async def naps(thread: Thread, event: Event) -> None:
        await gather(sleep(60), sleep(30))

    operator = operator_of(naps, monkeypatch)
    operator.give(operator.log.go("t-1", "e-1"))
    assert operator.flink.due("t-1") == [BEGAN_MS + 30_000]
    operator.flink.fire(BEGAN_MS + 30_000)
    assert operator.flink.due("t-1") == [BEGAN_MS + 60_000]
    operator.flink.fire(BEGAN_MS + 60_000)
    assert operator.flink.due("t-1") == []


def test_timer_that_is_no_longer_needed_fires_and_changes_nothing(operator: Operator) -> None:
    """An answered call's deadline stays armed until it fires; then the next one is armed, or none; never two."""
    _, [read] = operator.give(operator.log.go("t-1", "e-1"))
    [first] = operator.flink.due("t-1")
    operator.flink.now_ms += 1_000
    [_, call], _ = operator.answer(read, {"total": 7})
    assert operator.flink.due("t-1") == [first]
    assert operator.flink.fire(first) == ([], [])
    assert operator.flink.due("t-1") == [first + 1_000]
    operator.answer(call, 99)
    assert operator.flink.fire(first + 1_000) == ([], [])
    assert operator.flink.due("t-1") == []


def test_timer_is_armed_anew_for_what_is_due_earlier() -> None:
    """The one timer of a thread never fires later than the earliest due time."""
    armed: set[int] = set()
    service = SimpleNamespace(
        register_processing_time_timer=armed.add, delete_processing_time_timer=armed.remove,
    )  # fmt: skip
    timer_ms = rearmed(lambda: service, NO_TIMER, 90)
    assert (timer_ms, armed) == (90, {90})
    timer_ms = rearmed(lambda: service, timer_ms, 30)
    assert (timer_ms, armed) == (30, {30})
    timer_ms = rearmed(lambda: service, timer_ms, 60)
    assert (timer_ms, armed) == (30, {30})


def test_timer_that_is_due_is_a_turn(operator: Operator) -> None:
    """A call that nobody answered is asked again; the read leaves at once, on the side."""
    operator.give(operator.log.go("t-1", "e-1"))
    [due] = operator.flink.due("t-1")
    main, side = operator.flink.fire(due)
    assert (topics(main), topics(side)) == ([JOURNAL], [READS])
    found = operator.data(main[0])
    assert (found["kind"], found["time_ms"], found["input"]["log_time_ms"]) == ("timer", due, due)
    assert operator.data(side[0])["ask"] == 2


def test_timer_that_fires_late_happens_when_it_was_due(operator: Operator) -> None:
    """An outage does not make a deadline later for the thread; the clock's reading is told beside it."""
    operator.give(operator.log.go("t-1", "e-1"))
    [due] = operator.flink.due("t-1")
    [entry], _ = operator.flink.fire(due + 7_000)
    found = operator.data(entry)
    assert (found["time_ms"], found["input"]["clock_ms"]) == (due, due + 7_000)


def test_timer_that_fires_before_anything_is_due_writes_nothing(operator: Operator) -> None:
    """A timer of a state that was rolled back; the right one is armed."""
    operator.give(operator.log.go("t-1", "e-1"))
    due = operator.flink.due("t-1")
    operator.flink.timers.add((BEGAN_MS + 1, "t-1"))
    assert operator.flink.fire(BEGAN_MS + 1) == ([], [])
    assert operator.flink.due("t-1") == due


def test_timers_that_are_due_together_fire_in_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their due times, so many a round; the rest follows, and other threads come in between."""
    count = TIMERS_PER_ROUND_MAX + 10

    async def naps(thread: Thread, event: Event) -> None:
        await gather(*[sleep(count - n) for n in range(count)])

    operator = operator_of(naps, monkeypatch)
    operator.give(operator.log.go("t-1", "e-1"))
    late = BEGAN_MS + 1_000_000
    rounds = [operator.flink.fire(late)[0] for _ in range(3)]
    assert [len(entries) for entries in rounds] == [TIMERS_PER_ROUND_MAX, 10, 0]
    dues = [operator.data(entry)["input"]["log_time_ms"] for entries in rounds for entry in entries]
    assert dues == [BEGAN_MS + 1_000 * (n + 1) for n in range(count)]


def test_record_waits_for_a_registry_that_comes_back(operator: Operator) -> None:
    """A pause that grows, then the turn as ever."""
    operator.log.schemas.away = 3  # type: ignore[attr-defined]
    assert topics(operator.give(operator.log.go("t-1", "e-1"))[0]) == [JOURNAL]
    assert operator.pauses_s == list(thread_function.REGISTRY_PAUSES_S[:3])


def test_record_is_not_lost_to_a_registry_that_stays_away(operator: Operator) -> None:
    """The task fails with no trace in its state, so the source reads the record again; it is never a dead letter."""
    operator.log.schemas.away = 1_000  # type: ignore[attr-defined]
    record = operator.log.go("t-1", "e-1")
    with pytest.raises(RegistryUnavailable):
        operator.give(record)
    assert operator.flink.copy()[1] == set()
    operator.log.schemas.away = 0  # type: ignore[attr-defined]
    assert topics(operator.give(record)[0]) == [JOURNAL]


def test_restart_needs_no_registry(operator: Operator) -> None:
    """What the job was submitted with is enough for a whole run, and nobody is asked."""
    registry = connected(Client(operator.log.schemas))
    registry.learn([*(f"threadlog.{name}" for name in OURS), "t.Go"])
    operator.taken_along = pickle.loads(pickle.dumps(registry))
    operator.restarted()
    assert REPLIES in topics(run(operator, restart=True))
    assert operator.pauses_s == []


def test_function_does_not_open_without_the_schemas_it_writes(operator: Operator) -> None:
    """Told at the start; later it would cost a decision."""
    del operator.log.schemas.ids["threadlog.Reply"]
    with pytest.raises(UnknownSchema):
        operator.restarted()
