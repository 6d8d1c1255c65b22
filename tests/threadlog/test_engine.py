# SPDX-License-Identifier: Apache-2.0
"""What the engine makes of one thread's inputs, told as short stories. Tools come from the app around the handler."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import msgspec
import pytest

from tests.threadlog.desk import Desk, app_of, desk
from threadlog import CallRejected, Event, InDoubt, LimitError, Thread, ToolFailed, WaitTimeout, gather, sleep
from threadlog.engine import apply, step
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.requests import Call
from threadlog.state import new_state


def look(what: str) -> Call[Any]:
    return Call("look", "read", {"what": what})


def pay(amount: int) -> Call[Any]:
    return Call("pay", "keyed", {"amount": amount})


async def refund(thread: Thread, event: Event) -> None:
    order = await look(event["order"])
    receipt = await pay(order["total"])
    await thread.reply(f"paid {receipt}")


def test_run_goes_from_event_over_calls_to_reply() -> None:
    """One message with two calls is three turns: the event and two results."""
    thread = desk(refund)
    thread.send(order="o-1")
    thread.answer({"total": 7})
    thread.answer(99)
    assert thread.replies() == ["paid 99"]
    assert thread.verdicts() == ["began", "resumed", "resumed"]
    assert thread.ends() == ["finished"]
    assert [(c["tool"], c["effect"], c["outbox_seq"]) for c in thread.effects("call")] == [
        ("look", "read", 0),
        ("pay", "keyed", 1),
    ]


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


def test_gather_ordinals_follow_the_branch_not_the_arrival() -> None:
    """Whichever answer comes first, calls and results are the same."""

    async def both(thread: Thread, event: Event) -> None:
        async def second() -> Any:
            return await look((await look("b"))["next"])

        a, b = await gather(look("a"), second())
        await thread.reply(f"{a} {b}")

    orders = []
    for first in (0, 1):
        thread = desk(both)
        thread.send()
        thread.answer({"next": "c"} if first else "A", index=first)
        thread.answer("A" if first else {"next": "c"}, index=0)
        thread.answer("C")
        orders.append((thread.replies(), sorted((c["ordinal"], c["call_id"]) for c in thread.effects("call"))))
    assert orders[0] == orders[1]
    assert orders[0][0] == ["A C"]
    assert [ordinal for ordinal, _ in orders[0][1]] == ["0.0.0", "0.1.0", "0.1.1"]


def test_call_errors_are_typed_and_catchable() -> None:
    """Each way a call can end without a value has its own class."""
    caught: list[type[Exception]] = []

    async def careful(thread: Thread, event: Event) -> None:
        try:
            await pay(1)
        except (ToolFailed, InDoubt, CallRejected) as error:
            caught.append(type(error))

    for status in ("failed", "in_doubt", "rejected"):
        thread = desk(careful)
        thread.send()
        thread.answer(status=status)
        assert thread.ends() == ["finished"]
    assert set(caught) == {ToolFailed, InDoubt, CallRejected}


def test_uncaught_error_fails_the_run_and_the_thread_goes_on() -> None:
    """A bug in a handler costs its run, not the job, not the thread."""

    async def broken(thread: Thread, event: Event) -> None:
        raise KeyError(event.get("n"))

    thread = desk(broken)
    thread.send(n=1)
    thread.send(n=2)
    assert thread.ends() == ["failed", "failed"]
    assert thread.effects("end_run")[0]["error"] == {"type": "KeyError", "message": "1"}


def test_awaiting_io_is_refused_with_a_sentence() -> None:
    """An event loop's future is not durable."""

    async def io(thread: Thread, event: Event) -> None:
        await asyncio.sleep(0)

    thread = desk(io)
    thread.send()
    assert "put I/O in a tool" in thread.effects("end_run")[0]["error"]["message"]


def test_sleep_and_wait_for_meet_timers_and_events() -> None:
    """Time passes by timers; an awaited event resumes the run; its absence is a typed error."""

    async def patient(thread: Thread, event: Event) -> None:
        await sleep(5)
        more = await thread.wait_for("t.More", timeout_s=10)
        try:
            await thread.wait_for("t.More", timeout_s=10)
        except WaitTimeout as error:
            await thread.reply(f"{more['n']} {error}")

    thread = desk(patient)
    began = thread.send().entry.time_ms
    assert thread.fire().entry.time_ms == began + 5_000
    thread.send("t.More", n=1)
    thread.fire()
    assert thread.replies() == ["1 no t.More within 10 s"]
    assert thread.state.small["timers"] == {}


def test_event_before_its_wait_is_kept() -> None:
    """A confirmation may overtake the question."""

    async def asks_late(thread: Thread, event: Event) -> None:
        await look("x")
        await thread.reply((await thread.wait_for("t.More"))["word"])

    thread = desk(asks_late)
    thread.send()
    thread.send("t.More", word="early")
    thread.answer()
    assert thread.replies() == ["early"]
    assert thread.verdicts() == ["began", "buffered", "resumed"]


@pytest.mark.parametrize(
    ("mode", "verdict", "replies"),
    [("enqueue", "queued", ["1", "2"]), ("reject", "rejected", ["1"]), ("interrupt", "interrupts", ["2"])],
)
def test_second_message_while_a_run_waits(mode: str, verdict: str, replies: list[str]) -> None:
    """enqueue waits its turn, reject says so in the journal, interrupt ends the run at its read."""

    async def slow(thread: Thread, event: Event) -> None:
        await look("x")
        await thread.reply(str(event["n"]))

    thread = desk(slow, while_running=mode)
    thread.send(n=1)
    assert thread.send(n=2).entry.verdict == verdict
    while thread.calls():
        thread.answer()
    assert thread.replies() == replies


def test_interrupt_waits_for_an_open_effect_and_shows_it() -> None:
    """Money under way is never abandoned: the interruption takes effect when the payment's result is in the journal."""
    seen: list[Any] = []

    async def paying(thread: Thread, event: Event) -> None:
        seen.append(thread.open_effects)
        if event["n"] == 1:
            await pay(1)
            await thread.reply("never said")

    thread = desk(paying, while_running="interrupt")
    thread.send(n=1)
    thread.send(n=2)
    assert thread.ends() == []
    thread.answer(42)
    assert thread.ends() == ["interrupted", "finished"]
    assert [(o["tool"], o["status"], o["value"]) for o in seen[-1]] == [("pay", "done", 42)]
    assert thread.replies() == []


CHANGES = {
    "tool": lambda: pay(5),
    "arguments": lambda: look("y"),
    "timer": lambda: sleep(1),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_nondeterminism_parks_the_run_and_retry_goes_on(change: str) -> None:
    """Code that asks for something else than the log holds is stopped, visibly; the right code goes on from there."""
    changed: list[bool] = []

    async def drifting(thread: Thread, event: Event) -> None:
        if changed:
            await CHANGES[change]()
        else:
            await look("x")
        await thread.reply("done")

    thread = desk(drifting)
    thread.send()
    changed.append(True)
    thread.answer("r")
    assert [e["error"]["type"] for e in thread.effects("park_run")] == ["NondeterminismError"]
    assert thread.replies() == []
    changed.clear()
    thread.send("threadlog.RunCommand", run_id="", action="retry", who="me", reason="")
    assert thread.replies() == ["done"]


@pytest.mark.parametrize("change", ["text", "ordinal"])
def test_nondeterminism_in_reply_or_order_parks_the_run(change: str) -> None:
    """A reply with other words, or one request more before it, is a divergence too."""
    runs: list[int] = []

    async def drifting(thread: Thread, event: Event) -> None:
        runs.append(1)
        if change == "ordinal" and len(runs) > 1:
            await gather()
        await thread.reply("hello" if change == "ordinal" or len(runs) == 1 else "good day")
        await look("x")

    thread = desk(drifting)
    thread.send()
    thread.answer()
    assert [e["error"]["type"] for e in thread.effects("park_run")] == ["NondeterminismError"]


def test_parked_run_can_be_abandoned() -> None:
    """A person ends it; what waited behind it goes on."""
    runs: list[int] = []

    async def drifting(thread: Thread, event: Event) -> None:
        runs.append(1)
        if event["n"] == 1:
            await look(str(len(runs)))
        await thread.reply(str(event["n"]))

    thread = desk(drifting)
    thread.send(n=1)
    thread.send(n=2)
    thread.answer()
    thread.send("threadlog.RunCommand", run_id="", action="abandon", who="me", reason="")
    assert thread.ends() == ["abandoned", "finished"]
    assert thread.replies() == ["2"]


def test_open_run_stays_on_the_version_that_began_it() -> None:
    """A new version begins new runs only; without the old one the run is parked, not guessed."""

    async def old(thread: Thread, event: Event) -> None:
        await look("x")
        await thread.reply("old")

    async def new(thread: Thread, event: Event) -> None:
        await thread.reply("new")

    thread = desk(old)
    thread.send()
    thread.app.agent(on="t.Go", name="go", version=2)(new)
    thread.answer()
    thread.send()
    assert thread.replies() == ["old", "new"]
    other = desk(old)
    other.send()
    del other.app.agents["go", 1]
    other.answer()
    assert other.effects("park_run")[0]["error"]["type"] == "VersionMissing"


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


@pytest.mark.parametrize("tenant", ["a\nb", "ü" * 9, "x" * 300, "\ud800", ""])
def test_quota_key_fits_header_and_key_whatever_the_tenant(tenant: str) -> None:
    """An ask that its own header made unreadable would never be answered."""
    thread = desk(refund)
    tool = dataclasses.replace(thread.app.tools["look"], tenant=lambda args: tenant)
    thread.app.tools["look"] = tool
    thread.send(order="o")
    [key] = [call["quota_key"] for call in thread.calls()]
    assert key.startswith("look") and key.isascii() and key.isprintable() and len(key) <= 300


def test_unanswered_effect_is_asked_again_then_in_doubt_then_late_success_is_news() -> None:
    """Same key every time; never called failed; a success that comes after all is journaled as such."""
    ended: list[str] = []

    async def paying(thread: Thread, event: Event) -> None:
        try:
            await pay(5)
        except InDoubt as error:
            ended.append(error.error_type)

    thread = desk(paying)
    thread.send()
    call = thread.calls()[0]
    while thread.calls():
        thread.fire()
    asks = thread.effects("call")
    assert [ask["ask"] for ask in asks] == [1, 2, 3, 4, 5]
    assert {ask["call_id"] for ask in asks} == {call["call_id"]} and {ask["outbox_hash"] for ask in asks} == {
        call["outbox_hash"]
    }
    assert ended == ["NoAnswer"]
    thread.take(thread.result(call, 1))
    assert thread.verdicts()[-2:] == ["gave_up", "late_success"]


def test_limits_are_catchable_before_they_park() -> None:
    """A handler may recover from a bound; one that does not is stopped and can be retried."""

    async def careful(thread: Thread, event: Event) -> None:
        try:
            await thread.reply("x" * 100_000)
        except LimitError as error:
            await thread.reply(error.limit)

    async def careless(thread: Thread, event: Event) -> None:
        while True:
            await thread.reply("again")

    caught, parked = desk(careful), desk(careless, limits=Limits(burst_requests_max=5))
    caught.send()
    parked.send()
    assert caught.replies() == ["value_bytes"]
    assert parked.effects("park_run")[0]["error"]["type"] == "LimitError"
    assert parked.replies() == []


def test_decision_that_fits_no_record_parks_the_run() -> None:
    """The sink must never see what it cannot write."""

    async def wordy(thread: Thread, event: Event) -> None:
        for _ in range(40):
            await thread.reply("x" * 60_000)

    thread = desk(wordy)
    entry = thread.send().entry
    assert (entry.verdict, entry.input.value) == ("oversize", b"")
    assert len(thread.effects("dead_letter")) == 1


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


def test_variables_and_history_survive_between_runs() -> None:
    """A run sees them as they were when it began, plus its own changes, also when executed again."""

    async def counting(thread: Thread, event: Event) -> None:
        thread.vars["n"] = thread.vars.get("n", 0) + 1
        await look("x")
        thread.vars["n"] += 10
        await thread.reply(f"{thread.vars['n']} after {len(thread.history())}")

    thread = desk(counting)
    for _ in range(3):
        thread.send()
        thread.answer()
    assert thread.replies() == ["11 after 0", "22 after 2", "33 after 4"]


def test_spawn_reaches_another_thread_as_its_event() -> None:
    """A signal on the target's thread begins a run there."""

    async def parent(thread: Thread, event: Event) -> None:
        if event.get("spawn"):
            await thread.spawn("child", "t.Go", {"spawn": False})
        else:
            await thread.reply(f"from {event.source}")

    thread = desk(parent)
    signal = thread.send(spawn=True).effects[1]
    assert (signal["do"], signal["thread"]) == ("signal", "child")
    child = Desk(thread.app)
    child.take(
        child.input(
            "event",
            "agent-signals",
            source="/threadlog/conversation",
            id=signal["signal_id"],
            type="threadlog.Signal",
            data=signal,
        )
    )
    assert child.replies() == ["from /threadlog/threads/t"]


def test_queue_is_worked_off_in_chains_and_by_a_self_timer() -> None:
    """One input begins at most so many runs; a timer goes on with the rest."""

    async def first_waits(thread: Thread, event: Event) -> None:
        if event["n"] == 0:
            await look("x")
        await thread.reply(str(event["n"]))

    thread = desk(first_waits, limits=Limits(chain_runs_max=2))
    for n in range(6):
        thread.send(n=n)
    thread.answer()
    assert thread.replies() == ["0", "1", "2"]
    while thread.state.small["timers"]:
        thread.fire()
    assert thread.replies() == ["0", "1", "2", "3", "4", "5"]


def test_finally_of_an_interrupted_run_can_ask_for_nothing() -> None:
    """A dead handler's last words reach nobody."""

    async def stubborn(thread: Thread, event: Event) -> None:
        try:
            await look("x")
        finally:
            await thread.reply("dead words")

    thread = desk(stubborn, cache_runs=10, while_running="interrupt")
    thread.send()
    thread.send("t.Go")
    thread.cache.clear()
    assert thread.replies() == []


def test_journal_reader_sees_repeats_forks_and_flipped_bits() -> None:
    """An equal head is a repeat; anything that does not continue it, or does not carry its own hash, is void."""
    from msgspec.structs import replace

    thread = desk(refund)
    thread.send(order="o")
    thread.answer({"total": 1})
    first, second = thread.journal
    limits = thread.limits
    _, state = apply(new_state("t"), first, limits)
    assert apply(state, first, limits)[0] == "repeat"
    assert apply(new_state("t"), second, limits)[0] == "void"
    assert apply(state, replace(second, effects="[]"), limits)[0] == "void"
    assert apply(state, second, limits)[0] == "applied"


def test_keys_are_stable_for_ever() -> None:
    """Golden: a change here would ask for every open call again under a new key."""
    thread = desk(refund)
    thread.take(Input("event", "t", "agent-events", 0, 0, 5, 5, "/s", "e", "t.Go", {"order": "o"}, 1, b"v"))
    call = thread.calls()[0]
    assert (call["run_id"], call["call_id"]) == GOLDEN


GOLDEN = ("cb5d7d39a6f297aeb32c4bbbcb178d9a", "a114cda02cfc0c2442d6f52fec4d5bb86e9221eb")


def test_app_refuses_two_agents_on_one_type() -> None:
    """An event has one handler; the mistake is told when the app is loaded."""
    app = app_of(refund)
    with pytest.raises(Exception, match="an event has one handler"):
        app.agent(on="t.Go", name="other")(refund)
