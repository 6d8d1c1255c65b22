# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.history`: a turn at message 1,000 of a thread beside one at message 10.

Once as many short runs, once as one long run that takes note after note. All threads go in step, so the CPU of the
job's TaskManager between two message numbers is the cost of those turns. The long run's live coroutine is a cache; what
a turn costs when it was evicted and the run is executed again is measured on the engine alone, in this process.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import click

from bench.figures import Figure
from bench.live import ASK, MORE, app
from bench.session import Session, options, session
from threadlog.engine import follow, step
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.state import new_state

APP, JOBS = "bench.live:app", ("conversation",)
EARLY, LATE = range(10, 60), range(1_000, 1_050)  # numbers of messages on a thread
NOTE = {"text": "A note of about as many words as people write."}


def _ms_per_turn(run: Session, threads: int, kind: str, prefix: str, numbers: range) -> float:
    """CPU of the TaskManager per turn while these messages are handled."""
    names = [f"{prefix}-{n}" for n in range(threads)]
    with run.journal() as follower:
        run.send((name, kind, {**NOTE, "data": "{}"}) for _ in numbers for name in names)
        follower.wait(threads * len(numbers))
        at = sorted(one.at_s for one in follower.seen)
    time.sleep(1)  # what the last checkpoint still costs is not the next window's
    begin, end = at[len(at) // 10], at[len(at) * 9 // 10]
    return 1000 * run.meter.used_s(run.hosts["conversation"], begin, end) / sum(begin < one <= end for one in at)


def _late_over_early(run: Session, threads: int, long_run: bool, prefix: str) -> tuple[float, float]:
    """CPU a turn (ms) at the early and at the late messages."""
    if long_run:
        with run.journal() as follower:
            run.send((f"{prefix}-{n}", ASK, {"text": "listen", "data": "{}"}) for n in range(threads))
            follower.wait(threads)
    kind = MORE if long_run else ASK
    _ms_per_turn(run, threads, kind, prefix, range(1, EARLY.start))
    early = _ms_per_turn(run, threads, kind, prefix, EARLY)
    _ms_per_turn(run, threads, kind, prefix, range(EARLY.stop, LATE.start))
    return early, _ms_per_turn(run, threads, kind, prefix, LATE)


def _evicted_ms() -> tuple[float, float]:
    """A turn of the long run in which it is executed again from its start, on the engine alone: early and late."""
    state, limits, spent = new_state("t"), Limits(), []
    live = LiveRuns()
    for number in itertools.count():
        last = number >= LATE.stop
        kind, data = (ASK, {"text": "listen", "data": "{}"}) if number == 0 else (MORE, {**NOTE, "data": "{}"})
        now = 1_700_000_000_000 + number
        came = Input(
            "event", "t", "agent-events", 0, number, now, now, source="/bench", id=str(number), type=kind, data=data
        )
        if number in EARLY or number in LATE:
            live.clear()
        began = time.thread_time()
        decision = step(state, came, app, limits, live)
        spent.append(1000 * (time.thread_time() - began))
        if decision is None or last:
            break
        state = follow(state, decision)
    return sum(spent[n] for n in EARLY) / len(EARLY), sum(spent[n] for n in LATE) / len(LATE)


@click.command()
@click.option("--threads", type=click.IntRange(10), default=100, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@options
def main(**given: Any) -> None:
    """Measure what a turn costs late in a conversation."""
    found = []
    with session(given, APP, JOBS) as run:
        _ms_per_turn(run, 2_000, ASK, "warm", range(40))
        for name, long_run in (("short_runs", False), ("long_run", True)):
            pairs = [_late_over_early(run, given["threads"], long_run, f"{name}-{n}") for n in range(given["rounds"])]
            found.append(Figure(f"history.{name}.at_10", "ms", [early for early, _ in pairs]))
            found.append(Figure(f"history.{name}.at_1000", "ms", [late for _, late in pairs]))
            found.append(Figure(f"history.{name}.ratio", "late/early", [late / early for early, late in pairs]))
        evicted = [_evicted_ms() for _ in range(given["rounds"])]
        found.append(Figure("history.long_run_evicted.at_1000", "ms, engine alone", [late for _, late in evicted]))
        found.append(Figure("history.long_run_evicted.ratio", "late/early", [late / early for early, late in evicted]))
        run.report("history", found, threads=given["threads"], messages=LATE.stop)


if __name__ == "__main__":
    main()
