# SPDX-License-Identifier: Apache-2.0
"""The cluster's jobs over REST: which there are, where they run, and how they are stopped.

A job of ours is called NAMESPACE.conversation or NAMESPACE.tools; NAMESPACE.catchup brings the state of a conversation
up to date before that begins, NAMESPACE.replay verifies the journal."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from ops import http
from ops.settings import Settings
from wire.generations import PARAMETER

JOBS = ("conversation", "tools")
CATCH_UP = "catchup"
REPLAY = "replay"
NAME = re.compile(rf"([a-z0-9-]+)\.({'|'.join((*JOBS, CATCH_UP, REPLAY))})")
ENDED = frozenset({"FINISHED", "CANCELED", "FAILED"})
# Flink itself gives a savepoint up after ten minutes (`execution.checkpointing.timeout`). One that is only slow stops
# the job in the end; whoever had turned away by then would take it for running.
SAVEPOINT_S = 660
CANCEL_S = 30


@dataclass(frozen=True)
class Job:
    """A job that the cluster knows. `state` is RUNNING only when each of its tasks runs."""

    kind: str
    id: str
    state: str
    tasks: dict[str, int]

    @property
    def is_live(self) -> bool:
        """True while the cluster runs it or tries to."""
        return self.state not in ENDED

    @property
    def is_running(self) -> bool:
        """True when every task runs."""
        return self.state == "RUNNING" and 0 < self.tasks.get("total", 0) == self.tasks.get("running", 0)


def jobs(settings: Settings) -> list[Job]:
    """Our jobs of this namespace, the newest first, ended ones included as long as the JobManager remembers them."""
    listed = http.call(f"{settings.flink_rest}/jobs/overview")["jobs"]
    listed.sort(key=lambda job: -job["start-time"])
    ours = {f"{settings.namespace}.{kind}": kind for kind in (*JOBS, CATCH_UP, REPLAY)}
    return [Job(ours[job["name"]], job["jid"], job["state"], job["tasks"]) for job in listed if job["name"] in ours]


def namespaces(settings: Settings) -> list[str]:
    """The namespaces of which the cluster runs any job of ours, or tries to."""
    listed = http.call(f"{settings.flink_rest}/jobs/overview")["jobs"]
    ours = (NAME.fullmatch(job["name"]) for job in listed if job["state"] not in ENDED)
    return sorted({found.group(1) for found in ours if found})


def live_jobs(settings: Settings) -> dict[str, Job]:
    """The job of each kind that the cluster runs or tries to run; of two the newer, which has overtaken the other."""
    return {job.kind: job for job in reversed(jobs(settings)) if job.is_live}


def hosts(settings: Settings, job_id: str) -> list[str]:
    """The TaskManagers that a job's tasks are on now, by the name of their part."""
    found = set()
    vertices = http.call(f"{settings.flink_rest}/jobs/{job_id}")["vertices"]
    for vertex in vertices:
        detail = http.call(f"{settings.flink_rest}/jobs/{job_id}/vertices/{vertex['id']}")
        found |= {task.get("taskmanager-id", "") for task in detail["subtasks"] if task["status"] not in ENDED}
    return sorted(found - {"", "(unassigned)"})


def generation(settings: Settings, job_id: str) -> int:
    """The start that a job is of; 0 for one that does not say. Raises HttpError."""
    told = http.call(f"{settings.flink_rest}/jobs/{job_id}/config").get("execution-config", {})
    return int(told.get("user-config", {}).get(PARAMETER, 0))


def job_hosts(settings: Settings) -> dict[str, list[str]]:
    """For each live job, the TaskManagers it is on."""
    return {kind: hosts(settings, job.id) for kind, job in live_jobs(settings).items()}


def wait_running(settings: Settings, kinds: list[str], seconds: float) -> list[str]:
    """Wait until the jobs run; the kinds that do not yet when the time is over."""
    until = time.monotonic() + seconds
    while True:
        try:
            known = live_jobs(settings)
        except http.HttpError:
            known = {}
        waiting = [kind for kind in kinds if kind not in known or not known[kind].is_running]
        if not waiting or time.monotonic() > until:
            return waiting
        time.sleep(0.2)


def stop_with_savepoint(settings: Settings, job: Job, folder: str, within_s: float = SAVEPOINT_S) -> str:
    """Stop a job as `flink stop` does, its last transaction committed; the savepoint's path.

    Raises HttpError when the cluster refuses or the savepoint fails: the job then runs on."""
    base = f"{settings.flink_rest}/jobs/{job.id}"
    trigger = http.call(f"{base}/stop", {"targetDirectory": folder, "drain": False})["request-id"]
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        answer: dict[str, Any] = http.call(f"{base}/savepoints/{trigger}")
        if answer["status"]["id"] == "COMPLETED":
            operation = answer["operation"]
            if "location" in operation:
                return str(operation["location"])
            cause = operation.get("failure-cause", {}).get("stack-trace", "").splitlines()
            raise http.HttpError(base, 500, cause[0] if cause else "no savepoint and no cause")
        time.sleep(0.1)
    raise http.HttpError(base, 0, f"no savepoint within {within_s:g} s; it may come yet, and end the job")


def take_checkpoint(settings: Settings, job_id: str) -> None:
    """Begin a checkpoint of the job, of its own kind, without a wait for the next interval. Raises HttpError."""
    http.call(f"{settings.flink_rest}/jobs/{job_id}/checkpoints", {"checkpointType": "CONFIGURED"})


def cancel(settings: Settings, job: Job, within_s: float = CANCEL_S) -> None:
    """End a job that cannot be stopped: one that does not run, or a replay. Its checkpoints stay.

    Raises HttpError when it has not ended in time."""
    base = f"{settings.flink_rest}/jobs/{job.id}"
    http.call(f"{base}?mode=cancel", method="PATCH")
    until = time.monotonic() + within_s
    while http.call(base)["state"] not in ENDED:
        if time.monotonic() > until:
            raise http.HttpError(base, 0, f"not cancelled within {within_s:g} s")
        time.sleep(0.1)


def last_failure(settings: Settings, job_id: str) -> str:
    """Why a job last failed, in one line with the place in the Python code; empty when it never did."""
    return last_failed(settings, job_id)[1]


def last_failed(settings: Settings, job_id: str) -> tuple[int, str]:
    """When a job last failed, by Flink's clock in milliseconds, and why, as above; (0, "") when it never did."""
    history = http.call(f"{settings.flink_rest}/jobs/{job_id}/exceptions?maxExceptions=1")["exceptionHistory"]
    entries = history["entries"]
    if not entries:
        return 0, ""
    trace = str(entries[0]["stacktrace"]).splitlines() or [""]
    place = next((found.group(1) for line in trace if (found := re.search(r"\((\w+\.py:\d+)\)", line))), "")
    said = trace[0].removeprefix("pemja.core.PythonException: ")[:300] + (f" ({place})" if place else "")
    return int(entries[0]["timestamp"]), said


def causes(settings: Settings, kinds: list[str]) -> str:
    """One line for each of these jobs: why it last failed."""
    known = live_jobs(settings)
    failures = {kind: last_failure(settings, known[kind].id) if kind in known else "is not there" for kind in kinds}
    return "\n".join(f"  {kind}: {failure or 'no error yet'}" for kind, failure in failures.items())


@dataclass(frozen=True)
class Lack:
    """Slots that jobs wait for. `needed` by all of these, `free` of all `slots`: one for each TaskManager."""

    kinds: list[str]
    needed: int
    free: int
    slots: int

    @property
    def enough(self) -> int:
        """How many TaskManagers would do."""
        return self.slots + self.needed - self.free

    def __str__(self) -> str:
        waits = "waits" if len(self.kinds) == 1 else "wait"
        who = " and ".join(self.kinds)
        return f"{who} {waits} for slots: {self.needed} needed, {self.free} free of {self.slots} TaskManagers"


def lack(settings: Settings, kinds: list[str]) -> Lack | None:
    """The slots that these jobs wait for; None where they wait for something else. Raises HttpError."""
    live = live_jobs(settings)
    # A job that fails again and again keeps its slots.
    waiting = [kind for kind in kinds if kind in live and live[kind].tasks.get("scheduled")]
    overview, needed = http.call(f"{settings.flink_rest}/overview"), len(waiting) * settings.parallelism
    free, slots = overview["slots-available"], overview["slots-total"]
    return Lack(waiting, needed, free, slots) if free < needed else None


def not_running(settings: Settings, kinds: list[str], waited_s: float) -> tuple[str, str]:
    """Why jobs do not run after so long, and what to do about it on the local stack. Raises HttpError."""
    said = f"{' and '.join(kinds)} not running after {waited_s} s"
    if lacking := lack(settings, kinds):
        hint = f"`threadlog up --taskmanagers {lacking.enough}` gives them room, if `threadlog status` shows none down."
        return f"{said}: {lacking}.", hint
    hint = "Mend the app and `threadlog submit`, or read `threadlog logs jobmanager`."
    return f"{said}:\n{causes(settings, kinds)}", hint
