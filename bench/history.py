# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.history`: a turn at message 1,000 of a thread beside one at message 10.

Once as many short runs, once as one long run that takes note after note. One set of threads is brought to message 990;
then windows of it alternate with windows of new threads, so that both are measured on the same stack at the same time.
The long run's live coroutine is a cache; what a turn costs when it was evicted and the run is executed again is
measured on the engine alone, in this process.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import click

from bench.figures import Figure
from bench.live import ASK, MORE, app
from bench.session import Session, options, session
from bench.turns import NOTE, alternated, compared, ms_per_turn, take_turns
from threadlog.engine import follow, step
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.state import new_state

APP, JOBS = "bench.live:app", ("conversation",)
BEFORE, LATE_AT, WINDOW = 5, 990, 20  # messages: of a new thread before its window, of an old one, of a window
EARLY, LATE = range(BEFORE, BEFORE + WINDOW), range(LATE_AT, LATE_AT + WINDOW)
LISTEN = {"text": "listen", "data": "{}"}
LABELS = ("at_10", "at_1000")


def _pairs(run: Session, threads: int, long_run: bool, rounds: int, prefix: str) -> list[tuple[float, float]]:
    """CPU a turn (ms) at the early and at the late messages, round by round."""
    kind = MORE if long_run else ASK

    def begin(name: str, messages: int) -> list[str]:
        names = [f"{prefix}-{name}-{n}" for n in range(threads)]
        if long_run:
            take_turns(run, names, ASK, 1, LISTEN)
        take_turns(run, names, kind, messages)
        return names

    old = begin("old", LATE_AT)
    young = [begin(f"young-{number}", BEFORE) for number in range(rounds)]
    return alternated(
        rounds,
        lambda number: ms_per_turn(run, young[number], kind, WINDOW),
        lambda number: ms_per_turn(run, old, kind, WINDOW),
    )


def _evicted_ms() -> tuple[float, float]:
    """A turn of the long run in which it is executed again from its start, on the engine alone: early and late."""
    state, limits, spent = new_state("t"), Limits(), []
    live = LiveRuns()
    for number in itertools.count():
        last = number >= LATE.stop
        kind, data = (ASK, LISTEN) if number == 0 else (MORE, NOTE)
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
@click.option("--threads", type=click.IntRange(10), default=200, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=7, show_default=True)
@options
def main(**given: Any) -> None:
    """Measure what a turn costs late in a conversation."""
    found, rounds = list[Figure](), given["rounds"]
    with session(given, APP, JOBS) as run:
        take_turns(run, [f"warm-{n}" for n in range(2_000)], ASK, 40)
        for name, long_run in (("short_runs", False), ("long_run", True)):
            pairs = _pairs(run, given["threads"], long_run, rounds, name)
            found += compared(f"history.{name}", LABELS, pairs)
        evicted = [_evicted_ms() for _ in range(rounds)]
        found += compared("history.long_run_evicted", LABELS, evicted)
        run.report(
            "history", found, threads=given["threads"], window_messages=WINDOW, early_from=EARLY.start,
            late_from=LATE.start, late_to=LATE.start + rounds * WINDOW, evicted="the engine alone, ms of CPU",
        )  # fmt: skip


if __name__ == "__main__":
    main()
