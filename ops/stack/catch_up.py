# SPDX-License-Identifier: Apache-2.0
"""The wait for a catch-up: when its state holds all of the journal, and when it never will."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException

from ops import http
from ops.settings import Settings
from ops.stack import flink
from schemas.errors import WireError
from wire.journal import catch_up_group, left_behind

# A catch-up that does not come to run within this cannot run here; a rebuild may then take hours.
RUNNING_S = 90
POLL_S, ASK_S, TELL_S = 0.25, 1, 10
# Flink restarts what fails for ever, at most 5 s apart. A broker or a registry that restarts costs fewer attempts; and
# an attempt that lived for longer has left checkpoints, from which the next one goes on.
FAILURES_MAX, APART_MS = 10, 120_000
OTHER_HISTORY = "is not of this journal"
DELETED = "were deleted by retention"

Bounds = Mapping[int, tuple[int, int]]  # of each partition the first offset and the one after the last
Say = Callable[[str], None]


class SubmitFailed(Exception):
    """A job could not be stopped, submitted or did not come to run; the message says which and what was printed."""


class OtherHistory(WireError):
    """A state is not of this journal, or holds more than it does; the message says which."""


@dataclass
class _Failures:
    """How often a catch-up has failed in a row and read no further than before.

    `read_most`: how far any attempt has read, in offsets. `last_ms`: when it failed last, by Flink's clock."""

    count: int = 0
    read_most: int = 0
    last_ms: int = 0

    def look(self, read: int | None, failed_ms: int) -> None:
        """`read`: None where the broker does not say. A broker that is away ends no catch-up: its return does."""
        if read is not None and read > self.read_most:
            self.read_most, self.count = read, 0
        if failed_ms > self.last_ms:
            in_a_row = failed_ms - self.last_ms < APART_MS
            self.count = self.count + (read is not None) if in_a_row else 1
            self.last_ms = failed_ms


def wait_read(settings: Settings, job_id: str, generation: str, held: Bounds, say: Say) -> None:
    """Wait until all of the journal is read, which is what it `held` when the job was submitted: then a savepoint holds
    it. Raises OtherHistory; SubmitFailed for one that does not run, or that fails again and again."""
    began, failures = time.monotonic(), _Failures()
    until, asked, told = began + RUNNING_S, began, began
    total = sum(high - low for low, high in held.values())
    while True:
        try:
            job = http.call(f"{settings.flink_rest}/jobs/{job_id}")
            failed_ms, failure = flink.last_failed(settings, job_id)
        except http.HttpError:
            job, failed_ms, failure = {"state": "", "vertices": []}, 0, ""
        if OTHER_HISTORY in failure:
            raise OtherHistory(failure.partition(": ")[2] or failure)
        reads: dict[str, Any] = next((v for v in job["vertices"] if f"journal-{generation}" in v["name"]), {})
        if reads.get("status") == "FINISHED":
            return
        if reads.get("status") == "RUNNING":
            until = time.monotonic() + RUNNING_S
        if job["state"] in flink.ENDED or time.monotonic() > until:
            why = failure or (job["state"] not in flink.ENDED and _lack(settings)) or job["state"] or "no answer"
            raise SubmitFailed(f"catch-up {job_id} did not come to its end: {why}")
        if DELETED in failure:  # for good: no attempt can read it
            raise SubmitFailed(f"catch-up {job_id} has ended, start again: {failure}")
        if time.monotonic() - asked > ASK_S or failed_ms > failures.last_ms:
            read, asked = _read_so_far(settings, generation, held), time.monotonic()  # which may take its time
            failures.look(read, failed_ms)
            if read == total:
                _hasten(settings, job_id)
        if failures.count >= FAILURES_MAX:
            raise SubmitFailed(
                f"catch-up {job_id} failed {failures.count} times in a row, and no attempt reads on from "
                f"{failures.read_most} offsets: {failure}"
            )
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            but = f"; it has failed: {failure}" if failure else ""
            say(f"  {failures.read_most} of {total} offsets of the journal read{but}")
        time.sleep(POLL_S)


def _read_so_far(settings: Settings, generation: str, held: Bounds) -> int | None:
    """Offsets of the journal that a catch-up has read; None where the broker does not say."""
    mine, begin = (
        catch_up_group(settings.namespace, generation),
        {partition: low for partition, (low, _) in held.items()},
    )
    try:
        return left_behind(settings.bootstrap, settings.namespace, mine, begin)
    except KafkaException:
        return None


def _hasten(settings: Settings, job_id: str) -> None:
    """Have a checkpoint taken now: what has nothing left to read ends with one, and the next may be seconds away."""
    with suppress(http.HttpError):
        flink.take_checkpoint(settings, job_id)


def _lack(settings: Settings) -> str:
    """Which slots a catch-up waits for, in words."""
    try:
        lacking = flink.lack(settings, [flink.CATCH_UP])
    except http.HttpError:
        return ""
    return f"{lacking}; `threadlog up --taskmanagers {lacking.enough}` gives it room" if lacking else ""
