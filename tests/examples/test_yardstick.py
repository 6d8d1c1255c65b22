# SPDX-License-Identifier: Apache-2.0
"""The yardstick's reading of calls, and its checker: every planted difference is seen, and none in an equal run."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from examples.yardstick import check, run
from examples.yardstick.report import page, table
from examples.yardstick.tasks import BadCall, Call, parse
from ops.settings import Settings


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


def effect(n: int) -> check.Line:
    about = {"request": n, "key": f"k{n}", "thread": "t", "function": "f", "args": [n], "kwargs": {}}
    return {"kind": "effect", "output": f"o{n}", **about}


def entry(n: int) -> check.Line:
    place = {"topic": "tool-results", "partition": 0, "offset": n}
    return {"thread": "t", "seq": n + 1, "prev": ("", "h1")[n], "hash": f"h{n + 1}", "input": place, "kind": "result"}


def equal() -> check.Run:
    """A run of one task with two turns of one call each, the first of which arrived twice."""
    calls = [{"function": "f", "args": [n], "kwargs": {}} for n in (0, 1)]
    direct = {"t": {"turns": [1, 1], "calls": calls, "outputs": ["o0", "o1"], "state": {"x": 1}}}
    arrived = [{"kind": "arrived", "key": f"k{n}", "request": n, "thread": "t"} for n in (0, 0, 1)]
    ledger = [arrived[0], effect(0), arrived[1], arrived[2], effect(1)]
    return check.Run(
        direct,
        ledger,
        states={"t": {"x": 1}},
        decisions={"t": [entry(0), entry(1)]},
        results={"t": [{"call_id": f"k{n}", "status": "done", "value": f"o{n}"} for n in (0, 1)]},
        replies={"t": [{"turn": n, "outputs": [f"o{n}"]} for n in (0, 1)]},
    )


def test_yardstick_equal_run_has_no_fault() -> None:
    """Nothing is wrong with an equal run, and its one repeated request is counted."""
    table = check.compare(equal())
    assert check.faults(table, crashed=True) == []
    assert (table["repeated_by_crashes"], table["repeated_after_effect"], table["effects"]) == (1, 1, 2)


def test_yardstick_page_shows_both_runs() -> None:
    """Every row that the checker fills is a number that the page can print, wrong ones marked."""
    straight, killed = ({**check.compare(equal()), "wrong": wrong} for wrong in ([], ["effects_lost"]))
    hit = {"killed": "taskmanager-1", "target": "tools", "unanswered": 3, "seconds": 9.5}
    runs = {"straight": {"seconds": 1.0, "kills": []}, "killed": {"seconds": 2.0, "kills": [hit]}}
    shown = page({
        "equal": False, "seconds": 9, "cores": 2, "cpu": "a cpu", "commit": "abc+", "settings": {"seed": 1},
        "writes": {}, "runs": runs, "tables": {"straight": straight, "killed": killed},
    })  # fmt: skip
    for row, value in straight.items():
        mark = "   <- wrong" if row == "effects_lost" else ""
        assert row == "wrong" or f"  {row.replace('_', ' '):<26}{value:>10}{value:>10}{mark}\n" in f"{shown}\n", row
    assert "Commit abc+; a cpu, 2 cores." in shown
    assert "| 1 | taskmanager-1 | tools | 3 | 9.5 |" in shown


def test_yardstick_page_has_every_row_that_may_be_wrong() -> None:
    """Whatever the checker finds, a reader of the page sees it."""
    tables = {"killed": {**dict.fromkeys(check.compare(equal()), 0), "wrong": []}}
    tables["killed"]["wrong"] = wrong = check.faults(tables["killed"], crashed=True) + list(check.WRONG)
    marked = [line.split("   <- ")[0].split() for line in table(tables).splitlines() if line.endswith("<- wrong")]
    assert {"_".join(words[:-1]) for words in marked} == set(wrong)


PLANTED: dict[str, tuple[str, Callable[[check.Run], Any]]] = {
    "a turn without a reply": ("turns_unanswered", lambda run: run.replies["t"].pop()),
    "a turn with two replies": ("turns_doubled", lambda run: run.replies["t"].append(run.replies["t"][0])),
    "a reply to a turn that is none": (
        "turns_doubled",
        lambda run: run.replies["t"].append({"turn": 9, "outputs": []}),
    ),
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
    "kills that hit nothing": ("repeated_by_crashes", lambda run: run.ledger.pop(2)),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_yardstick_planted_difference_is_seen(fault: str) -> None:
    """The row that names the difference is wrong."""
    row, plant = PLANTED[fault]
    run = equal()
    plant(run)
    assert row in check.faults(check.compare(run), crashed=True)


def test_yardstick_request_that_was_turned_away_is_not_repeated_by_a_crash() -> None:
    """A second request after a 409 is the first one's doing."""
    ledger = equal().ledger
    ledger.insert(1, {"kind": "answered", "key": "k0", "request": 0, "status": 409})
    assert check.requests(ledger) == {"requests": 3, "repeated_by_crashes": 0, "repeated_after_effect": 0}


@pytest.mark.parametrize(("crashed", "repeated"), [(True, 0), (False, 1)])
def test_yardstick_repeats_are_those_of_crashes(crashed: bool, repeated: int) -> None:
    """After kills there are some; without any, who asks again has no cause to."""
    run = equal()
    if not repeated:
        run.ledger.pop(2)
    compared = check.compare(run)
    assert compared["repeated_by_crashes"] == repeated
    assert check.faults(compared, crashed) == ["repeated_by_crashes"]
    assert check.faults(compared, not crashed) == []


class Late:
    """Replies and a ledger as they are at each look, half a second apart."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *looks: tuple[int, int]) -> None:
        self.looks, self.now_s = [*looks], 0.0
        monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: self.now_s, sleep=self.sleep))
        monkeypatch.setattr(run.reading, "whole_topic", lambda *_: [SimpleNamespace(key=b"p.t")] * self.seen[0])

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    @property
    def seen(self) -> tuple[int, int]:
        return self.looks[min(int(self.now_s / 0.5) - 1, len(self.looks) - 1)]

    def stat(self) -> Any:
        return SimpleNamespace(st_size=self.seen[1])

    def wait(self) -> tuple[int, float]:
        return run.wait_replies(Settings(), "p.", 2, self)  # type: ignore[arg-type]


def test_yardstick_waits_for_what_comes_after_the_last_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """A doubled reply and a repeated request are seen if they come within a moment of what is wanted."""
    late = Late(monkeypatch, (1, 1), (2, 2), *[(2, 2)] * 8, *[(2, 3)] * 8, (3, 3))
    assert late.wait() == (3, 9.5)
    assert run.QUIET_S <= late.now_s - 9.5 <= run.QUIET_S + 1


def test_yardstick_gives_up_where_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """With less than is wanted, after a long while."""
    late = Late(monkeypatch, (1, 1))
    assert late.wait() == (1, 0.5)
    assert run.STALLED_S <= late.now_s <= run.STALLED_S + 2
