# SPDX-License-Identifier: Apache-2.0
"""The queue of one quota key: every ask is answered or joined, concurrency is a bound, a crash forgets nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.threadlog.desk import app_of
from threadlog import Event, Thread
from threadlog.calls import call_key
from threadlog.canonical import digest, text
from threadlog.queueing import CLOCKS_APART_MS, Queue

BEGAN_MS = 1_700_000_000_000
NOW_MS = BEGAN_MS + 100
HOLD_MS = 2_600


class Slots(dict[str, Any]):
    """A queue's state in memory."""

    def put(self, key: str, value: Any) -> None:
        self[key] = value

    def remove(self, key: str) -> None:
        self.pop(key, None)

    def keys(self) -> Any:
        return list(super().keys())


async def handler(thread: Thread, event: Event) -> None: ...


def ask(n: int, tool: str = "pay", args: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """The ask number `n` of a thread, as the conversation makes it."""
    args = {"amount": 5} if args is None else args
    named = {"thread": "t", "run_id": "r", "ordinal": str(n), "tool": tool, "args_digest": digest(args)[:32]}
    made = {**named, "args": text(args), "effect": "keyed", "quota_key": tool, "ask": 1}
    made |= {"asked_ms": BEGAN_MS + CLOCKS_APART_MS, "clock_ms": BEGAN_MS + CLOCKS_APART_MS}
    return {**made, "call_id": call_key(*named.values()), **changed}


class Desk(Queue):
    """A queue whose clock stands still unless it is told the time."""

    def accept(self, ask: Any, now_ms: int = NOW_MS) -> Any:
        return super().accept(ask, now_ms)

    def finished(self, call_id: str, now_ms: int = NOW_MS) -> Any:
        return super().finished(call_id, now_ms)

    def recover(self, live: Any, now_ms: int = NOW_MS) -> Any:
        return super().recover(live, now_ms)


def queue(queue_asks_max: int = 100) -> Desk:
    """The tool `pay` has a concurrency of 1."""
    return Desk(Slots(), Slots(), app_of(handler), BEGAN_MS, HOLD_MS, nothing, queue_asks_max)


def nothing(ask: Any) -> bool:
    """A log without a result that says no."""
    return False


def restarted(before: Desk, after_ms: int = 5_000) -> Desk:
    """The same state in another process that begins so long after the one before."""
    return Desk(before._slots, before._pending, before._app, before._began_ms + after_ms, HOLD_MS, before._answered)


def test_queue_fires_up_to_its_concurrency_and_goes_on_when_results_come_back() -> None:
    """The second ask waits for the first one's own result."""
    pays = queue()
    assert [a.do for a in pays.accept(ask(1))] == ["fire"]
    assert pays.accept(ask(2)) == []
    assert [a.ask["ordinal"] for a in pays.finished(ask(1)["call_id"])] == ["2"]
    assert pays.finished(ask(2)["call_id"]) == [] and not pays.busy()


def test_queue_joins_what_is_in_hand_and_repeats_what_is_finished() -> None:
    """One answer serves two asks; after it, an ask runs again under its key."""
    pays = queue()
    pays.accept(ask(1))
    pays.accept(ask(2))
    assert pays.accept(ask(1)) == [] and pays.accept(ask(2)) == []
    pays.finished(ask(1)["call_id"])
    pays.finished(ask(2)["call_id"])
    assert [a.do for a in pays.accept(ask(1))] == ["fire"]


def test_queue_refuses_and_rejects() -> None:
    """A forged key is a dead letter; an unknown tool and a full queue are answers."""
    pays = queue(queue_asks_max=1)
    assert [a.do for a in pays.accept(ask(1, call_id="0" * 40))] == ["refuse"]
    assert [(a.do, a.status) for a in pays.accept(ask(1, tool="none"))] == [("answer", "rejected")]
    pays.accept(ask(1))
    pays.accept(ask(2))
    assert [(a.do, a.status) for a in pays.accept(ask(3))] == [("answer", "rejected")]


def test_queue_of_a_branch_fires_reads_and_what_is_allowed() -> None:
    """Whatever else has an effect is answered as rejected, however old the ask; forged ones stay dead letters."""
    gated, free = (queue() for _ in range(2))
    gated.allowed, free.allowed = frozenset(), frozenset({"pay"})
    old = {"clock_ms": BEGAN_MS - 90_000}
    for number, more in enumerate(({}, old)):
        told = gated.accept(ask(number, **more))
        assert [(a.do, a.status, a.reason) for a in told] == [("answer", "rejected", "gated in this branch")]
    assert [a.do for a in gated.accept(ask(2, tool="look", effect="read"))] == ["fire"]
    assert [a.do for a in gated.accept(ask(3, call_id="0" * 40))] == ["refuse"]
    assert [a.do for a in free.accept(ask(1))] == ["fire"]


def altered_asks() -> Any:
    """What is wrong, and the ask: under a good key each, where its own fields say so."""
    yield "key", ask(1, call_id="0" * 40)
    yield "key", ask(1, args_digest="0" * 32)
    yield "arguments", {**ask(1), "args": text({"amount": 999_999})}
    yield "arguments", {**ask(1), "args": '{"amount": 5}'}
    yield "keyed", ask(1, effect="read")
    yield "longer", ask(1, thread="t" * 513, call_id=call_key("t" * 513, "r", "1", "pay", ask(1)["args_digest"]))


@pytest.mark.parametrize(("words", "bad"), list(altered_asks()))
def test_queue_refuses_what_its_key_does_not_stand_for(words: str, bad: dict[str, Any]) -> None:
    """Other arguments, another effect or another name under a call's key are never fired, and leave no state."""
    pays = queue()
    [action] = pays.accept(bad)
    assert (action.do, pays.busy()) == ("refuse", False)
    assert words in action.reason


def test_queue_takes_every_kind_of_arguments() -> None:
    """The digest is over the bytes that the ask carries, whatever they say."""
    for args in ({}, {"ü😀": [1, 2.5, -0.0, 1e300, None, True, {"": "\x00"}]}, {"n": 2**63 - 1}):
        assert [action.do for action in queue().accept(ask(1, args=args))] == ["fire"]


def test_queue_fires_again_at_once_after_a_crash() -> None:
    """What is pending and not live is fired again by the first watch, as a call that may have been tried before."""
    pays = queue()
    pays.accept(ask(1))
    assert pays.recover({ask(1)["call_id"]}) == []
    assert [(a.do, a.again) for a in restarted(pays).recover(set())] == [("fire", True)]


def test_queue_holds_what_was_in_flight_at_two_restarts() -> None:
    """Until its count lies in a checkpoint; a result that comes meanwhile ends it."""
    pays = queue()
    pays.accept(ask(1))
    for _ in range(2):
        pays = restarted(pays)
        fired = pays.recover(set())
    assert fired == [] and pays.accept(ask(1)) == [] and pays.busy()
    assert pays.recover(set(), NOW_MS + HOLD_MS - 1) == []
    assert [(a.do, a.again) for a in pays.recover(set(), NOW_MS + HOLD_MS)] == [("fire", True)]
    late = restarted(pays)
    late.recover(set())
    assert late.finished(ask(1)["call_id"]) == [] and not late.busy()
    assert late.recover(set(), NOW_MS + HOLD_MS) == []


def test_queue_tells_a_rejection_until_it_has_come_back() -> None:
    """A rejection that a crash cut off is told again; its call is in hand until then, and holds no slot."""
    pays = queue(queue_asks_max=1)
    for n in (1, 2, 3):
        rejected = pays.accept(ask(n))
    assert [(a.do, a.status) for a in rejected] == [("answer", "rejected")]
    assert pays.accept(ask(3)) == [] and pays.recover({ask(n)["call_id"] for n in (1, 3)}) == []
    again = restarted(pays)
    told = again.recover({ask(1)["call_id"]})
    assert [(a.ask["ordinal"], a.do, a.status, a.reason) for a in told] == [
        ("3", "answer", "rejected", rejected[0].reason)
    ]
    assert again.finished(ask(3)["call_id"]) == []
    assert [a.ask["ordinal"] for a in again.finished(ask(1)["call_id"])] == ["2"]
    again.finished(ask(2)["call_id"])
    assert not again.busy()


def test_queue_looks_through_what_is_pending_only() -> None:
    """A watch of a key with thousands of waiting asks reads none of their keys."""

    class Unlisted(Slots):
        def keys(self) -> Any:
            raise AssertionError

    pays = Desk(Unlisted(), Slots(), app_of(handler), BEGAN_MS, HOLD_MS, nothing)
    for n in range(50):
        pays.accept(ask(n))
    assert len(restarted(pays).recover(set())) == 1


def test_queue_answers_calls_whose_tool_has_left_the_app() -> None:
    """New code may lack a tool of which calls wait or are in flight: they end, as in doubt or as never tried."""
    pays = queue()
    pays.accept(ask(1))
    pays.accept(ask(2))
    del pays._app.tools["pay"]
    told = pays.recover(set())
    assert [(a.do, a.status) for a in told] == [("answer", "in_doubt"), ("answer", "rejected")]
    assert [pays.finished(ask(n)["call_id"]) for n in (1, 2)] == [[], []] and not pays.busy()


def test_queue_fires_again_what_was_asked_before_its_process_began() -> None:
    """The state may be older than what was done with it: such a call may have been fired, whatever the state says."""
    pays = queue(queue_asks_max=1)
    older = {"clock_ms": BEGAN_MS}
    assert [(a.do, a.again) for a in pays.accept(ask(1, **older))] == [("fire", True)]
    pays.accept(ask(2, **older))
    assert [(a.do, a.status) for a in pays.accept(ask(3, **older))] == [("answer", "in_doubt")]
    assert [(a.do, a.again) for a in pays.finished(ask(1)["call_id"])] == [("fire", True)]
    pays.finished(ask(2)["call_id"])
    assert [(a.do, a.again) for a in pays.accept(ask(4))] == [("fire", False)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ask", "result", "crash"]), st.integers(0, 5)), max_size=40))
def test_queue_answers_every_ask_and_never_exceeds_its_concurrency(moves: list[tuple[str, int]]) -> None:
    """Whatever the order: at most one in flight, and working off the rest answers everything that was asked."""
    pays, live, asked, answered = queue(), list[str](), set[str](), set[str]()

    def carry_out(actions: list[Any]) -> None:
        for action in actions:
            assert action.do == "fire"
            live.append(action.ask["call_id"])
            assert len(set(live)) <= 1

    def result() -> None:
        call_id = live.pop()
        answered.add(call_id)
        carry_out(pays.finished(call_id))

    for move, n in moves:
        if move == "ask":
            asked.add(ask(n)["call_id"])
            carry_out(pays.accept(ask(n)))
        elif move == "result" and live:
            result()
        elif move == "crash" and len(answered) < len(asked):
            live.clear()
            carry_out([a for a in pays.recover(set()) if a.do == "fire"])
    while live:
        result()
    if "crash" not in {move for move, _ in moves}:
        assert answered == asked and not pays.busy()
