# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.waiting`: what it costs that calls are out. CPU of every process of the stack, against idling.

Each window with calls has one without just before it: for a while after its calls the stack is not idle yet,
and a machine is not equally fast all the time.
"""

from __future__ import annotations

import time
from typing import Any

import click

from bench.figures import Figure
from bench.live import ASK
from bench.session import Session, options, session
from ops.context import Trouble

APP, JOBS = "bench.live:app", ("conversation", "tools")
# A window begins when the last call has been fired for a while, and ends before the first has its answer. A slow
# machine may take A_CALL_S for each of them.
WINDOW_S, FIRED_S, SETTLE_S, A_CALL_S = 10.0, 15.0, 20.0, 0.006


def _cores(run: Session) -> float:
    """Cores that the stack uses over the next window."""
    began = time.time()
    time.sleep(WINDOW_S)
    run.meter.read()
    ours = [name for name in run.meter.pids if name != "bench"]
    return sum(run.meter.used_s(name, began, began + WINDOW_S) for name in ours) / WINDOW_S


def _while_waiting(run: Session, calls: int, prefix: str) -> float:
    """Cores while so many calls wait, once all of them have begun. Raises Trouble where one has ended meanwhile."""
    call_s, began = WINDOW_S + FIRED_S + 5 + A_CALL_S * calls, time.monotonic()
    with run.journal() as follower:
        run.send((f"{prefix}-{n}", ASK, {"text": f"look:{call_s}", "data": "{}"}) for n in range(calls))
        follower.wait(calls)
        time.sleep(FIRED_S)
        cores = _cores(run)
        if ended := len(follower.seen) - calls:
            raise Trouble(f"{ended} of {calls} calls had ended within the window.", "This machine needs longer calls.")
        time.sleep(max(0.0, began + call_s - time.monotonic()))
        follower.wait(2 * calls)
    time.sleep(SETTLE_S)
    return cores


@click.command()
@click.option("--calls", type=click.IntRange(1), multiple=True, default=(1_000,), show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@options
def main(**given: Any) -> None:
    """Measure the CPU that waiting calls cost."""
    with session(given, APP, JOBS) as run:
        _while_waiting(run, max(given["calls"]), "warm")
        found, idle = list[Figure](), list[float]()
        for calls in given["calls"]:
            over = []
            for number in range(given["rounds"]):
                idle.append(_cores(run))
                over.append(100 * (_while_waiting(run, calls, f"{calls}-{number}") - idle[-1]))
            found.append(Figure(f"waiting.{calls}_calls.over_idle", "% of a core", over))
        found.insert(0, Figure("waiting.idle", "% of a core", [100 * cores for cores in idle]))
        run.report("waiting", found, window_s=WINDOW_S)


if __name__ == "__main__":
    main()
