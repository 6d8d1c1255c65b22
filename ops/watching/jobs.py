# SPDX-License-Identifier: Apache-2.0
"""The jobs as Flink has them: one that is not there, does not come to run, or is started over and over.

A catch-up stands for the conversation until it has read the journal. From then on whoever began it stops it, or has
died: the catch-up goes on, holding the conversation's lease, and nothing is decided."""

from __future__ import annotations

import time
from typing import Any

from ops import http
from ops.settings import Settings
from ops.stack import flink
from ops.watching.alarms import Wrong

# A killed part is back before that, and so is a job that a person stops and starts.
AFTER_S = 20.0
LEFT_S = 120.0  # for so long a catch-up that has read the journal may take to be stopped
RESTARTS_MAX, RESTARTS_S = 3, 120.0
# A job that has ended is listed as live for a moment.
COPIES_S = 5.0
# The alarms of this file alone; the local stack's JobManager is the only one that is asked.
ALARMS = ("job", "slots", "restarts", "jobmanager")
START = "`threadlog start` starts it where its journal ends"


def wrong_jobs(settings: Settings) -> list[Wrong]:
    """What is wrong with the jobs as of now."""
    try:
        live = [job for job in flink.jobs(settings) if job.is_live]
        slots = http.call(f"{settings.flink_rest}/overview", timeout_s=2)
        return [wrong for kind in flink.JOBS for wrong in _of_kind(settings, kind, live, slots)]
    except http.HttpError as error:
        do = "Its supervisor starts it again; `threadlog logs jobmanager` tells why it does not come"
        return [Wrong("jobmanager", f"The JobManager does not answer ({error.status or 'no answer'})", do, AFTER_S)]


def _of_kind(settings: Settings, kind: str, live: list[flink.Job], overview: dict[str, Any]) -> list[Wrong]:
    jobs = [job for job in live if job.kind == kind]
    if not jobs and kind == flink.JOBS[0] and (catch_ups := [job for job in live if job.kind == flink.CATCH_UP]):
        return [wrong for job in catch_ups for wrong in _of_catch_up(settings, job, overview)]
    if not jobs:
        return [Wrong("job", f"The {kind} job does not run", START, AFTER_S, kind, {"job": kind})]
    found = [wrong for job in jobs for wrong in _of_job(settings, job, kind, overview, len(jobs) > 1)]
    if len(jobs) > 1:
        ids = [job.id for job in jobs]
        what, do = (
            f"{len(jobs)} {kind} jobs are there ({', '.join(ids)})",
            "Cancel all but the newest, the first of these",
        )
        found.append(Wrong("copies", what, do, COPIES_S, kind, {"job": kind, "jobs": ids}))
    return found


def _of_catch_up(settings: Settings, job: flink.Job, overview: dict[str, Any]) -> list[Wrong]:
    """What is wrong with a catch-up, where no conversation runs."""
    if not job.tasks.get("finished"):
        return _of_job(settings, job, flink.CATCH_UP, overview, several=False)
    found = _restarts(settings, job, flink.CATCH_UP, f"{flink.CATCH_UP} job", {"job": flink.CATCH_UP, "id": job.id})
    vertices = http.call(f"{settings.flink_rest}/jobs/{job.id}")["vertices"]
    if any("journal-" in vertex["name"] and vertex["status"] == "FINISHED" for vertex in vertices):
        kind = flink.JOBS[0]
        what = f"The {kind} job does not run: its catch-up {job.id} has read the journal, and is still there"
        found.append(Wrong("job", what, START, LEFT_S, kind, {"job": kind, "id": job.id}))
    return found


def _of_job(settings: Settings, job: flink.Job, kind: str, overview: dict[str, Any], several: bool) -> list[Wrong]:
    """What is wrong with one job, named by its id too where there are several of its kind."""
    where, name = (f"{kind} {job.id}", f"{kind} job {job.id}") if several else (kind, f"{kind} job")
    free, slots = overview["slots-available"], overview["slots-total"]
    told = {"job": kind, "id": job.id, "slots": slots, "free": free}
    found = []
    if not job.is_running and not free:
        do = "`threadlog status` tells which TaskManagers are gone; their supervisor starts them again"
        what = f"The {name} waits for a slot: {slots} TaskManagers, none free"
        found.append(Wrong("slots", what, do, AFTER_S, where, told))
    elif not job.is_running:
        do = f"Last failure: {flink.last_failure(settings, job.id) or 'none'}; mend that, or `threadlog submit`"
        found.append(Wrong("job", f"The {name} does not come to run ({job.state.lower()})", do, AFTER_S, where, told))
    return found + _restarts(settings, job, where, name, told)


def _restarts(settings: Settings, job: flink.Job, where: str, name: str, told: dict[str, Any]) -> list[Wrong]:
    if (count := restarts(settings, job.id)) < RESTARTS_MAX:
        return []
    what = f"The {name} was restarted {count} times in {RESTARTS_S:.0f} s"
    do = f"Last failure: {flink.last_failure(settings, job.id)}"
    return [Wrong("restarts", what, do, where=where, fields={**told, "restarts": count})]


def restarts(settings: Settings, job_id: str) -> int:
    """How often the job failed lately; the metric that counts restarts is up to ten seconds old."""
    history = http.call(f"{settings.flink_rest}/jobs/{job_id}/exceptions?maxExceptions=20")["exceptionHistory"]
    since = (time.time() - RESTARTS_S) * 1000
    return sum(entry["timestamp"] >= since for entry in history["entries"])
