# SPDX-License-Identifier: Apache-2.0
"""Effect calls whose run is gone: what became of them is shown to the next run, whole or visibly left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.threadlog.desk import Desk, desk, look, pay
from threadlog import Event, InDoubt, LimitError, Thread, gather
from threadlog.limits import Limits
from threadlog.state import dump


async def careless(thread: Thread, event: Event) -> None:
    """n=1 pays several times beside a read that fails; any other run tells what it is shown, after a while."""
    if event["n"] == 1:
        await gather(*[pay(n) for n in range(event.get("pays", 1))], look("x"))
    shown = thread.open_effects
    await look("x")
    told = [{name: value for name, value in one.items() if name != "call_id"} for one in shown]
    for one in told:
        one["value"] = len(one["value"]) if isinstance(one["value"], str) else one["value"]
    await thread.reply("seen", told)


def failed(pays: int = 1, **limits: int) -> Desk:
    """A thread whose run failed while its effect calls are open."""
    thread = desk(careless, limits=Limits(**limits))
    thread.send(n=1, pays=pays)
    [read] = [call for call in thread.calls() if call["tool"] == "look"]
    thread.take(thread.result(read, status="failed"))
    assert thread.ends() == ["failed"]
    return thread


def shown(thread: Desk) -> Any:
    """What the next run says it was shown."""
    thread.send(n=2)
    [read] = [call for call in thread.calls() if call["tool"] == "look"]
    thread.take(thread.result(read))
    return json.loads(thread.effects("reply")[-1]["data"])


def test_orphan_that_ended_is_shown_once() -> None:
    """With its value; the run after that is shown nothing."""
    thread = failed()
    assert thread.answer({"id": 7}).entry.verdict == "recorded"
    assert shown(thread) == [{"tool": "pay", "status": "done", "value": {"id": 7}}]
    assert shown(thread) == []
    assert dict(thread.state.maps.items("orphan_values")) == {}
    assert dump(thread.rebuilt()) == dump(thread.state)


def test_orphan_that_is_open_is_shown_until_it_ended() -> None:
    """What ends while a run is open is news for the next one; the run itself sees no change on re-execution."""
    thread = failed()
    thread.send(n=2)
    pay_call, read = sorted(thread.calls(), key=lambda call: call["tool"], reverse=True)
    thread.take(thread.result(pay_call, 7))
    thread.take(thread.result(read))
    assert thread.effects("reply")[-1]["data"] == '[{"status":"open","tool":"pay","value":null}]'
    assert shown(thread) == [{"tool": "pay", "status": "done", "value": 7}]


def test_orphans_with_large_values_shut_nobody_out() -> None:
    """Sixteen results of 60 KB: the next run begins, and what is left out is marked."""
    thread = failed(16)
    while thread.calls():
        thread.answer("r" * 60_000)
    seen = shown(thread)
    assert [one["value"] for one in seen].count(60_000) == 4
    assert [one.get("left_out", False) for one in seen].count(True) == 12
    assert {one["status"] for one in seen} == {"done"}


def test_open_orphans_count_as_calls_of_the_thread() -> None:
    """A handler that fails again and again does not pile up calls without end."""

    async def handler(thread: Thread, event: Event) -> None:
        try:
            await gather(*[pay(n) for n in range(3)], look("x"))
        except LimitError as error:
            await thread.reply(f"{error.limit} {error.value}")

    thread = desk(handler, limits=Limits(open_calls_max=5))
    for n in range(3):
        thread.send(n=n)
        reads = [call for call in thread.calls() if call["tool"] == "look"]
        for read in reads:
            thread.take(thread.result(read, status="failed"))
    assert thread.replies() == ["open_calls_max 6", "open_calls_max 6"]
    assert len(thread.state.small["calls"]) == 5


@pytest.mark.parametrize("end", ["abandon", "fail"])
def test_orphan_is_made_of_a_result_that_came_while_its_run_was_parked(end: str) -> None:
    """It was paid and nobody was told: the next run is, else it pays again."""
    drift: list[int] = []

    async def handler(thread: Thread, event: Event) -> None:
        if event["n"] == 2:
            await thread.reply("seen", [[one["status"], one["value"]] for one in thread.open_effects])
            return
        await gather(pay(1), pay(2), pay(3), look(str(len(drift))))

    thread = desk(handler)
    thread.send(n=1)
    drift.append(1)
    *pays, read = thread.calls()
    thread.take(thread.result(read, "x"))
    thread.take(thread.result(pays[0], "receipt"))
    thread.take(thread.result(pays[1], status="in_doubt"))
    thread.take(thread.result(pays[2], status="failed"))
    assert thread.parked() == ["NondeterminismError"]
    if end == "fail":
        drift.clear()
        thread.state.maps.sections["steps"]["0"] |= {"k": "error", "v": FAILED}  # type: ignore[attr-defined]
        thread.command("retry")
    else:
        thread.command("abandon")
    assert thread.ends() == ["abandoned" if end == "abandon" else "failed"]
    thread.send(n=2)
    seen = json.loads(thread.effects("reply")[-1]["data"])
    assert sorted(seen, key=str) == [["done", "receipt"], ["failed", None], ["in_doubt", None]]


FAILED = {"class": "failed", "tool": "look", "call_id": "c", "type": "E", "message": "no"}


def test_late_success_is_shown_as_its_value() -> None:
    """Not as the text of its JSON."""

    async def handler(thread: Thread, event: Event) -> None:
        if event["n"] == 2:
            await thread.reply("seen", thread.open_effects[0]["value"])
            return
        try:
            await pay(1)
        except InDoubt:
            await thread.reply("doubt")

    thread = desk(handler)
    thread.send(n=1)
    [call] = thread.calls()
    thread.answer(status="in_doubt")
    thread.take(thread.result(call, {"id": 7}))
    thread.send(n=2)
    assert thread.verdicts()[-2:] == ["late_success", "began"]
    assert thread.effects("reply")[-1]["data"] == '{"id":7}'


def test_reads_end_with_their_run() -> None:
    """A failed run leaves no read open, no ask and no deadline behind; an answer to it is late."""

    async def handler(thread: Thread, event: Event) -> None:
        await gather(look("a"), look("b"))

    thread = desk(handler)
    thread.send()
    second = thread.calls()[1]
    thread.answer(status="failed")
    assert (thread.state.small["calls"], thread.state.small["timers"]) == ({}, {})
    assert thread.take(thread.result(second)).entry.verdict == "late"
