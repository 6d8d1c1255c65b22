# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.latency`: how long an event waits for its committed decision, and what a call costs beyond itself.

Events come one after the other, slowly, through both jobs. Times are the broker's: when it appended the event, and when
it appended the result of the call; a decision counts from when a read_committed reader could see it.

What a call costs beyond itself is one cycle without the call: event appended ─► its handler runs ─► the call is asked
for ─► the tool ─► its result appended. That is the cycle of an `await` as a whole: what goes on in a handler is a
result, which comes in by the same path as the event does here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from bench.figures import Figure, at_share
from bench.live import ASK
from bench.rounds import check_done, decision_ms
from bench.session import Session, options, session
from threadlog.entry import Entry

APP, JOBS = "bench.live:app", ("conversation", "tools")
CALL_S = 0.05
SPREAD = (("p50", 0.5), ("p99", 0.99))
Seen = tuple[float, Entry]


def _round(run: Session, plan: str, events: int, pause_s: float, prefix: str) -> list[Seen]:
    """Send the events one by one, and wait until each run has ended: the entries as they were seen.

    Raises Trouble where a call did not end as done."""
    entries_each = 1 if plan == "say" else 2
    with run.journal() as follower:
        for number in range(events):
            run.send([(f"{prefix}-{number}", ASK, {"text": plan, "data": "{}"})])
            time.sleep(pause_s)
        follower.wait(events * entries_each)
        seen = run.entries(follower)
    if plan != "say":
        check_done(run.codec, [entry for _, entry in seen], events)
    return seen


def _overhead_ms(seen: list[Seen]) -> list[float]:
    """From the append of the event to the append of the result, less what the call itself takes."""
    began = {entry.thread: entry.input.log_time_ms for _, entry in seen if entry.kind == "event"}
    ends = {entry.thread: entry.input.log_time_ms for _, entry in seen if entry.kind == "result"}
    return [ends[thread] - began[thread] - 1000 * CALL_S for thread in ends]


FIGURES: tuple[tuple[str, str, Callable[[list[Seen]], list[float]]], ...] = (
    ("event_to_decision", "say", decision_ms),
    ("read_call_overhead", f"look:{CALL_S}", _overhead_ms),
    ("effect_call_overhead", f"act:{CALL_S}", _overhead_ms),
)


@click.command()
@click.option("--events", type=click.IntRange(10), default=300, show_default=True, help="Of a round.")
@click.option("--pause-s", type=float, default=0.02, show_default=True, help="Between two events.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@options
def main(**given: Any) -> None:
    """Measure the latency of decisions and of calls."""
    with session(given, APP, JOBS) as run:
        for plan in ("say", f"look:{CALL_S}", f"act:{CALL_S}"):
            _round(run, plan, 10 * given["events"], 0.002, f"warm-{plan}")
        found = []
        for name, plan, measure in FIGURES:
            rounds = [
                measure(_round(run, plan, given["events"], given["pause_s"], f"{name}-{number}"))
                for number in range(given["rounds"])
            ]
            found += [
                Figure(f"latency.{name}.{label}", "ms", [at_share(share, values) for values in rounds])
                for label, share in SPREAD
            ]
        run.report("latency", found, events=given["events"], pause_s=given["pause_s"], call_s=CALL_S)


if __name__ == "__main__":
    main()
