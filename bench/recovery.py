# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.recovery`: how long until the next decision after the conversation's TaskManager was killed.

A spare TaskManager is there. Events come at a steady pace all the time, and a read_committed reader notes when it sees
new entries. The gap ends with the first entry that was written after the kill: what the killed process had written is
committed by its successor before that one can decide anything. Afterwards every event has one entry.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import click

from bench.figures import Figure
from bench.live import ASK
from bench.readings import state_bytes
from bench.session import Session, options, session
from ops import http
from ops.context import Trouble
from ops.stack import flink, processes
from ops.stack.layout import Layout

APP, JOBS = "bench.live:app", ("conversation", "tools")
BEFORE_S, AFTER_S, PACE_S, WELL_S = 3.0, 8.0, 0.01, 60.0  # a gap that is longer is told all the same
THREADS = 50  # of each kill; a state that is larger takes longer to load
# What the killed process had sent may be written a moment later.
DELIVERED_S = 0.2


def _kill(run: Session) -> None:
    name = flink.job_hosts(run.settings)["conversation"][0]
    process = processes.read(Layout(run.settings.state_dir), name)
    if process is None or not process.alive():
        raise Trouble(f"{name} does not run.", "Read the logs under the stack's folder.")
    processes.send(process, signal.SIGKILL)


def _wait_well(run: Session) -> None:
    """Until both jobs run, and a spare is there for the next kill."""
    until = time.monotonic() + WELL_S
    while time.monotonic() < until:
        managers = http.call(f"{run.settings.flink_rest}/taskmanagers")["taskmanagers"]
        if len(managers) >= run.settings.taskmanagers and not flink.wait_running(run.settings, list(flink.JOBS), 0):
            return
        time.sleep(0.2)
    raise Trouble(f"Not all was well {WELL_S:g} s after a kill.", "Read the logs under the stack's folder.")


def _gap_s(run: Session, prefix: str) -> float:
    """From one kill to the first entry written since. Raises Trouble where an event has no entry, or two."""
    stop, sent = threading.Event(), 0

    def traffic() -> None:
        nonlocal sent
        while not stop.wait(PACE_S):
            run.send([(f"{prefix}-{sent % THREADS}", ASK, {"text": "say", "data": "{}"})])
            sent += 1

    with run.journal() as follower:
        sender = threading.Thread(target=traffic, daemon=True)
        sender.start()
        time.sleep(BEFORE_S)
        _kill(run)
        killed = time.time()
        time.sleep(AFTER_S)
        stop.set()
        sender.join()
        follower.wait(sent)
        _wait_well(run)
        run.follow_restarts()
        if len(follower.seen) != sent:
            raise Trouble(f"{sent} events were sent, {len(follower.seen)} entries came.")
    return min(one.seen_s for one in follower.seen if one.at_s > killed + DELIVERED_S) - killed


@click.command()
@click.option("--kills", type=click.IntRange(1, 100), default=7, show_default=True)
@options
def main(**given: Any) -> None:
    """Measure the gap that a killed TaskManager leaves."""
    with session(given, APP, JOBS, spare=1) as run:
        _wait_well(run)
        _gap_s(run, "warm")
        gaps = [_gap_s(run, f"kill-{number}") for number in range(given["kills"])]
        run.report(
            "recovery", [Figure("recovery.gap", "s", gaps)], kills=given["kills"], events_per_s=1 / PACE_S,
            threads_per_kill=THREADS, threads=THREADS * (given["kills"] + 1), state_bytes=state_bytes(run),
        )  # fmt: skip


if __name__ == "__main__":
    main()
