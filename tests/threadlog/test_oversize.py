# SPDX-License-Identifier: Apache-2.0
"""Decisions that no record can hold: what caused them pays, nobody else does, and nothing is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.codec import Codec, FixedSchemas
from schemas.limits import JOURNAL_MESSAGE_BYTES
from tests.threadlog.desk import Desk, desk, look, pay
from threadlog import Event, InDoubt, Thread, sleep
from threadlog.limits import Limits

WORDS = "m" * 40_000
LARGE = {"flags": [False] * 80_000}  # 80 KB as Avro, 480 KB as JSON


async def too_much(thread: Thread) -> None:
    for _ in range(40):
        await thread.reply("x" * 60_000)


async def echo(thread: Thread, event: Event) -> None:
    """Waits at first; says what it was told."""
    if event.get("n") == 0:
        await look("x")
    await thread.reply(event.get("words", ""))


def queue_up(messages: int) -> Desk:
    thread = desk(echo)
    thread.send(n=0, words="first")
    for n in range(messages):
        thread.send(n=1, words=WORDS, id=f"q{n}")
    return thread


def work_off(thread: Desk) -> None:
    while thread.state.small["timers"]:
        thread.fire()


def test_oversize_chain_costs_the_run_in_front_nothing() -> None:
    """Eight modest messages behind a run are together too much for its entry: they go on by a timer."""
    thread = queue_up(8)
    thread.answer()
    assert (thread.verdicts()[-1], thread.replies(), thread.parked()) == ("resumed", ["first"], [])
    work_off(thread)
    assert thread.replies() == ["first", *[WORDS] * 8]
    assert set(thread.verdicts()[10:]) == {"chained"}


@pytest.mark.parametrize("action", ["retry", "abandon"])
def test_oversize_chain_behind_a_parked_run_lets_it_be_retried_and_abandoned(action: str) -> None:
    """What a person decides about a run does not depend on how much waits behind it."""
    broken = [True]

    async def handler(thread: Thread, event: Event) -> None:
        if event.get("n") == 0 and broken:
            await too_much(thread)
        await echo(thread, event)

    thread = desk(handler)
    thread.send(n=0, words="first")
    for n in range(8):
        thread.send(n=1, words=WORDS, id=f"q{n}")
    broken.clear()
    thread.command(action)
    if action == "retry":
        thread.answer()
    work_off(thread)
    assert thread.ends() == ["finished" if action == "retry" else "abandoned", *["finished"] * 8]


def test_oversize_run_of_a_queued_message_is_begun_and_parked() -> None:
    """It is taken off the queue, and once its code is mended it goes on from its own message."""
    broken = [True]

    async def handler(thread: Thread, event: Event) -> None:
        if event["n"] == 1 and broken:
            await too_much(thread)
        if event["n"] == 0:
            await look("x")
        await thread.reply(str(event["n"]))

    thread = desk(handler)
    for n in range(3):
        thread.send(n=n)
    thread.answer()
    work_off(thread)
    assert (thread.replies(), thread.parked()) == (["0"], ["LimitError"])
    broken.clear()
    thread.command("retry")
    assert (thread.replies(), thread.ends()) == (["0", "1", "2"], ["finished"] * 3)


def test_oversize_retry_leaves_the_run_parked() -> None:
    """A person who retries the same code learns that it is no better."""

    async def handler(thread: Thread, event: Event) -> None:
        await too_much(thread)

    thread = desk(handler)
    thread.send()
    thread.command("retry")
    assert (thread.verdicts(), thread.parked()) == (["began", "retried"], ["LimitError"] * 2)
    assert "entry_bytes" in thread.journal[-1].reason
    thread.command("abandon")
    assert thread.ends() == ["abandoned"]


def answer_it(thread: Desk) -> None:
    thread.answer(5)


def fire_it(thread: Desk) -> None:
    thread.fire()


def send_it(thread: Desk) -> None:
    thread.send("t.More", n=5)


async def heard(thread: Thread) -> Any:
    return (await thread.wait_for("t.More", timeout_s=9))["n"]


async def paid(thread: Thread) -> Any:
    return await pay(1)


async def slept(thread: Thread) -> Any:
    return await sleep(9)


async def in_doubt(thread: Thread) -> Any:
    try:
        return await pay(1)
    except InDoubt as error:
        return error.error_type


WAITS: dict[str, tuple[Any, Any, str]] = {
    "event": (heard, send_it, "5"),
    "result": (paid, answer_it, "5"),
    "timer": (slept, fire_it, "None"),
    "deadline": (in_doubt, fire_it, "NoAnswer"),
}


@pytest.mark.parametrize("name", WAITS)
def test_oversize_answer_is_recorded_and_told_after_a_retry(name: str) -> None:
    """A run that says too much once it hears is parked; what it was to hear is not lost, and nobody waits for ever."""
    wait, happen, said = WAITS[name]
    broken = [True]

    async def handler(thread: Thread, event: Event) -> None:
        told = await wait(thread)
        if broken:
            await too_much(thread)
        await thread.reply(str(told))

    thread = desk(handler, limits=Limits(call_asks_max=1))
    thread.send()
    happen(thread)
    assert (thread.parked(), thread.effects("dead_letter")) == (["LimitError"], [])
    broken.clear()
    thread.command("retry")
    assert (thread.replies(), thread.ends()) == ([said], ["finished"])
    assert (thread.state.small["timers"], thread.state.small["calls"]) == ({}, {})


def test_oversize_event_behind_a_run_is_refused_and_the_run_goes_on() -> None:
    """As bytes it is small enough, as JSON it is not: only its sender hears of it."""
    thread = desk(echo)
    thread.send(n=0, words="first")
    assert thread.send(id="large", **LARGE).entry.verdict == "oversize"
    thread.answer()
    thread.send(n=1, words="second", id="next")
    assert (thread.replies(), thread.parked()) == (["first", "second"], [])
    assert len(thread.effects("dead_letter")) == 1


def test_oversize_awaited_event_is_refused_and_the_run_waits_on() -> None:
    """What cannot even be recorded is a dead letter; another event of the type still ends the wait."""

    async def handler(thread: Thread, event: Event) -> None:
        await thread.reply(str(await heard(thread)))

    thread = desk(handler)
    thread.send()
    assert thread.send("t.More", id="large", n=[False] * 200_000).entry.verdict == "oversize"
    thread.send("t.More", n=5)
    assert (thread.replies(), thread.parked()) == (["5"], [])


def talkative(words: str) -> Any:
    async def handler(thread: Thread, event: Event) -> None:
        await thread.reply(words)
        if event.get("stay"):
            await look("x")

    return handler


@pytest.mark.parametrize("words", ["x" * 60_000, "字" * 20_000, "😀" * 14_000])
def test_oversize_snapshot_has_a_bound_of_its_own(words: str) -> None:
    """In bytes as on the wire; nobody is parked because a snapshot was due with a large entry."""
    thread = desk(talkative(words), limits=Limits(snapshot_every_entries=12))
    for _ in range(11):
        thread.send()
    large = {"n": "y" * 100_000, "stay": True}
    input = thread.input(
        "event", "agent-events", source="/s", id="large", type="t.Go", data=large, value=b"v" * 100_000
    )
    thread.take(input)
    thread.answer()
    thread.send("t.Other")
    codec = Codec(FixedSchemas())
    sizes = [len(codec.encode("threadlog.Decision", {**e.to_dict(), "traceparent": ""})) for e in thread.journal]
    assert max(sizes) < JOURNAL_MESSAGE_BYTES
    assert thread.parked() == [] and thread.ends() == ["finished"] * 12
    assert [entry.seq for entry in thread.journal if entry.snapshot] == [12]
    whole = len((thread.journal[11].snapshot or "").encode())
    assert whole > 500_000
    for spare, taken in ((0, True), (-1, False)):
        bound = Limits(snapshot_every_entries=12, snapshot_bytes=whole + spare)
        again = desk(talkative(words), limits=bound)
        for _ in range(11):
            again.send()
        entry = again.take(input).entry
        assert (entry.snapshot is not None, again.parked()) == (taken, [])


def test_oversize_state_is_not_written_out_in_vain_on_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that fits no record is tried once per period."""
    tried: list[int] = []
    monkeypatch.setattr("threadlog.engine.snapshot_text", lambda state: tried.append(1) or "x" * 7_000_000)
    thread = desk(talkative("hi"), limits=Limits(snapshot_every_entries=20))
    for _ in range(70):
        thread.send()
    assert (len(tried), [entry.seq for entry in thread.journal if entry.snapshot]) == (3, [])
