# SPDX-License-Identifier: Apache-2.0
"""A replay of the whole journal as a job of the cluster: submitted, watched, and what it left behind put away.

    the journal's end, once no transaction is open ─► flink run jobs/replay.py ─► FINISHED ─► its findings

Paused by a cancel it goes on from its last checkpoint, told what it was told, with the code that began it.

The job needs slots of its own, and the live jobs go on. A process that has loaded other code than theirs would have to
end itself before it could take one of them over, so the TaskManagers on which other code was replayed are restarted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ops import http
from ops.context import Trouble
from ops.replay import findings
from ops.settings import Settings, changed
from ops.stack import checks, flink, lifecycle, records
from ops.stack.code import check, pack
from ops.stack.layout import Layout, layout_of
from ops.stack.pausing import GO_ON, given
from ops.stack.starting import journal_of
from ops.stack.submit import run_noted
from ops.stack.supervisor import Supervisor
from wire.findings import group
from wire.journal import left_behind
from wire.kafka import bounds, settled_ends

# Nobody waits for a finding, and each checkpoint costs; after a crash what came since the last one is verified again.
CHECKPOINT_INTERVAL_MS = 10_000
# A job that does not come to run within this cannot run here; a JobManager that is killed is back long before.
RUNNING_S = 90
# A TaskManager that was restarted for new code is back within this.
ROOM_S = 30
POLL_S = 0.5

Say = Callable[[str], None]
Progress = Callable[[int, int], None]  # offsets that lie behind, and all


@dataclass
class Run:
    """A replay in the cluster. `seconds`: how long the job took, by the JobManager's clock."""

    name: str
    job_id: str
    parallelism: int
    seconds: float = 0.0
    hosts: set[str] = field(default_factory=set)


def arguments(name: str, ends: dict[int, int]) -> list[str]:
    """What the job's `main()` is told besides; of what is said twice the last counts."""
    until = ",".join(f"{partition}:{end}" for partition, end in sorted(ends.items()))
    return ["--checkpoint-interval-ms", str(CHECKPOINT_INTERVAL_MS), "--run", name, "--journal-end", until]


def verify(settings: Settings, app: str | None, name: str, parallelism: int, say: Say, progress: Progress) -> Run:
    """Replay the journal to its end as of now; returns when the job has FINISHED.

    Raises Trouble where it cannot run, or does not come to its end."""
    settings, layout = changed(settings, {"app": app, "parallelism": parallelism}), layout_of(settings)
    checks.check_local(settings)
    _check_room(settings, parallelism)
    lifecycle.ensure_wire(settings, say)
    if findings.read(settings, name).is_there:
        raise Trouble(f"There are findings of a run {name!r} already.", "Give this one another name.")
    ends = settled_ends(settings.bootstrap, journal_of(settings))
    if not (total := _held(settings)):
        raise Trouble("The journal holds no decision.", "`threadlog send` begins a thread.")
    folder, code = pack(layout, settings.app)
    check(settings.app, folder)
    told = ("--parallelism", str(parallelism), *arguments(name, ends))
    return _run(settings, layout, records.Record(flink.REPLAY, "", settings.app, code, more=told), total, say, progress)


def go_on(settings: Settings, name: str, say: Say, progress: Progress) -> Run:
    """Let the last replay of this namespace go on from its last checkpoint; returns when the job has FINISHED.

    name: its name, or "". Raises Trouble where there is nothing to go on, and as `verify`."""
    checks.check_local(settings)
    layout = layout_of(settings)
    begun = records.read(layout, flink.REPLAY)
    if begun is None or name not in ("", given(begun)["--run"]):
        last = f"; the last one is {given(begun)['--run']}" if begun else ""
        raise Trouble(f"No replay{f' {name!r}' if name else ''} can go on{last}.", "Without --go-on one begins.")
    name, parallelism = given(begun)["--run"], int(given(begun)["--parallelism"])
    settings = changed(settings, {"app": begun.app, "parallelism": parallelism})
    _check_room(settings, parallelism)
    found, point = findings.read(settings, name), records.restore_point(layout, flink.REPLAY)
    if found.has_ended:
        raise Trouble(f"The replay {name} has come to its end.", f"`threadlog replay --run {name}` tells.")
    if not (layout.state / "code" / begun.code).is_dir() or (found.is_there and not point):
        raise Trouble(f"What the replay {name} needs to go on was removed.", "Begin another one, without --go-on.")
    say(f"  replay {name} goes on from {point.removeprefix('file://') or 'its beginning'}")
    return _run(settings, layout, replace(begun, began_from=point), _held(settings), say, progress)


def _held(settings: Settings) -> int:
    """How many offsets of the journal hold something."""
    return sum(high - low for low, high in bounds(settings.bootstrap, journal_of(settings)).values())


def _run(settings: Settings, layout: Layout, begun: records.Record, total: int, say: Say, progress: Progress) -> Run:
    """Submit a replay, write it down, and wait for its end."""
    job_id = run_noted(settings, layout, begun, layout.state / "code" / begun.code)
    name = given(begun)["--run"]
    run, runs_on = Run(name, job_id, settings.parallelism), False
    say(f"  replay {name} submitted as {job_id}")
    try:
        mine = group(settings.namespace, name)
        _wait(settings, run, lambda: progress(left_behind(settings.bootstrap, settings.namespace, mine), total))
    except KeyboardInterrupt:
        runs_on = True
        raise Trouble(
            f"The replay goes on as job {job_id}.", f"When it has ended, `threadlog replay --run {name}` tells."
        ) from None
    finally:
        if not runs_on and records.code_on_taskmanagers(layout) not in ("", begun.code):
            _refresh(layout, run.hosts)
    return run


def _check_room(settings: Settings, parallelism: int) -> None:
    if job := flink.live_jobs(settings).get(flink.REPLAY):
        raise Trouble(f"A replay runs already: job {job.id}.", "Wait until it has ended.")
    until = time.monotonic() + ROOM_S
    while (free := http.call(f"{settings.flink_rest}/overview")["slots-available"]) < parallelism:
        if time.monotonic() > until:
            raise Trouble(
                f"The cluster has {free} free slots, and a replay takes {parallelism}.",
                "Give a smaller --parallelism, or more TaskManagers: `threadlog up --taskmanagers`.",
            )
        time.sleep(POLL_S)


def _wait(settings: Settings, run: Run, tell: Callable[[], None]) -> None:
    until = time.monotonic() + RUNNING_S
    while True:
        try:
            job: dict[str, Any] = http.call(f"{settings.flink_rest}/jobs/{run.job_id}")
            if job["state"] not in flink.ENDED:
                run.hosts |= set(flink.hosts(settings, run.job_id))
        except http.HttpError:
            job = {"state": "", "vertices": []}
        if job["state"] == "FINISHED":
            run.seconds = job["duration"] / 1000
            return
        if job["vertices"] and {vertex["status"] for vertex in job["vertices"]} <= {"RUNNING", "FINISHED"}:
            until = time.monotonic() + RUNNING_S
        if job["state"] in flink.ENDED or time.monotonic() > until:
            raise _failed(settings, run, job["state"])
        tell()
        time.sleep(POLL_S)


def _failed(settings: Settings, run: Run, state: str) -> Trouble:
    """Why the job did not come to its end; it is gone afterwards."""
    why = flink.last_failure(settings, run.job_id)
    if state not in flink.ENDED:
        flink.cancel(settings, flink.Job(flink.REPLAY, run.job_id, state, {}))
    hint = f"{GO_ON} goes on with it." if state == "CANCELED" else "`threadlog logs jobmanager` says more."
    return Trouble(f"The replay did not come to its end: {why or state.lower() or 'no answer'}", hint)


def _refresh(layout: Layout, hosts: set[str]) -> None:
    """Restart the TaskManagers of the local stack that the replay ran on."""
    supervisor = Supervisor(layout)
    names = sorted(hosts & supervisor.info().keys())
    supervisor.stop(names)
    supervisor.begin(names)
