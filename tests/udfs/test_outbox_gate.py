# SPDX-License-Identifier: Apache-2.0
"""The operator before the tools' queue, over a Flink in memory: what it passes on, what it refuses, when it waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from schemas.codec import Codec, FixedSchemas
from tests.threadlog import gates
from tests.threadlog.desk import BEGAN_MS, Desk, app_of, desk, pay
from tests.threadlog.gates import Case, asks, cases, still_open, valid
from tests.threadlog.histories import LIMITS
from tests.threadlog.test_gate import drawn
from tests.udfs.fakes import FakeContext, FakeReactor
from tests.udfs.keyed import Keyed
from threadlog import Event, Thread, gather
from threadlog.entry import Entry
from udfs import outbox_gate, tool_queue
from udfs.outbox_gate import QUIET_MS, OutboxGate, Threads
from udfs.outputs import Outputs
from udfs.tool_queue import ToolQueue
from wire.frames import OutRecord, Record, pack_in, unpack_in, unpack_out

SCHEMAS = FixedSchemas()
CODEC = Codec(SCHEMAS)
LEASE = {"job": "j", "holder": "h", "state": "held", "place": "p", "time_ms": 1}
END = 1_000  # where the journal ended when the job was submitted, in tests that have a past


@pytest.fixture(scope="module", autouse=True)
def in_memory() -> Any:
    """No code on a disk, and a clock in the test's hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_gate.OwnCode, "check", lambda code: None)
        patch.setattr(outbox_gate, "now_ms", lambda: Gate.clock_ms)
        yield


async def handler(thread: Thread, event: Event) -> None:
    await gather(*[pay(n) for n in range(event["n"])])


def paying(*counts: int, name: str = "t") -> Desk:
    """A thread that has asked for so many calls, message by message, and heard of them."""
    thread = desk(handler, limits=LIMITS, name=name)
    for count in counts:
        thread.send(n=count)
        for _ in range(count):
            thread.answer()
    return thread


def written(thread: Desk) -> list[list[OutRecord]]:
    """What the conversation writes, decision by decision: the entry, then what goes into the outbox."""
    outputs = Outputs(CODEC, "ns")
    wanted = {"ns.agent-decisions", "ns.tool-invocations"}
    return [[r for r in outputs.of_decision(d, None)[0] if r.topic in wanted] for d in thread.decisions]


class Gate:
    """An opened gate; `journal` gives it records of partition 0 and collects (quota key, record) and letters."""

    clock_ms = BEGAN_MS

    def __init__(self, bounds: dict[int, tuple[int, int]] | None = None) -> None:
        self.bounds = bounds or {0: (0, 0)}
        self.flink = Keyed(None, BEGAN_MS)
        self.passed: list[tuple[str, Record]] = []
        self.letters: list[OutRecord] = []
        self.restarted()

    def restarted(self) -> None:
        """A new function over the same state."""
        self.flink.function = OutboxGate("ns", SCHEMAS, self.bounds)
        self.flink.open()

    def take(self, record: OutRecord, offset: int, **changed: Any) -> None:
        """Hand over a record of the journal."""
        given = Record(record.topic, 0, offset, BEGAN_MS + offset, record.key, record.value, record.headers)
        given = Record(**{name: changed.get(name, getattr(given, name)) for name in Record.__struct_fields__})
        self.flink.key = (given.key or b"").decode("utf-8", "replace")
        self._keep(self.flink.function.process_element(pack_in(given), self.flink))

    def wait(self, ms: int) -> None:
        """Let so much time go by, second after second."""
        until = Gate.clock_ms + ms
        while Gate.clock_ms < until:
            Gate.clock_ms = min(until, Gate.clock_ms + 1_000)
            for due, key in sorted(timer for timer in self.flink.timers if timer[0] <= Gate.clock_ms):
                self.flink.timers.discard((due, key))
                self.flink.key = key
                self._keep(self.flink.function.on_timer(due, self.flink))

    def calls(self) -> list[tuple[str, int]]:
        """The calls that were passed on, each with the number of its ask."""
        asked = [CODEC.decode(record.value)[2] for _, record in self.passed]
        return [(ask["call_id"], ask["ask"]) for ask in asked]

    def _keep(self, outcome: list[Any]) -> None:
        for one in outcome:
            if isinstance(one, tuple):
                self.letters += unpack_out(one[1])
            else:
                key, frame = one
                self.passed.append((key, unpack_in(frame)))


def of_entry(entry: Entry) -> OutRecord:
    value = CODEC.encode("threadlog.Decision", {**entry.to_dict(), "traceparent": ""})
    return OutRecord("ns.agent-decisions", entry.thread.encode(), value, [("h", b"1")])


def said(letter: OutRecord) -> tuple[str, str, str]:
    """What a dead letter says: code, message, offset."""
    told = {name.rpartition(".")[2]: (value or b"").decode() for name, value in letter.headers}
    return told["exception"], told["message"], told["offset"]


def test_gate_passes_the_records_that_the_conversation_writes() -> None:
    """Key, value and headers byte for byte as in the outbox, keyed by the quota, at the place of their entry."""
    gate, thread = Gate(), paying(2, 1)
    expected = []
    for offset, (entry, *outbox) in enumerate(written(thread)):
        gate.take(entry, offset)
        expected += [("pay", r.key, r.value, r.headers, offset) for r in outbox]
    assert [(key, r.key, r.value, r.headers, r.offset) for key, r in gate.passed] == expected
    assert len(expected) == 3 and {r.topic for _, r in gate.passed} == {"ns.agent-decisions"}
    assert (gate.letters, gate.flink.timers) == ([], set())


@settings(deadline=None, max_examples=30)
@given(case=drawn)
def test_gate_passes_what_valid_entries_ask_for(case: Case) -> None:
    """Through any restarts; whatever the log holds beside them is a dead letter."""
    gate, reader, log = Gate(), gates.Reader(), case.log()
    for offset, entry in enumerate(log):
        gate.take(of_entry(entry), offset)
        if offset % 3 == 0:
            gate.restarted()
    assert gate.calls() == [ask for entry in valid(log) for ask in asks(entry)]
    reader.read(log)
    assert len(gate.letters) == reader.refused and {said(letter)[0] for letter in gate.letters} <= {"void"}


def test_gate_makes_a_dead_letter_of_a_void_entry() -> None:
    """With its key, bytes and headers, its place, and why."""
    gate, entries = Gate(), [of_entry(entry) for entry in paying(1, 1).journal]
    gate.take(entries[0], 0)
    gate.take(entries[2], 7)
    [letter] = gate.letters
    assert (letter.topic, letter.key, letter.value) == ("ns.dead-letters", b"t", entries[2].value)
    assert letter.headers[0] == ("h", b"1")
    assert said(letter) == ("void", "gap: seq 3 comes after seq 1; 1 of its effect calls do not run", "7")
    assert len(gate.passed) == 1
    gate.take(entries[3], 8)  # void too; it asks for nothing, and tells of the fault all the same
    assert said(gate.letters[1]) == ("void", "gap: seq 4 comes after seq 1", "8")


def test_gate_makes_a_dead_letter_of_what_is_no_entry() -> None:
    """And of an entry whose key names no thread; neither stops it."""
    gate, entry = Gate(), of_entry(paying(1).journal[0])
    gate.take(entry, 0, value=b"?")
    gate.take(entry, 1, value=CODEC.encode("threadlog.Lease", LEASE))
    gate.take(entry, 2, legal_key=False)
    gate.take(entry, 3, key=None)
    assert [said(letter)[0] for letter in gate.letters] == ["truncated", "foreign", "illegal_key", "illegal_key"]
    gate.take(entry, 4)
    assert len(gate.passed) == 1


def test_gate_keeps_threads_apart() -> None:
    """Each has a head of its own, also when more threads come by than are kept in memory."""
    gate, threads = Gate(), [paying(1, 1, name=name) for name in ("t1", "t2", "t3")]
    gate.flink.function._threads._max = 2
    for offset in range(len(threads[0].journal)):
        for thread in threads:
            gate.take(of_entry(thread.journal[offset]), offset)
    assert (len(gate.passed), gate.letters) == (6, [])
    assert len(gate.flink.function._threads._late) == 2


def test_gate_holds_the_past_until_it_has_read_it() -> None:
    """While entries of the past come, of any thread, nothing passes; then what is still open does."""
    gate, done, open_ = Gate({0: (0, END)}), paying(1, name="done"), desk(handler, limits=LIMITS, name="open")
    open_.send(n=2)
    open_.answer()
    for offset, entry in enumerate([*done.journal, *open_.journal]):
        gate.take(of_entry(entry), offset)
    for offset in range(5):
        gate.wait(QUIET_MS - 500)
        gate.take(of_entry(done.journal[-1]), 10 + offset)
    assert gate.passed == []
    gate.wait(3 * QUIET_MS)
    assert gate.calls() == sorted(still_open(open_.journal)) != []
    assert gate.flink.timers == set()
    gate.wait(3 * QUIET_MS)
    open_.send(n=1)
    gate.take(of_entry(open_.journal[-1]), END)
    assert len(gate.passed) == 1


def test_gate_holds_the_past_through_a_restart() -> None:
    """A timer that is due at once in the new process does not pass on what is still to be read."""
    gate, thread = Gate({0: (0, END)}), desk(handler, limits=LIMITS)
    thread.send(n=1)
    gate.take(of_entry(thread.journal[0]), 0)
    Gate.clock_ms += 10 * QUIET_MS
    gate.restarted()
    gate.wait(1)
    assert gate.passed == []
    gate.wait(3 * QUIET_MS)
    assert len(gate.passed) == 1


def test_gate_holds_the_past_no_longer_than_to_the_first_entry_after_it() -> None:
    """A busy thread need not wait for the others."""
    gate, thread = Gate({0: (0, END)}), paying(1)
    thread.send(n=1)
    thread.send(n=1)
    for offset, entry in enumerate(thread.journal[:-1]):
        gate.take(of_entry(entry), offset)
    assert gate.passed == []
    gate.take(of_entry(thread.journal[-1]), END)
    assert set(gate.calls()) == still_open(thread.journal)
    gate.wait(5 * QUIET_MS)
    assert len(gate.passed) == 1 and gate.flink.timers == set()


def test_gate_begins_a_cut_thread_at_a_snapshot() -> None:
    """Where the partition has lost its beginning, and only there."""
    case = next(c for c in cases(40) if any(e.snapshot and still_open(c.whole()[: e.seq - 1]) for e in c.whole()[1:]))
    entries = case.whole()
    for low, begins in ((5, True), (0, False)):
        gate = Gate({0: (low, 0)})
        for entry in entries[1:]:
            gate.take(of_entry(entry), entry.seq)
        assert (bool(gate.passed), begins or bool(gate.letters)) == (begins, True)


def test_threads_that_are_not_in_memory_are_read_from_the_state() -> None:
    """What was stored is what is loaded."""
    gate, entries = Gate(), paying(1, 1).journal
    for offset, entry in enumerate(entries):
        gate.take(of_entry(entry), offset)
    kept = gate.flink.function._threads.load("t")
    again = Threads(gate.flink.get_state(type("D", (), {"name": "thread"})))
    assert again.load("t") == kept and kept.head.seq == len(entries)


def test_queue_fires_what_the_gate_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two operators speak one language: the frame of a row is an ask that the queue takes for its quota key."""
    app, reactor = app_of(handler), FakeReactor()
    monkeypatch.setattr(tool_queue, "now_ms", lambda: BEGAN_MS)
    monkeypatch.setattr(tool_queue, "take_over", lambda name, make: reactor)
    monkeypatch.setattr(tool_queue.inputs, "check", lambda *place: None)
    monkeypatch.setattr(tool_queue.Answered, "has", lambda answered, ask: False)
    queue = ToolQueue("no.app:app", "", "ns", "no-broker", SCHEMAS, 200)
    queue._code = type("Code", (), {"load": lambda self: app})()
    context: Any = FakeContext("pay")
    queue.open(context)
    gate, thread = Gate(), paying(1)
    gate.take(of_entry(thread.journal[0]), 0)
    [(key, record)] = gate.passed
    assert (key, queue.process_element(pack_in(record), context)) == ("pay", [])
    assert [ask["call_id"] for ask, _ in reactor.fired] == [call_id for call_id, _ in asks(thread.journal[0])]
