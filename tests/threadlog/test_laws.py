# SPDX-License-Identifier: Apache-2.0
"""Laws over arbitrary histories: any mix of events, resends, answers in any order, refusals and timers.

A history is drawn as numbers and played against a handler that uses every kind of request; the same numbers always give
the same inputs, so one history can be played with the cache off, on, and emptied at every step.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import threadlog.runs
from tests.threadlog.desk import Desk, desk
from threadlog import CallError, Event, Thread, WaitTimeout, gather, sleep
from threadlog.engine import step
from threadlog.limits import Limits
from threadlog.requests import Call
from threadlog.state import dump, new_state

moves = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), max_size=25)
modes = st.sampled_from(["enqueue", "reject", "interrupt"])


async def busy(thread: Thread, event: Event) -> None:
    """Uses every kind of request, and draws, variables, history."""

    async def branch(n: int) -> Any:
        value = await Call("look", "read", {"what": f"b{n}"})
        thread.vars[f"b{n}"] = thread.vars.get(f"b{n}", 0) + 1
        return value

    n = event.get("n", 0)
    try:
        found = await gather(branch(0), branch(1), Call("pay", "keyed", {"amount": n}))
        await thread.reply(f"{found} {thread.random():.6f}", {"history": len(thread.history())})
        if n % 2:
            await sleep(n)
        if n % 3 == 0:
            await thread.spawn("other", "t.Go", {"n": n})
            await thread.reply((await thread.wait_for("t.More", timeout_s=3)).id)
    except (CallError, WaitTimeout) as error:
        await thread.reply(f"{type(error).__name__} {len(thread.open_effects)}")
        if n == 5:
            raise


def play(history: list[tuple[int, int]], mode: str, cache_runs: int = 0, evict: bool = False) -> Desk:
    """The desk after a history."""
    thread = desk(
        busy, cache_runs, Limits(chain_runs_max=2, snapshot_every_entries=4, queue_events_max=3), while_running=mode
    )
    for move, n in history:
        if evict:
            thread.cache.clear()
        calls = thread.calls()
        if move <= 1:
            thread.send(n=n)
        elif move == 2:
            thread.send("t.More", id=f"more{n}")
        elif move == 3:
            thread.send(id="same", n=n)
        elif move == 4 and thread.state.small["timers"]:
            thread.fire()
        elif calls:
            status = "done" if move != 7 else ("failed", "in_doubt", "refused", "rejected", "done", "done")[n]
            thread.answer(n, index=n % len(calls), status=status)
    return thread


@settings(deadline=None, max_examples=60)
@given(moves, modes)
def test_law_apply_is_step(history: list[tuple[int, int]], mode: str) -> None:
    """The state followed from the journal is bit for bit the state that was decided."""
    thread = play(history, mode)
    assert dump(thread.rebuilt()) == dump(thread.state)


@settings(deadline=None, max_examples=60)
@given(moves, modes)
def test_law_cache_changes_nothing(history: list[tuple[int, int]], mode: str) -> None:
    """Cache off, on, or emptied at every step: the same journal."""
    off = play(history, mode).journal
    assert play(history, mode, cache_runs=10).journal == off
    assert play(history, mode, cache_runs=10, evict=True).journal == off


@settings(deadline=None, max_examples=40)
@given(moves, modes)
def test_law_same_log_same_decisions(history: list[tuple[int, int]], mode: str) -> None:
    """Deciding the recorded inputs again gives the same entries, effects and hashes."""
    thread = play(history, mode)
    again = Desk(thread.app, thread.limits)
    for input in thread.inputs:
        again.take(input)
    assert again.journal == thread.journal


@settings(deadline=None, max_examples=40)
@given(moves, modes)
def test_law_every_input_has_one_entry_and_no_replay_has_another(history: list[tuple[int, int]], mode: str) -> None:
    """seq counts the inputs, and a second reading of any record decides nothing."""
    thread = play(history, mode)
    assert [entry.seq for entry in thread.journal] == list(range(1, len(thread.inputs) + 1))
    assert all(step(thread.state, i, thread.app, thread.limits) is None for i in thread.inputs if i.kind != "timer")


@settings(deadline=None, max_examples=40)
@given(moves, modes)
def test_law_keys_are_unique_per_call(history: list[tuple[int, int]], mode: str) -> None:
    """One key, one call: the same key only where the same ask is repeated."""
    thread = play(history, mode)
    calls = thread.effects("call")
    firsts = [call["call_id"] for call in calls if call["ask"] == 1]
    assert len(set(firsts)) == len(firsts)
    places = {(call["run_id"], call["ordinal"]): call["call_id"] for call in calls}
    assert all(places[call["run_id"], call["ordinal"]] == call["call_id"] for call in calls)


@settings(deadline=None, max_examples=40)
@given(moves, modes)
def test_law_effects_form_the_outbox_chain(history: list[tuple[int, int]], mode: str) -> None:
    """First asks of effects are numbered without a gap, each names the one before, and the entry carries the head."""
    thread = play(history, mode)
    outbox = [call for call in thread.effects("call") if call["effect"] == "keyed" and call["ask"] == 1]
    assert [call["outbox_seq"] for call in outbox] == list(range(1, len(outbox) + 1))
    assert [call["outbox_prev"] for call in outbox] == ["", *[call["outbox_hash"] for call in outbox]][: len(outbox)]
    if thread.journal:
        assert thread.journal[-1].outbox == (outbox[-1]["outbox_hash"] if outbox else "")


@settings(deadline=None, max_examples=40)
@given(moves, modes)
def test_law_refused_leaves_the_state_unmoved(history: list[tuple[int, int]], mode: str) -> None:
    """A refusal changes heads and positions, nothing a handler could see."""
    thread = play(history, mode)
    still = {"duplicate", "late", "forged", "refused", "rejected", "stale", "unreadable", "too_old"}
    assert [e.patch for e in thread.journal if e.verdict in still] == [
        '{"del":{},"put":{}}' for e in thread.journal if e.verdict in still
    ]


PLANTED = {
    "key from chance": ("threadlog.calls.call_key", lambda *parts: f"{next(_counter):040x}"),
    "effects not compared": ("threadlog.runs._compare", lambda where, recorded, asked: None),
}
_counter = iter(range(10**9))


def test_laws_catch_a_key_that_is_not_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bug: keys by chance. The same log no longer gives the same decisions."""
    monkeypatch.setattr("threadlog.calls.call_key", PLANTED["key from chance"][1])
    thread = desk(busy)
    thread.send(n=1)
    again = Desk(thread.app, thread.limits)
    again.take(thread.inputs[0])
    assert again.journal != thread.journal


def test_laws_catch_a_state_that_is_changed_beside_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bug: a variable written without a patch. `apply` no longer meets `step`."""
    thread = desk(busy)
    thread.send(n=1)
    thread.state.small["vars"]["smuggled"] = 1
    assert dump(thread.rebuilt()) != dump(thread.state)


def test_laws_catch_a_handler_that_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bug: re-execution is not compared. A drifting handler then slips through."""
    monkeypatch.setattr(threadlog.runs, "_compare", PLANTED["effects not compared"][1])
    runs: list[int] = []

    async def drifting(thread: Thread, event: Event) -> None:
        runs.append(1)
        await Call("look", "read", {"what": str(len(runs))})

    thread = desk(drifting)
    thread.send()
    thread.answer()
    assert thread.effects("park_run") == []


def test_laws_catch_positions_that_are_lost() -> None:
    """Planted bug: without positions a source replay decides twice."""
    thread = desk(busy)
    thread.send(n=1)
    thread.state.small["positions"].clear()
    assert step(thread.state, thread.inputs[0], thread.app, thread.limits) is not None


def test_new_state_is_empty() -> None:
    """A thread that decided nothing holds nothing."""
    assert {name: value for name, value in dump(new_state("t")).items() if name != "core" and value} == {}
