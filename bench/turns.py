# SPDX-License-Identifier: Apache-2.0
"""Turns of threads that go in step, and what each of them costs; windows of two kinds that alternate.

The machine does not run equally fast all the time, and Java compiles for minutes. So what is compared is measured side
by side: a window of the one, a window of the other, then the other first; a ratio is of two neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import click

from bench.figures import Figure
from bench.rounds import EDGE
from bench.session import Session

NOTE = {"text": "A note of about as many words as people write.", "data": "{}"}
SETTLE_S = 1.0  # what the last checkpoint still costs is not the next window's
Window = Callable[[int], float]  # of a round's number: ms a turn


def take_turns(
    run: Session, names: Sequence[str], kind: str, messages: int, note: dict[str, str] = NOTE
) -> list[float]:
    """Send so many messages to each of these threads, in turn; when their entries were appended, in order."""
    with run.journal() as follower:
        run.send((name, kind, note) for _ in range(messages) for name in names)
        follower.wait(messages * len(names))
        return sorted(one.at_s for one in follower.seen)


def ms_per_turn(run: Session, names: Sequence[str], kind: str, messages: int) -> float:
    """Take so many turns of each of these threads: CPU of the job's TaskManager a turn, over their middle."""
    at = take_turns(run, names, kind, messages)
    time.sleep(SETTLE_S)
    begin, end = at[int(EDGE * len(at))], at[int((1 - EDGE) * len(at))]
    return 1000 * run.meter.used_s(run.hosts["conversation"], begin, end) / sum(begin < one <= end for one in at)


def alternated(rounds: int, one: Window, other: Window) -> list[tuple[float, float]]:
    """A window of each a round, every second round the other way about."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            second = other(number)
            first = one(number)
        else:
            first = one(number)
            second = other(number)
        click.echo(f"  round {number + 1}: {first:.3f} and {second:.3f} ms a turn")
        pairs.append((first, second))
    return pairs


def compared(name: str, labels: tuple[str, str], pairs: list[tuple[float, float]]) -> list[Figure]:
    """What a turn of each kind cost, and what of the second cost over the first, pair by pair."""
    first, second = labels
    return [
        Figure(f"{name}.{first}", "ms", [one for one, _ in pairs]),
        Figure(f"{name}.{second}", "ms", [other for _, other in pairs]),
        Figure(f"{name}.ratio", f"{second}/{first}", [other / one for one, other in pairs]),
    ]
