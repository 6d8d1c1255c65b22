# SPDX-License-Identifier: Apache-2.0
"""How long the two jobs are warmed up before they are compared, and what is told of their checkpoints."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench.conversation import WARM_BARE, WARM_WHOLE, measured, steady, warm_up
from bench.readings import Checkpoint, Checkpoints
from bench.rounds import Round, Window

# Of a run in which the bare job was measured after three rounds: it became faster by half in the third of these.
ONCE = [6_642.0, 6_625.0, 10_611.0, 10_448.0, 9_699.0]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((100, 105), False), ((100, 105, 109), True), ((100, 105, 111), False), ((50, 100, 105, 109), True)],
)
def test_a_job_is_steady_when_three_rounds_are_alike(rates: Any, expected: bool) -> None:
    """Two of them say little: they may be one of the steps on the way."""
    assert steady(rates) is expected


def rounds_of(rates: list[float]) -> tuple[Any, list[str]]:
    """A job with these rates, and the names of the rounds that were asked of it."""
    names: list[str] = []

    def one_round(name: str) -> Any:
        names.append(name)
        return SimpleNamespace(turns_per_s=rates[len(names) - 1])

    return one_round, names


def test_the_bare_job_is_warmed_up_past_a_step() -> None:
    """As it once was measured, it would have been taken for warm before."""
    job, names = rounds_of([5_000.0, 6_100.0, 6_400.0, *ONCE, 1.0])
    assert warm_up("bare", job, *WARM_BARE) == {"warm_ups_bare": 8, "steady_bare": True}
    assert names[0] == "warm-up-bare-1" and len(set(names)) == 8


def test_a_job_that_never_becomes_steady_is_measured_and_told_of() -> None:
    """It is bounded: some machines change all the time."""
    job, _ = rounds_of([1.0, 2.0] * 10)
    assert warm_up("whole", job, *WARM_WHOLE) == {"warm_ups_whole": 10, "steady_whole": False}


def test_the_whole_job_is_warmed_up_as_long_as_the_bare_one() -> None:
    """Rounds that are alike at the beginning say as little of it."""
    job, _ = rounds_of([1_000.0] * 3 + [1_500.0] * 5)
    assert warm_up("whole", job, *WARM_WHOLE) == {"warm_ups_whole": 6, "steady_whole": True}


def a_round(begin_s: float) -> Round:
    """Two windows of a second, with a second between them."""
    return Round([Window(1.0, 100, 1, 0.1, 0.1, 0, 1, begin_s + n) for n in (0, 2)], 200, 3, 1, 1)


def every(at_s: list[float]) -> Any:
    """What is told of checkpoints at these times in two rounds of three seconds."""
    checkpoints = Checkpoints(None, {n: Checkpoint(n, at, 0, 0, 0) for n, at in enumerate(at_s)})  # type: ignore[arg-type]
    pairs = [(a_round(0), a_round(100)), (a_round(0), a_round(200))]
    return {one.name: one.runs for one in measured(pairs, checkpoints)}.get("whole.checkpoint_every")


def test_checkpoints_are_told_as_they_were_taken() -> None:
    """Under load they come later than they are set to."""
    assert every([50, 100.5, 101.5, 102.5, 150, 200.5, 201, 201.5, 202, 202.5, 202.9]) == [1_000, pytest.approx(480)]
    assert every([100.1, 100.2, 200.1, 200.3]) == pytest.approx([100, 200])
    assert every([101, 201]) is None
