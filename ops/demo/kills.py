# SPDX-License-Identifier: Apache-2.0
"""The demo's kills: each waits until it would hit something, and each ends when everything runs again.

The order matters. Where the subtasks run is asked first; then only the ledger is watched, so that nothing lies between
the count that decides and the signal; then it is counted again, and what the second count says is what is told."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from ops import http
from ops.context import Trouble
from ops.demo.payments import Payments
from ops.demo.victims import UNANSWERED, Watch, subtasks
from ops.settings import Settings
from ops.stack import flink, processes
from ops.stack.layout import Layout

HIT_S = 30
RECOVERY_S = 60
ABSENCE_S = 0.5
NEXT = "Read `threadlog logs jobmanager`."


@dataclass(frozen=True)
class Kill:
    """One SIGKILL. `unanswered` refunds were with its victim; times are Unix epoch in milliseconds.

    at_ms, noticed_ms, running_ms: the signal; when the loss was noticed, or the service started; all runs again."""

    killed: str
    job: str
    subtask: int
    unanswered: int
    at_ms: int
    noticed_ms: int
    running_ms: int

    @property
    def hit(self) -> bool:
        """Whether it hit as many unanswered refunds as a kill of the demo must."""
        return self.unanswered >= UNANSWERED


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _wait_open(watch: Watch, count: Callable[[], int]) -> None:
    """Wait until enough refunds are open. Raises Trouble when they never are."""
    until = time.monotonic() + HIT_S
    watch.look()
    while count() < UNANSWERED:
        if time.monotonic() > until:
            raise Trouble(
                f"Nothing to kill: {count()} refunds are unanswered after {HIT_S} s, {UNANSWERED} are needed.",
                "Send more conversations, or ask for fewer kills.",
            )
        time.sleep(0.02)
        watch.look()


def _restarted_ms(settings: Settings, kind: str) -> int:
    """When the job last began to restart; 0 for never."""
    job = flink.live_jobs(settings)[kind]
    return int(http.call(f"{settings.flink_rest}/jobs/{job.id}")["timestamps"]["RESTARTING"])


def _wait_whole(settings: Settings, until: float) -> None:
    """Wait until every TaskManager is registered, so that the next kill finds a spare."""
    while len(http.call(f"{settings.flink_rest}/taskmanagers")["taskmanagers"]) < settings.taskmanagers:
        if time.monotonic() > until:
            raise Trouble(f"A killed TaskManager was not back after {RECOVERY_S} s.", NEXT)
        time.sleep(0.1)


def _wait_recovered(settings: Settings, kind: str, before_ms: int) -> tuple[int, int]:
    """Wait until the loss was noticed and all runs again; when that was. Raises Trouble when it takes too long."""
    until = time.monotonic() + RECOVERY_S
    while (noticed_ms := _restarted_ms(settings, kind)) == before_ms:
        if time.monotonic() > until:
            raise Trouble(f"Flink had not noticed the kill after {RECOVERY_S} s.", NEXT)
        time.sleep(0.1)
    if waiting := flink.wait_running(settings, list(flink.JOBS), until - time.monotonic()):
        raise Trouble(f"{' and '.join(waiting)} did not recover in {RECOVERY_S} s.", NEXT)
    running_ms = _now_ms()
    _wait_whole(settings, until)
    return noticed_ms, running_ms


def kill_host(settings: Settings, kind: str, watch: Watch) -> Kill:
    """SIGKILL the TaskManager whose subtask of this job holds the most unanswered refunds."""
    where, before_ms = subtasks(settings, kind), _restarted_ms(settings, kind)
    parts = {name: processes.read(Layout(settings.state_dir), name) for name in where.hosts.values()}
    _wait_open(watch, lambda: where.holding(watch)[1])
    subtask, _ = where.holding(watch)
    victim = parts[where.hosts[subtask]]
    if victim is None or not victim.alive():
        raise Trouble(f"{where.hosts[subtask]}, where the {kind} job runs, is no process of this stack.", NEXT)
    processes.send(victim, signal.SIGKILL)
    at_ms = _now_ms()
    watch.look()
    unanswered = where.held(subtask, watch)
    return Kill(victim.name, kind, subtask, unanswered, at_ms, *_wait_recovered(settings, kind, before_ms))


def kill_payments(payments: Payments, watch: Watch) -> Kill:
    """SIGKILL the payment service, and start it again after a moment of absence."""
    _wait_open(watch, lambda: len(watch.open))
    payments.kill()
    at_ms = _now_ms()
    watch.look()
    unanswered = len(watch.open)
    time.sleep(ABSENCE_S)
    noticed_ms = _now_ms()
    payments.start()
    return Kill("payments", "payments", 0, unanswered, at_ms, noticed_ms, _now_ms())
