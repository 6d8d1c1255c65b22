# SPDX-License-Identifier: Apache-2.0
"""A JobManager tidies up behind a job that has ended, and must not be ended while it does.

It writes the job's result into a file, removes what ZooKeeper holds of the job, and removes the file, all within some
tenths of a second. Of what lies there in between Flink 2.3 makes nothing: the next JobManager finds a result without
what belongs to it, and ends itself, as does each one after it."""

from __future__ import annotations

import time

from ops.stack.layout import Layout

WITHIN_S = 10.0


def is_tidy(layout: Layout) -> bool:
    """Whether the JobManager has nothing left to do for jobs that have ended."""
    return next(layout.state.glob("flink/ha/*-result-store/*/*_DIRTY.json"), None) is None


def wait_tidy(layout: Layout, within_s: float = WITHIN_S) -> bool:
    """Wait until it is so; False where it takes longer."""
    until = time.monotonic() + within_s
    while not is_tidy(layout):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
