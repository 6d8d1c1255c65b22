# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.waiting`: what it costs that calls are out. CPU of every process of the stack, against idling.

    calls, idle ─► idle ─► calls out ─► idle ─► calls out ─► idle
    not measured   a window each; n with calls have n + 1 idle ones around them

What a window with calls takes over idling is told against the mean of its two neighbours: for a while after its calls
the stack is not idle yet, and a machine is not equally fast all the time. The first idle window of a stack is dropped:
after its start it took half as much again as the others. That calls are begun and answered is left out: what waits is
measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import click

from bench.figures import Figure
from bench.live import ASK
from bench.rounds import check_done
from bench.session import Session, options, session
from ops.context import Trouble
from threadlog.entry import Entry

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


def call_s(calls: int) -> float:
    """How long each of so many calls takes, so that all of them are out during a window."""
    return WINDOW_S + FIRED_S + 5 + A_CALL_S * calls


def _while_waiting(run: Session, calls: int, prefix: str, checked: bool = True) -> float:
    """Cores while so many calls wait. Raises Trouble where one has not ended well or, when it is to be `checked`, has
    begun late or ended early."""
    takes_s, sent = call_s(calls), time.monotonic()
    with run.journal() as follower:
        run.send((f"{prefix}-{n}", ASK, {"text": f"look:{takes_s}", "data": "{}"}) for n in range(calls))
        follower.wait(calls)
        time.sleep(FIRED_S)
        began, cores, ended = time.time(), _cores(run), time.time()
        time.sleep(max(0.0, sent + takes_s - time.monotonic()))
        follower.wait(2 * calls)
        entries = [entry for _, entry in run.entries(follower)]
    check_done(run.codec, entries, calls)
    if checked and (wrong := not_out(entries, takes_s, began, ended)):
        raise Trouble(f"Of {calls} calls {wrong}.", "This machine needs longer calls, or more time until all are out.")
    time.sleep(SETTLE_S)
    return cores


def not_out(entries: Iterable[Entry], call_s: float, began_s: float, ended_s: float) -> str:
    """How many calls were not out all the time from `began_s` to `ended_s` (the clock's time), by the append of their
    results and what each takes by itself; empty where all were."""
    results_s = [entry.input.log_time_ms / 1000 for entry in entries if entry.kind == "result"]
    late, early = sum(at - call_s > began_s for at in results_s), sum(at < ended_s for at in results_s)
    return " and ".join(
        f"{count} {what}" for count, what in ((late, "began within the window"), (early, "ended within it")) if count
    )


def over_idle(out: Sequence[float], idle: Sequence[float]) -> list[float]:
    """What each window with calls takes more than its two neighbours do on average; `idle` has one more than `out`."""
    return [cores - (before + after) / 2 for cores, before, after in zip(out, idle[:-1], idle[1:], strict=True)]


@click.command()
@click.option("--calls", type=click.IntRange(1), multiple=True, default=(1_000,), show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@options
def main(**given: Any) -> None:
    """Measure the CPU that waiting calls cost."""
    with session(given, APP, JOBS) as run:
        _while_waiting(run, max(given["calls"]), "warm", checked=False)  # a job that is cold begins its calls late
        _cores(run)
        found, idle = list[Figure](), [_cores(run)]
        for calls in given["calls"]:
            out, since = list[float](), len(idle) - 1
            for number in range(given["rounds"]):
                out.append(_while_waiting(run, calls, f"{calls}-{number}"))
                idle.append(_cores(run))
            over = [100 * cores for cores in over_idle(out, idle[since:])]
            found.append(Figure(f"waiting.{calls}_calls.over_idle", "% of a core", over))
        found.insert(0, Figure("waiting.idle", "% of a core", [100 * cores for cores in idle]))
        run.report("waiting", found, window_s=WINDOW_S, call_s={str(calls): call_s(calls) for calls in given["calls"]})


if __name__ == "__main__":
    main()
