# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.history`: a turn at message 1,000 of a thread beside one at message 10.

Once as many short runs, once as one long run that takes note after note. One set of threads is made old; then windows
of 20 messages of it alternate with windows of new threads: both are measured on the same stack at the same time. Both
are found warm, decoded and live, for they are fewer than the job keeps.

Of a message comes one entry, and with every 500th a thread writes a snapshot, in both kinds of run (the period doubles
where a thread remembers more than 2,000 events). So the old threads are not of one age: they stand evenly over 500
messages, from 740 on, and every window has one turn of 500 with a snapshot in it, as a conversation has on average. The
first window is of messages 740 to 1,260, 1,000 on average; each further one is 20 messages later.

The long run's live coroutine is a cache; what a turn costs when it was evicted and the run is executed again is
measured on the engine alone, in this process: messages 990 to 1,010, one of them with a snapshot. `--alone` measures
only that.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import click

from bench.figures import Figure, table
from bench.live import ASK, MORE, app
from bench.readings import state_bytes
from bench.session import Session, options, session
from bench.turns import NOTE, alternated, compared, ms_per_turn, take_turns
from threadlog.engine import follow, step
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.state import new_state

APP, JOBS = "bench.live:app", ("conversation",)
BEFORE, LATE_AT, WINDOW = 5, 990, 20  # messages: of a new thread before its window, of an old one, of a window
SPREAD = Limits().snapshot_every_entries
OLD_FROM = LATE_AT - SPREAD // 2
EARLY, LATE = range(BEFORE, BEFORE + WINDOW), range(LATE_AT, LATE_AT + WINDOW)
LISTEN = {"text": "listen", "data": "{}"}
LABELS = ("at_10", "at_1000")


def ages(threads: int) -> list[int]:
    """How many messages each of the old threads has before its first window."""
    return [OLD_FROM + number * SPREAD // threads for number in range(threads)]


def in_turn(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    """The names in turn, each as often as it counts."""
    return [name for number in range(max(counts)) for name, count in zip(names, counts, strict=True) if number < count]


def aged(run: Session, prefix: str, counts: Sequence[int], long_run: bool = False) -> list[str]:
    """New threads that have had so many messages each; in a long run, besides the one that began it."""
    names = [f"{prefix}-{number}" for number in range(len(counts))]
    if long_run:
        take_turns(run, names, ASK, 1, LISTEN)
    take_turns(run, in_turn(names, counts), kind_of(long_run), 1)
    return names


def kind_of(long_run: bool) -> str:
    """The type of a message that goes to a run of this kind."""
    return MORE if long_run else ASK


def _pairs(run: Session, threads: int, long_run: bool, rounds: int, prefix: str) -> list[tuple[float, float]]:
    """CPU a turn (ms) at the early and at the late messages, round by round."""
    old = aged(run, f"{prefix}-old", ages(threads), long_run)
    young = [aged(run, f"{prefix}-young-{number}", [BEFORE] * threads, long_run) for number in range(rounds)]
    return alternated(
        rounds,
        lambda number: ms_per_turn(run, young[number], kind_of(long_run), WINDOW),
        lambda number: ms_per_turn(run, old, kind_of(long_run), WINDOW),
    )


def event(number: int, kind: str, data: dict[str, str]) -> Input:
    """A message of the one thread that the engine alone decides on."""
    now = 1_700_000_000_000 + number
    return Input(
        "event", "t", "agent-events", 0, number, now, now, source="/bench", id=str(number), type=kind, data=data
    )


def _evicted_ms() -> tuple[float, float]:
    """A turn of the long run in which it is executed again from its start, on the engine alone: early and late."""
    state, limits, spent = new_state("t"), Limits(), []
    live = LiveRuns()
    for number in itertools.count():
        last = number >= LATE.stop
        kind, data = (ASK, LISTEN) if number == 0 else (MORE, NOTE)
        came = event(number, kind, data)
        if number in EARLY or number in LATE:
            live.clear()
        began = time.thread_time()
        decision = step(state, came, app, limits, live)
        spent.append(1000 * (time.thread_time() - began))
        if decision is None or last:
            break
        state = follow(state, decision)
    return sum(spent[n] for n in EARLY) / len(EARLY), sum(spent[n] for n in LATE) / len(LATE)


def _evicted(rounds: int) -> list[Figure]:
    return compared("history.long_run_evicted", LABELS, [_evicted_ms() for _ in range(rounds)])


@click.command()
@click.option("--threads", type=click.IntRange(25), default=200, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=15, show_default=True)
@click.option("--alone", is_flag=True, help="Only the evicted run, for a profiler: no stack, and nothing is written.")
@options
def main(alone: bool, **given: Any) -> None:
    """Measure what a turn costs late in a conversation."""
    found, rounds = list[Figure](), given["rounds"]
    if alone:
        click.echo(table(_evicted(rounds)))
        return
    with session(given, APP, JOBS) as run:
        # To make the threads old takes 200,000 turns and more, by which time Java has compiled what is hot.
        for name, long_run in (("short_runs", False), ("long_run", True)):
            pairs = _pairs(run, given["threads"], long_run, rounds, name)
            found += compared(f"history.{name}", LABELS, pairs)
        found += _evicted(rounds)
        run.report(
            "history", found, threads=given["threads"], threads_in_state=2 * (1 + rounds) * given["threads"],
            state_bytes=state_bytes(run), window_messages=WINDOW, early_from=EARLY.start,
            late_from=OLD_FROM, late_to=max(ages(given["threads"])) + rounds * WINDOW,
            evicted=f"the engine alone, ms of CPU, messages {LATE.start} to {LATE.stop}",
        )  # fmt: skip


if __name__ == "__main__":
    main()
