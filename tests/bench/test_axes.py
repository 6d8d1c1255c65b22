# SPDX-License-Identifier: Apache-2.0
"""The points of the curves: which there are, what they send, how long they may take."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import pytest

from bench.axes import (
    AXES,
    PAYLOAD_BYTES_MAX,
    SLACK_S,
    Point,
    _payload_of,
    picks,
    plan,
)
from threadlog.limits import Limits


def xs(axis: str, long: bool = False) -> list[int | str]:
    return [point.x for point in plan((axis,), 20, long) if not point.again]


def test_plan_has_the_points_of_every_axis() -> None:
    """From a hundred threads to a hundred thousand, and so on."""
    assert {axis: xs(axis) for axis in AXES} == {
        "threads": [100, 1_000, 10_000, 100_000],
        "history": [10, 100, 1_000, 10_000],
        "payload": [100, 1_000, 10_000, 100_000],
        "skew": ["uniform", "zipf", "hot"],
        "waiting": [0, 10, 100, 1_000, 10_000],
        "checkpoint": [100, 200, 1_000, 10_000],
    }


def test_plan_has_a_million_threads_only_when_told() -> None:
    """They take a quarter of an hour."""
    assert xs("threads", long=True) == [*xs("threads"), 1_000_000]


def test_plan_has_only_the_axes_that_were_asked_for() -> None:
    """In the order of the page, whatever the order on the command line."""
    assert [point.axis for point in plan(("skew", "threads"), 20)] == ["threads"] * 5 + ["skew"] * 4


def test_plan_ends_a_stack_with_its_first_point_again() -> None:
    """So a reader sees how far equal points differ. A stack with one point has nothing to compare it with."""
    again = {point.axis: point for point in plan(AXES, 20) if point.again}
    assert again.keys() == set(AXES) - {"checkpoint"}
    for axis, point in again.items():
        points = plan((axis,), 20)
        assert points[-1] == point == replace(points[0], again=True)


def test_plan_has_a_stack_for_each_axis_and_each_interval() -> None:
    """What another axis has left in RocksDB would be measured as well. A stack is started once."""
    stacks = [point.stack for point in plan(AXES, 20)]
    assert sum(one != other for one, other in pairwise(stacks)) + 1 == len(set(stacks)) == 5 + 4


def test_plan_gives_no_thread_to_two_points() -> None:
    """A point begins with threads that nobody has touched."""
    names = [f"{point.name}-" for point in plan(AXES, 20, long=True)]
    assert [one for one in names if any(other != one and other.startswith(one) for other in names)] == []
    assert len(set(names)) == len(names)


def test_no_turn_that_is_measured_is_the_first_of_its_thread() -> None:
    """It would load no state. Where there are more threads, more of what is measured would be such turns."""
    for point in plan(AXES, 20, long=True):
        before = Counter(thread for thread, _, data in islice(point.before(), 300_000) if "say" in data["text"])
        assert min(before.values()) >= 1, point
        assert point.history == 1 or point.axis == "history"
        assert point.threads > 100_000 or before.keys() >= {thread for thread, _, _ in islice(point.events(1), 2_000)}


def test_what_must_be_there_before_fits_its_bound() -> None:
    """A million threads at 400 a second, and 1,000 of 100 kB at the megabyte a second that a slow machine writes."""
    bounds = {(p.axis, p.x): p.before_bound_s for p in plan(("threads", "payload"), 20, long=True)}
    assert bounds["threads", 1_000_000] == 2_500 + 100 + SLACK_S
    assert bounds["payload", 100_000] == 2.5 + 100 + SLACK_S


def test_a_million_threads_are_measured_on_some_that_are_cold() -> None:
    """Ten times as many as the job keeps, each once; all of them would say the same and take a quarter of an hour."""
    point = next(point for point in plan(("threads",), 20, long=True) if point.x == 1_000_000)
    assert (point.turns_min, point.threads, point.bound_s) == (100_000, 1_000_000, 40 + 250 + 12.5 + SLACK_S)


def test_point_of_the_threads_axis_reaches_each_thread() -> None:
    """As many turns as there are threads, each thread once before any of them twice."""
    point = next(point for point in plan(("threads",), 1) if point.x == 1_000)
    threads = [thread for thread, _, _ in islice(point.events(1), point.turns_min)]
    assert len(set(threads)) == point.threads == 1_000


def test_point_of_the_history_axis_measures_where_it_says() -> None:
    """At most half as many messages again, or ten, are measured on a thread."""
    points = [point for point in plan(("history",), 600) if not point.again]
    assert [p.turns_max // p.threads for p in points] == [10, 50, 500, 5_000]
    assert [Counter(t for t, _, _ in p.before()).most_common(1)[0][1] for p in points[:2]] == [10, 100]


def test_point_sends_text_of_as_many_bytes_as_it_says() -> None:
    """The payload axis is about these."""
    for point in plan(("payload",), 20):
        _, _, data = next(point.events(1))
        assert len(data["text"].encode()) == point.x == point.payload_bytes


def test_payload_over_the_limit_is_the_largest_allowed_and_says_so() -> None:
    """The product would refuse the event, and refusals would be measured."""
    point = _payload_of(Limits().event_bytes + 1, 20)
    assert point.payload_bytes == point.x == PAYLOAD_BYTES_MAX < Limits().event_bytes
    assert "262,145 bytes are over" in point.note


def test_calls_outlast_what_is_measured_meanwhile() -> None:
    """Else the last turns would be measured without them."""
    assert all(p.call_s > p.seconds + p.calls / 500 for p in plan(("waiting",), 30))
    assert all(p.call_s >= 60 for p in plan(("waiting",), 5))


def test_calls_are_asked_for_once_each_and_on_threads_of_their_own() -> None:
    """As many as the axis says."""
    point = Point("waiting", 3, 5, calls=3, threads=2, history=0)
    asked, said = list(point.before()), list(islice(point.events(1), 10))
    assert [data["text"] for _, _, data in asked] == ["look:60.0"] * 3
    assert len({thread for thread, _, _ in asked}) == 3
    assert {thread for thread, _, _ in asked} & {thread for thread, _, _ in said} == set()


def test_point_has_a_bound_that_its_turns_fit() -> None:
    """A hundred thousand threads are not over within the seconds of a hundred."""
    few, many = Point("threads", 1, 20, turns_min=100), Point("threads", 1, 20, turns_min=100_000)
    assert (few.bound_s, many.bound_s) == (40 + 0.25 + 12.5 + SLACK_S, 40 + 250 + 12.5 + SLACK_S)


def test_bound_leaves_time_for_what_is_out_in_the_end() -> None:
    """At 10 s between checkpoints 90,000 events are out: a warm-up of 20 s was given up with 70 s gone."""
    assert Point("warm", "up", 20, threads=2_000, interval_ms=10_000).bound_s == 40 + 225 + SLACK_S


def test_in_flight_covers_three_checkpoints_and_no_more_than_the_memory() -> None:
    """Entries come back with the checkpoint: with too few events out the job would wait for the sender."""
    assert [Point("a", 1, 1).in_flight(ms) for ms in (200, 10_000)] == [5_000, 90_000]
    assert Point("a", 1, 1, payload_bytes=100_000).in_flight(200) == 640


def test_zipf_is_reproducible() -> None:
    """The same seed, the same threads; another seed, others."""
    one, again, other = (list(islice(picks("zipf", 10_000, seed), 2_000)) for seed in ("1", "1", "2"))
    assert one == again != other


def test_zipf_gives_ranks_their_shares() -> None:
    """With exponent 1.1 over 10,000 threads the first gets 15 %, the second 7 %, the first hundred 65 %."""
    drawn = Counter(islice(picks("zipf", 10_000, "1"), 50_000))
    first_hundred = sum(count for thread, count in drawn.items() if thread < 100)
    assert drawn[0] / 50_000 == pytest.approx(0.1511, abs=0.01)
    assert drawn[1] / 50_000 == pytest.approx(0.0705, abs=0.01)
    assert first_hundred / 50_000 == pytest.approx(0.65, abs=0.02)


def test_spreads_stay_within_the_threads() -> None:
    """In turn reaches all, hot one, the drawn ones nobody else."""
    drawn = {spread: set(islice(picks(spread, 50, "1"), 5_000)) for spread in ("in turn", "uniform", "zipf", "hot")}
    assert drawn == {"in turn": set(range(50)), "uniform": set(range(50)), "zipf": set(range(50)), "hot": {0}}


def test_an_unknown_spread_is_an_error() -> None:
    """It would otherwise be measured as another."""
    with pytest.raises(ValueError, match="no spread is called 'normal'"):
        next(picks("normal", 1, "1"))
