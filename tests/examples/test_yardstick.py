# SPDX-License-Identifier: Apache-2.0
"""The yardstick's reading of calls, and its checker: every planted difference is seen, and none in an equal run."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from examples.yardstick import check
from examples.yardstick.tasks import BadCall, Call, parse
from tests.examples.yardstick_runs import arrived, effect, entry, equal, straight


def test_yardstick_call_is_read_with_its_types() -> None:
    """Positional and keyword arguments come out as Python would pass them, 1 and 1.0 apart."""
    read = parse("f('a', [1, -2.0], x={'k': None}, y=True)")
    assert repr(read) == repr(Call("f", ["a", [1, -2.0]], {"x": {"k": None}, "y": True}))


@pytest.mark.parametrize(
    "source",
    [
        "f",
        "f(g())",
        "a.f()",
        "f(x)",
        "f(**{})",
        "f(*[])",
        "f(",
        "f(x=(1, 2))",
        "f(x={1: 2})",
        "__import__('os').remove('x')",
    ],
)
def test_yardstick_call_that_is_no_plain_literal_call_is_refused(source: str) -> None:
    """Nothing is evaluated, and no argument is changed on its way through JSON."""
    with pytest.raises(BadCall):
        parse(source)


def test_yardstick_equal_run_has_no_fault() -> None:
    """Nothing is wrong with an equal run, and what its kill repeated is counted."""
    table = check.compare(equal())
    assert check.faults(table) == []
    assert (table["repeated_by_crashes"], table["after_tools_killed"], table["repeated_after_effect"]) == (1, 1, 1)
    assert (table["effects"], table["decisions"], table["refused_repeats"], table["dead_letters"]) == (2, 5, 1, 0)
    assert check.faults(check.compare(straight())) == []


PLANTED: dict[str, tuple[str, Callable[[check.Run], Any]]] = {
    "a turn without a reply": ("turns_unanswered", lambda run: run.replies["t"].pop()),
    "a turn with two replies": ("turns_doubled", lambda run: run.replies["t"].append(run.replies["t"][0])),
    "a reply to a turn that is none": (
        "turns_doubled",
        lambda run: run.replies["t"].append({"turn": 9, "outputs": []}),
    ),
    "replies in another order": ("replies_out_of_order", lambda run: run.replies["t"].reverse()),
    "another output in a reply": ("reply_outputs_differ", lambda run: run.replies["t"][0].update(outputs=["o1"])),
    "another output in the journal": ("journal_outputs_differ", lambda run: run.results["t"][0].update(value="o1")),
    "a result missing in the journal": ("journal_outputs_differ", lambda run: run.results["t"].pop()),
    "another output in the ledger": ("ledger_outputs_differ", lambda run: run.ledger[1].update(output="o1")),
    "another type in the state": ("states_differ", lambda run: run.states.update(t={"x": 1.0})),
    "no state": ("states_differ", lambda run: run.states.clear()),
    "effects in another order": ("order_differs", lambda run: run.ledger.insert(0, run.ledger.pop())),
    "an effect twice under one key": ("effects_twice", lambda run: run.ledger.append(effect(0))),
    "an effect twice under two keys": ("effects_twice", lambda run: run.ledger.append({**effect(0), "key": "new"})),
    "an effect on a foreign thread": ("effects_twice", lambda run: run.ledger.append({**effect(0), "thread": "u"})),
    "an effect lost": ("effects_lost", lambda run: run.ledger.pop(1)),
    "a result without its effect": ("effects_lost", lambda run: run.ledger[1].update(key="other")),
    "a call in doubt": ("calls_not_done", lambda run: run.results["t"][0].update(status="in_doubt")),
    "a fork in the journal": ("journal_gaps", lambda run: run.decisions["t"][1].update(prev="other")),
    "a gap in the journal": ("journal_gaps", lambda run: run.decisions["t"].pop(0)),
    "an entry changed after it was written": ("journal_gaps", lambda run: run.decisions["t"][4].update(reason="new")),
    "an event decided twice": (
        "entries_unexplained",
        lambda run: run.decisions["t"].append(entry("event", "began", 2)),
    ),
    "a turn without its entry": ("entries_unexplained", lambda run: run.decisions["t"].pop(2)),
    "an entry that nothing asked for": (
        "entries_unexplained",
        lambda run: run.decisions["t"].append(entry("timer", "stale", 9)),
    ),
    "a result refused for another reason": (
        "entries_unexplained",
        lambda run: run.decisions["t"][3].update(verdict="forged"),
    ),
    "a reply on a foreign thread": ("strangers", lambda run: run.replies.update(u=[])),
    "a journal of a foreign thread": ("strangers", lambda run: run.decisions.update(u=[])),
    "a state of a foreign thread": ("strangers", lambda run: run.states.update(u={})),
    "a dead letter of another kind": ("dead_letters", lambda run: run.letters.append("unreadable")),
    "a dead letter for what the journal did not refuse": ("dead_letters", lambda run: run.letters.append("late")),
    "a refused result without its dead letter": ("dead_letters", lambda run: run.letters.clear()),
    "more results refused than requests repeated": (
        "refused_repeats",
        lambda run: (run.decisions["t"].append(entry("result", "late", 3)), run.letters.append("late")),
    ),
    "a dead letter without a kill": ("dead_letters", lambda run: run.kills.clear()),
    "an answer that came again without a kill": ("refused_repeats", lambda run: run.kills.clear()),
    "kills that hit nothing": ("repeated_by_crashes", lambda run: run.ledger.pop(2)),
    "a repeat in a run without kills": ("repeated_by_crashes", lambda run: run.kills.clear()),
    "a repeat that no kill explains": ("repeats_unexplained", lambda run: run.ledger.append(arrived(1, 11_000))),
    "a repeat after a kill that repeats nothing": (
        "repeats_unexplained",
        lambda run: run.kills[0].update(hit=["conversation"]),
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_yardstick_planted_difference_is_seen(fault: str) -> None:
    """The row that names the difference is wrong."""
    row, plant = PLANTED[fault]
    run = equal()
    plant(run)
    assert row in check.faults(check.compare(run))


def test_yardstick_every_row_that_may_be_wrong_has_a_planted_difference() -> None:
    """But for those that say that nothing was compared."""
    assert {row for row, _ in PLANTED.values()} == {*check.WRONG, "refused_repeats", "repeated_by_crashes"}


def test_yardstick_surplus_effect_shifts_no_output() -> None:
    """It is counted once, as an effect twice; the outputs behind it stay where they belong."""
    run = equal()
    run.ledger.insert(2, {**effect(0), "output": "again"})
    table = check.compare(run)
    assert (table["effects_twice"], table["ledger_outputs_differ"]) == (1, 0)


def test_yardstick_gathers_whole_topics_but_for_an_earlier_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of nobody's stay in, those of the run before do not, and what was never committed is counted."""
    result = {"call_id": "k0", "status": "done", "value": '"o0"'}
    decision = {"kind": "result", "verdict": "resumed", "input": {"value": result}}
    topics: dict[str, list[tuple[str, Any]]] = {
        "n.agent-replies": [("a.t", {"data": '{"turn": 0}'}), ("b.t", {"data": '{"turn": 0}'})],
        "n.agent-decisions": [("a.t", decision), ("b.t", decision), ("?", {**decision, "verdict": "late"})],
        "n.dead-letters": [("a.t", "late"), ("b.t", "late"), ("", "unreadable")],
    }

    def read(_: str, name: str, isolation: str) -> list[Any]:
        found = topics[name] + [("b.t", decision)] * 2 * (isolation == "read_uncommitted")
        return [
            SimpleNamespace(
                key=thread.encode, value=lambda t=thread, v=one: v | {"thread": t} if isinstance(v, dict) else v
            )
            for thread, one in found
        ]

    monkeypatch.setattr(check, "read", read)
    monkeypatch.setattr(check, "Reader", lambda _: SimpleNamespace(value=lambda raw: raw))
    monkeypatch.setattr(check, "letter", lambda message: {"code": message.value()})
    run = check.Run({}, [])
    check.gather(run, ("a.",), "b", "r", "n")
    assert run.replies == {"b.t": [{"turn": 0}]}
    assert ({name: len(chain) for name, chain in run.decisions.items()}, run.not_committed) == ({"b.t": 1, "?": 1}, 2)
    assert run.results == {"b.t": [{**result, "value": "o0"}]}
    assert run.letters == ["late", "unreadable"]
