# SPDX-License-Identifier: Apache-2.0
"""The tools operator against fakes of Flink and of the reactor: who is heard, what is fired, what keeps it awake."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from schemas.cloudevents import write_headers
from schemas.codec import Codec, FixedSchemas
from tests.threadlog.desk import app_of
from tests.udfs.fakes import FakeContext, FakeReactor
from tests.udfs.test_queueing import BEGAN_MS, ask, handler
from threadlog.calls import call_key
from udfs import tool_queue
from udfs.attempts import result_of
from udfs.tool_queue import ASK, RESULT, ToolQueue
from wire.frames import Record, pack_in, unpack_out
from wire.inputs import LostInputs

CODEC = Codec(FixedSchemas())


class Operator:
    """An opened operator for the quota key `pay`, with everything around it faked."""

    def __init__(self, patch: pytest.MonkeyPatch, key: str = "pay", allowed: frozenset[str] | None = None) -> None:
        self.allowed, self.ended = allowed, set[str]()
        self.app, self.reactor, self.context, self.now = app_of(handler), FakeReactor(), FakeContext(key), BEGAN_MS
        patch.setattr(tool_queue, "now_ms", lambda: self.now)
        patch.setattr(tool_queue.inputs, "check", lambda *place: None)
        patch.setattr(tool_queue, "take_over", lambda name, make: self.reactor)
        patch.setattr(
            tool_queue, "Answered", lambda *place: SimpleNamespace(has=lambda ask: ask["call_id"] in self.ended)
        )
        self.queue = self.reopened()

    def reopened(self) -> ToolQueue:
        """Another attempt of the task over the same state, in another process."""
        self.reactor = FakeReactor()
        self.queue = ToolQueue("no.app:app", "", "ns", "no-broker", FixedSchemas(), 200, self.allowed)
        self.queue._code = SimpleNamespace(load=lambda: self.app)  # type: ignore[assignment]
        self.queue.open(self.context)  # type: ignore[arg-type]
        return self.queue

    def take(self, type_: str, data: dict[str, Any], topic: str, **changed: Any) -> list[tuple[str, str]]:
        """Hand over a record; the dead letters it made, as (code, message)."""
        value = CODEC.encode(type_, {**FIELDS, **data})
        names = {"id": "1", "source": "/s", "type": type_, "thread": "t", "quota_key": "pay"} | changed
        headers = write_headers(**names, time_ms=1, value=value)
        frame = pack_in(Record(f"ns.{topic}", 0, 1, 1, b"t", value, headers))
        packs = self.queue.process_element(frame, self.context)  # type: ignore[arg-type]
        letters = [dict(letter.headers) for pack in packs for letter in unpack_out(pack)]
        told = [(one["__streams.errors.exception"], one["__streams.errors.message"]) for one in letters]
        return [((code or b"").decode(), (message or b"").decode()) for code, message in told]

    def ask(self, n: int, topic: str = "agent-decisions", **changed: Any) -> list[tuple[str, str]]:
        return self.take(ASK, fresh_ask(n, **changed), topic)

    def result(self, n: int, **changed: Any) -> list[tuple[str, str]]:
        return self.take(RESULT, {**result_of(fresh_ask(n), "done", 1, []), **changed}, "tool-results")

    def watch(self, later_ms: int = 0) -> None:
        """Let the timer fire so much later."""
        self.now += later_ms
        self.context.timers.clear()
        assert self.queue.on_timer(self.now, self.context) == []  # type: ignore[arg-type]

    def fired(self) -> list[str]:
        return [one["ordinal"] for one, _ in self.reactor.fired]


FIELDS = {"ask": 1, "deadline_ms": 2, "agent": "go", "version": 1}
FIELDS |= {"outbox_seq": 0, "outbox_prev": "", "outbox_hash": ""}


def fresh_ask(n: int, **changed: Any) -> dict[str, Any]:
    """An ask that was made after the operator's process began."""
    return ask(n, **{"asked_ms": BEGAN_MS + 60_000, "clock_ms": BEGAN_MS + 60_000, **changed})


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Operator:
    return Operator(monkeypatch)


def test_operator_fires_asks_and_goes_on_with_results(operator: Operator) -> None:
    """The tool has a concurrency of 1: the second call begins when the first one's result has come back."""
    assert operator.ask(1) + operator.ask(2) == []
    assert operator.fired() == ["1"]
    assert operator.result(1) == []
    assert operator.fired() == ["1", "2"] and operator.reactor.hand == {ask(2)["call_id"]}


def test_operator_is_awake_while_there_is_work(operator: Operator) -> None:
    """A key with work holds a timer; one without lets it go."""
    operator.ask(1)
    assert operator.context.timers
    operator.context.timers.clear()
    operator.result(1)
    assert not operator.context.timers


def test_operator_of_a_new_process_fires_again_what_was_in_flight(operator: Operator) -> None:
    """By its first watch, at once; what waits goes on waiting, and a live call is left alone."""
    operator.ask(1)
    operator.ask(2)
    operator.watch()
    assert operator.fired() == ["1"]
    operator.reopened()
    operator.watch(5_000)
    assert [(one["ordinal"], again) for one, again in operator.reactor.fired] == [("1", True)]
    assert operator.context.timers


def test_operator_holds_a_call_of_two_restarts_for_some_checkpoints(operator: Operator) -> None:
    """Three intervals of 200 ms, and two seconds more; the key stays awake meanwhile."""
    operator.ask(1)
    for _ in range(2):
        operator.reopened()
        operator.watch(5_000)
    assert operator.fired() == [] and operator.context.timers
    operator.watch(2_599)
    assert operator.fired() == []
    operator.watch(1)
    assert operator.fired() == ["1"]


def test_operator_of_a_new_process_tells_a_rejection_again(operator: Operator) -> None:
    """The answer was not acknowledged when the process died; the key stays awake until it has come back."""
    call = fresh_ask(1, tool="none", quota_key="pay")
    assert operator.take(ASK, call, "agent-decisions") == [] and operator.context.timers
    operator.reopened()
    operator.watch()
    assert [(one["ordinal"], status) for one, status, _ in operator.reactor.answered] == [("1", "rejected")]
    operator.context.timers.clear()
    assert operator.take(RESULT, result_of(call, "rejected", 1, []), "tool-results") == []
    assert not operator.context.timers and operator.reactor.hand == set()


@pytest.mark.parametrize("topic", ["tool-reads", "tool-invocations"])
def test_operator_takes_calls_with_effects_from_the_journal_only(operator: Operator, topic: str) -> None:
    """An ask on the fast lane may be of a decision that is rolled back, one in the outbox of a void entry."""
    [(code, message)] = operator.ask(1, topic)
    assert (code, topic in message, operator.fired()) == ("misplaced", True, [])


def test_operator_makes_a_dead_letter_of_what_does_not_belong(operator: Operator) -> None:
    """Asks among results, results among asks, and events anywhere."""
    answer = result_of(fresh_ask(1), "done", 1, [])
    operator.ask(1)
    misplaced = [operator.ask(2, "tool-results")]
    misplaced += [operator.take(RESULT, answer, topic) for topic in ("tool-reads", "agent-decisions")]
    misplaced += [operator.take("threadlog.Message", {"text": "", "data": "{}"}, "tool-reads")]
    assert [letters[0][0] for letters in misplaced] == ["misplaced"] * 4
    assert operator.fired() == ["1"] and operator.reactor.hand == {ask(1)["call_id"]}


def test_operator_refuses_altered_and_foreign_asks(operator: Operator) -> None:
    """What the key does not stand for is forged; another quota or another subject is another story."""
    assert [code for code, _ in operator.ask(1, args_digest="0" * 32)] == ["forged"]
    assert [code for code, _ in operator.ask(1, effect="read")] == ["forged"]
    assert [code for code, _ in operator.ask(1, quota_key="look")] == ["misplaced"]
    made = operator.take(ASK, fresh_ask(1), "agent-decisions", thread="other")
    assert [code for code, _ in made] == ["ce_subject"]
    assert operator.fired() == []


def test_operator_lets_no_foreign_result_free_a_slot(operator: Operator) -> None:
    """A result of another quota or under a forged key says nothing about the call in flight."""
    operator.ask(1)
    operator.ask(2)
    assert operator.result(1, quota_key="look") + operator.result(1, args_digest="0" * 32) == []
    assert operator.fired() == ["1"]
    assert call_key("t", "r", "1", "pay", ask(1)["args_digest"]) in operator.reactor.hand


def test_operator_that_is_closed_leaves_nothing_running(operator: Operator) -> None:
    """After the task has ended, no tool goes on; closing it twice, or before it opened, is no error."""
    operator.queue.close()
    operator.queue.close()
    assert operator.reactor.closed
    ToolQueue("no.app:app", "", "ns", "no-broker", FixedSchemas(), 200).close()


def test_operator_of_a_branch_performs_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ask is answered without an attempt."""
    operator = Operator(monkeypatch, allowed=frozenset())
    assert operator.ask(1) == []
    assert operator.reactor.fired == []
    assert [(status, reason) for _, status, reason in operator.reactor.answered] == [
        ("rejected", "gated in this branch")
    ]


def test_operator_does_not_open_where_asks_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart by Flink too, which no `main()` sees."""

    def check(bootstrap: str, namespace: str, codec: Codec, job: str) -> None:
        assert (bootstrap, namespace, job) == ("no-broker", "ns", "tools")
        raise LostInputs("tools: 3 input offsets were deleted")

    operator = Operator(monkeypatch)
    monkeypatch.setattr(tool_queue.inputs, "check", check)
    with pytest.raises(LostInputs, match="3 input offsets"):
        operator.reopened()
