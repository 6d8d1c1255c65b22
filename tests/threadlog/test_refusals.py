# SPDX-License-Identifier: Apache-2.0
"""Bad input is a verdict in the journal: what is forged, misplaced, too large or no record at all."""

from __future__ import annotations

import msgspec
import pytest

from tests.threadlog.desk import desk, refund
from threadlog.engine import step


def test_source_replay_writes_nothing() -> None:
    """A record at or below the position was decided before: no entry, no effect."""
    thread = desk(refund)
    thread.send(order="o-1")
    assert step(thread.state, thread.inputs[0], thread.app, thread.limits) is None


def test_resend_is_a_journaled_duplicate() -> None:
    """The same source and id at a new offset changes nothing but the journal."""
    thread = desk(refund)
    thread.send(order="o-1", id="e")
    thread.send(order="o-1", id="e")
    assert thread.verdicts() == ["began", "duplicate"]
    assert len(thread.effects("call")) == 1


def test_forged_and_foreign_results_are_refused_and_late_ones_noted() -> None:
    """A result must be the answer to what it names; a second answer is a harmless repeat."""
    thread = desk(refund)
    thread.send(order="o")
    call = thread.calls()[0]
    wrong = [
        {"args_digest": "0" * 32},
        {"run_id": "0" * 32},
        {"thread": "other"},
        {"call_id": "0" * 40},
        {"status": "fine"},
    ]
    for changed in wrong:
        thread.take(thread.result(call, {"total": 1}, **changed))
    thread.answer({"total": 1})
    thread.take(thread.result(call, {"total": 2}))
    assert thread.verdicts() == ["began", *["forged"] * len(wrong), "resumed", "late"]
    assert len(thread.effects("dead_letter")) == len(wrong) + 1


DEEP = pytest.param("[" * 100_000, id="deep")


@pytest.mark.parametrize("value", ["{", "NaN", "[" * 65 + "]" * 65, DEEP, '"\\ud800"'])
def test_result_whose_value_is_no_plain_json_is_forged(value: str) -> None:
    """Whatever a result carries is refused or taken; nothing of it raises, and the call stays open."""
    thread = desk(refund)
    thread.send(order="o")
    good = thread.result(thread.calls()[0])
    thread.take(msgspec.structs.replace(good, data={**good.data, "value": value}))
    assert thread.verdicts() == ["began", "forged"]
    assert len(thread.calls()) == 1


@pytest.mark.parametrize("data", ["{", "[]", "3", '{"type": 1, "data": {}}', DEEP])
def test_signal_that_spawns_nothing_is_refused(data: str) -> None:
    """A signal comes from a topic like any other input: what is wrong with it is data."""
    thread = desk(refund)
    signal = {"name": "spawn", "from_thread": "x", "data": data}
    input = thread.input(
        "event", "agent-signals", source="/s", id="1", type="threadlog.Signal", data=signal, value=b"v"
    )
    assert thread.take(input).entry.verdict == "refused"


@pytest.mark.parametrize("kind", ["poison", "result"])
def test_refused_bytes_that_fit_no_entry_leave_the_open_run_alone(kind: str) -> None:
    """A megabyte of garbage is refused by reference; the run that happens to be open goes on."""
    thread = desk(refund)
    thread.send(order="o")
    large = {"value": b"x" * 950_000, "reason": "magic: the first byte is 120"}
    if kind == "poison":
        thread.take(thread.input("poison", "agent-events", **large))
    else:
        forged = thread.result(thread.calls()[0], {"total": 1}, args_digest="0" * 32)
        thread.take(msgspec.structs.replace(forged, value=large["value"]))
    assert thread.journal[-1].input.value == b""
    thread.answer({"total": 1})
    assert thread.effects("park_run") == []
    assert thread.verdicts() == ["began", "unreadable" if kind == "poison" else "forged", "resumed"]


def test_oversize_event_is_refused_by_reference() -> None:
    """Its bytes are not copied into the journal."""
    thread = desk(refund)
    entry = thread.take(
        thread.input("event", "agent-events", source="/s", id="1", type="t.Go", data={}, value=b"x" * 300_000)
    ).entry
    assert (entry.verdict, entry.input.value) == ("oversize", b"")


def test_poison_takes_its_place_in_the_journal() -> None:
    """Unreadable bytes of a readable thread are an entry and a dead letter."""
    thread = desk(refund)
    thread.take(thread.input("poison", "agent-events", value=b"??", reason="magic: the first byte is 63"))
    assert thread.verdicts() == ["unreadable"]
    assert thread.effects("dead_letter")[0]["message"] == "magic: the first byte is 63"
