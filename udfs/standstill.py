# SPDX-License-Identifier: Apache-2.0
"""A process that stood still has been given up, and must not go on.

Flink waits a few seconds for a TaskManager that is silent; then the job goes on elsewhere. One that was only stopped,
by a signal, a debugger or a container that was paused, wakes up with all that it had in hand. Flink cancels its tasks
soon, but not at once, and a sink that was about to begin its next transaction does so before, under a name that the
job has in use elsewhere by then. What was written there and not yet committed is lost, and no task fails. So a
process that finds that time has passed in which it used no CPU ends itself, before it does anything else.

This is a race, not a lock; and a machine that is suspended takes its clock with it. What slips through shows in the
journal (`threadlog watch`)."""

from __future__ import annotations

import os
import threading
import time
from functools import cache

from udfs.app_guard import EXIT_CODE

# Less than `heartbeat.timeout` in flink-conf, after which the JobManager gives a TaskManager up.
STILL_S = 2.5
# Of one core. A function that keeps the interpreter's lock for long uses all of it, and does not keep Flink from
# answering: that is no standstill.
CPU_SHARE_MAX = 0.1
LOOK_S = 0.1


@cache
def end_after_standstill() -> None:
    """See that this process ends as soon as it has stood still for too long. One thread serves all of its tasks."""
    threading.Thread(target=_look, name="threadlog-standstill", daemon=True).start()


def stood_still(passed_s: float, used_s: float) -> bool:
    """Whether a process that used so much CPU while so much time passed has stood still too long to go on."""
    return passed_s >= STILL_S and used_s < CPU_SHARE_MAX * passed_s


def _look() -> None:
    while True:
        passed, used = time.monotonic(), time.process_time()
        time.sleep(LOOK_S)
        passed, used = time.monotonic() - passed, time.process_time() - used
        if stood_still(passed, used):
            _end(f"threadlog: this process stood still for {passed:.1f} s and has been given up; it ends itself\n")


def _end(why: str) -> None:
    os.write(2, why.encode())
    os._exit(EXIT_CODE)
