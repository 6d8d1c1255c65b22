# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.threads`: a turn on 100,000 threads beside one on 1,000.

Once the many are made, windows of both alternate on one stack: messages 2 to 11 of each of 1,000 threads, message 2 of
each of the next 10,000 of the many. So a turn of the many finds its thread cold, neither live nor decoded, and one of
the few finds it warm, with as much keyed state below. The same few are measured before the many are there as well:
earlier, so with more of Java's compiling in it. A turn is an event with its reply, as in the cost curves.
"""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

import click

from bench.figures import Figure
from bench.live import ASK
from bench.session import Session, options, session
from bench.turns import alternated, compared, ms_per_turn, take_turns
from ops.context import Trouble

APP, JOBS = "bench.live:app", ("conversation",)
MESSAGES = 10  # of the few in a window; of the many one, on ten times as many threads


def _few(run: Session, few: int, prefix: str) -> list[str]:
    """So many threads that have had a message each, as the many have."""
    names = [f"{prefix}-{n}" for n in range(few)]
    take_turns(run, names, ASK, 1)
    return names


@click.command()
@click.option("--few", type=click.IntRange(100), default=1_000, show_default=True)
@click.option("--many", type=click.IntRange(1_000), default=100_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=7, show_default=True)
@options
def main(**given: Any) -> None:
    """Measure what the number of threads does to the cost of a turn."""
    few, many, rounds = given["few"], given["many"], given["rounds"]
    if many < few * MESSAGES * rounds:
        raise Trouble("A thread of the many would be measured twice.", "Give more of them, or fewer --rounds.")
    with session(given, APP, JOBS) as run:
        take_turns(run, [f"warm-{n}" for n in range(2_000)], ASK, 40)
        alone = [ms_per_turn(run, _few(run, few, f"alone-{n}"), ASK, MESSAGES) for n in range(rounds)]
        names = [f"many-{n}" for n in range(many)]
        take_turns(run, names, ASK, 1)
        turn = cycle(names)
        fews = [_few(run, few, f"few-{number}") for number in range(rounds)]
        pairs = alternated(
            rounds,
            lambda number: ms_per_turn(run, fews[number], ASK, MESSAGES),
            lambda number: ms_per_turn(run, list(islice(turn, few * MESSAGES)), ASK, 1),
        )
        found = compared("threads", (f"on_{few}", f"on_{many}"), pairs)
        found.append(Figure(f"threads.on_{few}_alone", "ms", alone))
        over = [many_ms / alone_ms for (_, many_ms), alone_ms in zip(pairs, alone, strict=True)]
        found.append(Figure("threads.ratio_to_alone", f"on_{many}/on_{few}_alone", over))
        run.report("threads", found, few=few, many=many, window_turns=few * MESSAGES)


if __name__ == "__main__":
    main()
