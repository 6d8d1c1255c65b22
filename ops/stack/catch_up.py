# SPDX-License-Identifier: Apache-2.0
"""The wait for a catch-up: when its state holds all of the journal, and when it never will."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ops import http
from ops.settings import Settings
from ops.stack import flink

# A catch-up that does not come to run within this cannot run here; a rebuild may then take hours.
RUNNING_S = 90
POLL_S, TELL_S = 0.25, 10
OTHER_HISTORY = "is not of this journal"

Say = Callable[[str], None]


class SubmitFailed(Exception):
    """A job could not be stopped, submitted or did not come to run; the message says which and what was printed."""


class OtherHistory(Exception):
    """The state that a catch-up was started from is not of this journal, or holds more than it does."""


def wait_read(settings: Settings, job_id: str, generation: str, say: Say) -> None:
    """Wait until the journal's source has finished: then a checkpoint holds all of it. Raises OtherHistory."""
    until, told = time.monotonic() + RUNNING_S, time.monotonic()
    while True:
        try:
            job = http.call(f"{settings.flink_rest}/jobs/{job_id}")
            failure = flink.last_failure(settings, job_id)
        except http.HttpError:
            job, failure = {"state": "", "vertices": []}, ""
        if OTHER_HISTORY in failure:
            raise OtherHistory(failure.partition(": ")[2] or failure)
        source: dict[str, Any] = next((v for v in job["vertices"] if f"journal-{generation}" in v["name"]), {})
        if source.get("status") == "FINISHED":
            return
        if source.get("status") == "RUNNING":
            until = time.monotonic() + RUNNING_S
        if job["state"] in flink.ENDED or time.monotonic() > until:
            why = failure or (job["state"] not in flink.ENDED and _lack(settings)) or job["state"] or "no answer"
            raise SubmitFailed(f"catch-up {job_id} did not come to its end: {why}")
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            say(f"  {source.get('metrics', {}).get('write-records', 0)} entries read")
        time.sleep(POLL_S)


def _lack(settings: Settings) -> str:
    """Which slots a catch-up waits for, in words."""
    try:
        lacking = flink.lack(settings, [flink.CATCH_UP])
    except http.HttpError:
        return ""
    return f"{lacking}; `threadlog up --taskmanagers {lacking.enough}` gives it room" if lacking else ""
