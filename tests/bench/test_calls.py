# SPDX-License-Identifier: Apache-2.0
"""What the benches make of calls: that they were out when they should be, that they ended well, and what they cost."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from bench import waiting
from bench.figures import Figure
from bench.floors import FLOORS
from bench.rounds import check_done
from bench.waiting import call_s, not_out, over_idle
from ops.context import Trouble


def entry(thread: str, at_s: float, kind: str = "result", status: str = "done") -> Any:
    """An entry of an input that was appended then; its value stands for its status."""
    return SimpleNamespace(
        thread=thread, kind=kind, input=SimpleNamespace(log_time_ms=round(1000 * at_s), value=status)
    )


CODEC: Any = SimpleNamespace(decode=lambda value: ("threadlog.ToolResult", 1, {"status": value}))


def test_over_idle_is_against_the_mean_of_both_neighbours() -> None:
    """A machine that gets slower all the time does not look like calls that cost something."""
    assert over_idle([0.65, 0.75], [0.6, 0.7, 0.8]) == pytest.approx([0, 0])
    assert over_idle([0.9], [0.5, 0.6]) == pytest.approx([0.35])


def test_over_idle_needs_an_idle_window_on_each_side() -> None:
    """Neighbours that are missing are not made up."""
    with pytest.raises(ValueError):
        over_idle([0.9, 0.9], [0.5, 0.6])


@pytest.mark.parametrize(
    ("results_s", "said"),
    [
        ((160, 165), ""),  # calls of 60 s, of which the last began as the window did
        ((155, 166), "1 began within the window"),
        ((140, 119), "1 ended within it"),
        ((166, 119), "1 began within the window and 1 ended within it"),
    ],
)
def test_calls_are_out_from_the_beginning_of_a_window_to_its_end(results_s: tuple[float, ...], said: str) -> None:
    """A window from 105 to 120; what the calls' events say is another matter."""
    entries = [entry(f"t-{n}", at) for n, at in enumerate(results_s)]
    assert not_out([*entries, entry("t-0", 110, "event")], 60, 105, 120) == said


def test_waiting_drops_the_first_idle_window_and_tells_how_long_calls_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that has just started is not idle, and 36 s are not 10."""
    told: dict[str, Any] = {}

    def report(name: str, found: list[Figure], **conditions: Any) -> None:
        told.update({figure.name: figure.runs for figure in found}, **conditions)

    idle = iter([0.9, 0.5, 0.6, 0.5])
    monkeypatch.setattr(waiting, "session", lambda *_: nullcontext(SimpleNamespace(report=report)))
    monkeypatch.setattr(waiting, "_cores", lambda run: next(idle))
    monkeypatch.setattr(waiting, "_while_waiting", lambda run, calls, prefix, checked=True: 0.6)
    waiting.main.main(["--rounds", "2"], standalone_mode=False)
    assert told["waiting.idle"] == pytest.approx([50, 60, 50])
    assert told["waiting.1000_calls.over_idle"] == pytest.approx([5, 5])
    assert told["call_s"] == {"1000": 36}


def test_the_floor_of_waiting_calls_says_how_long_they_are() -> None:
    """Their beginning and their answers are not in it."""
    (floor,) = (floor for floor in FLOORS if floor.figure == "waiting.1000_calls.over_idle")
    assert f"calls of {call_s(1_000):g} s wait" in floor.what


def test_calls_that_are_done_are_fine() -> None:
    """One a thread, whatever else the journal has."""
    check_done(CODEC, [entry("t-1", 0, "event"), entry("t-1", 1), entry("t-2", 1)], 2)


@pytest.mark.parametrize(
    "entries",
    [
        [entry("t-1", 0)],
        [entry("t-1", 0), entry("t-1", 0)],
        [entry("t-1", 0), entry("t-2", 0, status="failed")],
        [entry("t-1", 0), entry("t-2", 0, "timer")],
        [entry("t-1", 0), entry("t-2", 0), entry("t-3", 0)],
    ],
)
def test_calls_that_are_not_done_are_trouble(entries: list[Any]) -> None:
    """A call that failed at once would be a fast one."""
    with pytest.raises(Trouble, match="All of 2 calls should be done"):
        check_done(CODEC, entries, 2)
