# SPDX-License-Identifier: Apache-2.0
"""Submit the jobs with `flink run`, exactly as on any other cluster.

The code goes as a copy (`code.py`), shipped with `-pyfs`. When it is other code than before, the TaskManagers, whose
interpreters still hold the old modules, are restarted first."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ops import http
from ops.settings import Settings, remember_app
from ops.stack import archives, flink, health, records, starting, versions
from ops.stack.catch_up import SubmitFailed
from ops.stack.code import check, pack
from ops.stack.command_line import run_command
from ops.stack.layout import Layout
from ops.stack.parts import LIGHT, flat_yaml, flink_environment
from ops.stack.starting import Declined
from ops.stack.supervisor import Supervisor
from schemas.topics import kafka_name
from wire.control import CONVERSATION
from wire.kafka import is_empty

__all__ = ["SubmitFailed"]

CLIENT_S = 120
RUNNING_S = 90
# A job that is just recovering from a crash runs again within this; one that does not cannot run this code.
RECOVERY_S = 20
# What a job has written if it ever ran: from nothing it would decide all of it again, or ask for it again.
TRACES = {"conversation": "agent-decisions", "tools": "tool-results"}

Say = Callable[[str], None]


def client_environment(layout: Layout, kind: str) -> dict[str, str]:
    """The environment of Flink's command line client for a job of that kind."""
    flags = flat_yaml((layout.conf / "config.yaml").read_text())["env.java.opts.all"]
    # Given, so that Flink's script does not start a JVM only to ask for its version.
    environment = {**os.environ, **flink_environment(layout), "FLINK_ENV_JAVA_OPTS": flags}
    # Both clients load the same classes: one of them writes the archive of both.
    archive = archives.flags(layout, "client") if kind == flink.JOBS[0] or not layout.is_training else ()
    environment["JVM_ARGS"] = " ".join([*LIGHT, *archive, "-Xmx256m"])
    # The copied code is the code: neither the checkout nor the caller's path may shadow it.
    environment.pop("PYTHONPATH")
    return environment


def run_job(
    settings: Settings, layout: Layout, spec: str, kind: str, folder: Path, point: str, more: Sequence[str] = ()
) -> str:
    """Submit one job, with `more` arguments; its id. Raises SubmitFailed."""
    command = [*run_command(settings, layout, spec, kind, folder, point), *more]
    try:
        done = subprocess.run(
            command, env=client_environment(layout, kind), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=CLIENT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise SubmitFailed(f"{kind}: `flink run` did not end within {CLIENT_S} s") from error
    (layout.logs / f"submit-{kind}.log").write_text(done.stdout + done.stderr)
    found = re.search(r"JobID ([0-9a-f]{32})", done.stdout)
    if found is None:
        raise _failure(kind, done.stdout + done.stderr)
    return found.group(1)


# What Flink refuses to start, to be told in a sentence: in its words the cause stands in the middle of a page.
REFUSALS = (
    (
        r"Cannot map checkpoint/savepoint state for operator (\w+)",
        "the savepoint holds the state of an operator that this code lacks (the hash of its uid is {}). Its uid was "
        "changed, or it was taken out: give it back. Flink would drop the state, so nothing was submitted.",
    ),
    (
        r"no UID or hash has been assigned to operator (\S+)",
        "operator {} has no uid, by which its state would be found again. Nothing was submitted.",
    ),
)


def _failure(kind: str, output: str) -> SubmitFailed:
    for pattern, sentence in REFUSALS:
        if found := re.search(pattern, output):
            return Declined(f"{kind}: {sentence.format(found.group(1))}")
    return SubmitFailed(f"{kind}: `flink run` started no job:\n{_essence(output)}")


def _essence(output: str) -> str:
    """The lines of a client's output that say why, without the Java stack."""
    lines = [line for line in output.splitlines() if line.strip() and not re.match(r"\s+at |WARNING:|\s*\.\.\. ", line)]
    return "\n".join(f"  | {line[:300]}" for line in lines[-15:])


def stop_jobs(
    settings: Settings, layout: Layout, kinds: list[str], say: Say, within_s: float = flink.SAVEPOINT_S
) -> list[str]:
    """Stop the live ones of these jobs with savepoints, both at once; the kinds for which that failed."""
    live = {kind: job for kind, job in flink.live_jobs(settings).items() if kind in kinds}
    failed = []

    def stop(kind: str) -> None:
        generation = starting.generation_of(settings, live[kind])
        path = flink.stop_with_savepoint(settings, live[kind], f"file://{layout.savepoints}", within_s)
        known = records.read(layout, kind) or records.Record(kind, live[kind].id, settings.app, "")
        records.write(layout, replace(known, job_id=live[kind].id, savepoint=path))
        starting.remember_stop(settings, live[kind].id, path, known, generation, say)
        say(f"  {kind} stopped, savepoint {path.removeprefix('file://')}")

    with ThreadPoolExecutor(2) as pool:
        for kind, future in {kind: pool.submit(stop, kind) for kind in live}.items():
            if error := future.exception():
                failed.append(kind)
                say(f"  {kind} could not be stopped with a savepoint: {error}")
    return failed


def end_catch_ups(settings: Settings, say: Say) -> None:
    """A catch-up that was left alone holds the names of the conversation's transactions; it has decided nothing."""
    while job := flink.live_jobs(settings).get(flink.CATCH_UP):
        flink.cancel(settings, job)
        say(f"  catch-up {job.id} was left running and is cancelled")


def end_jobs(settings: Settings, layout: Layout, kinds: list[str], say: Say) -> None:
    """Make room for new code: jobs that run are stopped with savepoints, jobs that only try to are cancelled. Raises
    SubmitFailed when one that runs could not be stopped."""
    end_catch_ups(settings, say)
    flink.wait_running(settings, [kind for kind in kinds if kind in flink.live_jobs(settings)], RECOVERY_S)
    stuck = {kind: job for kind, job in flink.live_jobs(settings).items() if kind in kinds and not job.is_running}
    if failed := stop_jobs(settings, layout, [kind for kind in kinds if kind not in stuck], say):
        stopped = " and ".join(sorted({*kinds} - {*flink.live_jobs(settings)}))
        others = f"; {stopped} is stopped, and `threadlog start` begins it again" if stopped else ""
        raise SubmitFailed(f"{' and '.join(failed)} could not be stopped; nothing was submitted{others}")
    for kind, job in stuck.items():
        starting.cancel(settings, job, say)
        say(f"  {kind} did not come to run ({job.state.lower()}) and was cancelled; its checkpoints stay")


def recycle_taskmanagers(settings: Settings, layout: Layout, say: Say) -> None:
    """Restart every TaskManager, all at once, and wait until they are registered again."""
    supervisor = Supervisor(layout)
    names = [name for name in supervisor.info() if name.startswith("taskmanager-")]
    say(f"  restarting {len(names)} TaskManagers: they have imported other code")
    supervisor.stop(names)
    supervisor.begin(names)
    for name, complaint in health.wait(settings, names, 60):
        if complaint:
            raise SubmitFailed(f"{name} {complaint} after its restart")


def starting_point(settings: Settings, layout: Layout, kind: str) -> str:
    """The path for `flink run -s`; empty for a job that never ran.

    Raises SubmitFailed when it did run and nothing is known of where it was."""
    point = records.restore_point(layout, kind)
    trace = kafka_name(settings.namespace, TRACES[kind])
    if point or records.read(layout, kind) or is_empty(settings.bootstrap, trace):
        return point
    raise SubmitFailed(
        f"{kind} has run before ({trace} is not empty), and {layout.state} knows no checkpoint of it. From nothing it "
        f"would do everything a second time. Say where it goes on (a savepoint); on the local stack `threadlog start` "
        f"makes the conversation's state anew from the journal."
    )


def ready_points(
    settings: Settings, layout: Layout, spec: str, points: dict[str, str], packed: tuple[Path, str], say: Say
) -> dict[str, str]:
    """The points with that of the conversation brought up to the journal's end. Raises SubmitFailed."""

    def run(point: str, more: list[str]) -> str:
        return run_job(settings, layout, spec, flink.CATCH_UP, packed[0], point, more)

    if CONVERSATION not in points:
        return points
    mine = records.Record(CONVERSATION, "", spec, packed[1])
    return {**points, CONVERSATION: starting.ready(settings, layout, points[CONVERSATION], mine, run, say)}


def _begin(
    settings: Settings, layout: Layout, spec: str, kind: str, packed: tuple[Path, str], point: str, say: Say
) -> str:
    """Submit one job of the product. Raises SubmitFailed."""
    folder, code = packed
    began_ms = time.time_ns() // 1_000_000
    try:
        return run_noted(settings, layout, records.Record(kind, "", spec, code, began_from=point), folder)
    except Declined:
        if kind == CONVERSATION:  # its start has a generation, for which the next one would wait
            starting.remember_declined(settings, began_ms, say)
        raise


def run_noted(settings: Settings, layout: Layout, begun: records.Record, folder: Path) -> str:
    """Submit a job; its id, written down at once: the old record's savepoint is used up now. Raises SubmitFailed."""
    try:
        job_id = run_job(settings, layout, begun.app, begun.kind, folder, begun.began_from, begun.more)
    except (SubmitFailed, KeyboardInterrupt) as error:
        # The client may have died after the cluster took the job; the one before may be there again, too.
        known = records.read(layout, begun.kind) or begun
        with contextlib.suppress(http.HttpError):
            job = None if isinstance(error, Declined) else flink.live_jobs(settings).get(begun.kind)
            if job and job.id != known.job_id:
                records.write(layout, replace(begun, job_id=job.id))
        raise
    records.write(layout, replace(begun, job_id=job_id))
    return job_id


def begin(
    settings: Settings, layout: Layout, spec: str, points: dict[str, str], packed: tuple[Path, str], say: Say
) -> dict[str, str]:
    """Submit the jobs of `points`, kind → savepoint or nothing, side by side; their ids. Raises SubmitFailed."""
    with ThreadPoolExecutor(2) as pool:
        runs = {
            kind: pool.submit(_begin, settings, layout, spec, kind, packed, point, say)
            for kind, point in points.items()
        }
    for kind, run in runs.items():
        if not run.exception():
            say(f"  {kind} submitted as {run.result()}" + (f" from {points[kind]}" if points[kind] else ""))
    return {kind: run.result() for kind, run in runs.items()}


def _lacks(settings: Settings, layout: Layout, kinds: list[str], has: frozenset[str]) -> str:
    return versions.missing(settings, layout, has) if CONVERSATION in kinds else ""


def submit(
    settings: Settings,
    layout: Layout,
    spec: str,
    kinds: list[str],
    say: Say,
    savepoint: str = "",
    wait: bool = True,
    find: Callable[[Settings, Layout, str], str] = starting_point,
) -> dict[str, str]:
    """Bring these jobs to run this app's code; a running one is stopped and goes on from its own savepoint.

    `savepoint` overrides from where they start, which `find` tells otherwise. Returns the job ids by kind. Raises
    AppCodeError before anything is stopped, SubmitFailed for code that lacks a version with open runs, and later."""
    packed = pack(layout, spec)
    has = check(spec, packed[0])
    if records.read(layout, CONVERSATION) is not None and (lacks := _lacks(settings, layout, kinds, has)):
        raise SubmitFailed(f"{lacks}: keep it in the code beside newer ones. Nothing was stopped or submitted.")
    if flink.live_jobs(settings).keys() & {*kinds}:  # their own `main()` asks it, too, when these are stopped
        starting.check_inputs(settings, kinds, False, say)
    end_jobs(settings, layout, kinds, say)
    if lacks := _lacks(settings, layout, kinds, has):
        do = f"{' and '.join(kinds)} stopped; `threadlog submit` of code that has it goes on"
        raise SubmitFailed(f"{lacks}; it began in the meantime: {do}.")
    if records.code_on_taskmanagers(layout) not in ("", packed[1]):
        recycle_taskmanagers(settings, layout, say)
    records.note_code(layout, packed[1])
    points = {kind: savepoint or find(settings, layout, kind) for kind in kinds}
    points = ready_points(settings, layout, spec, points, packed, say)
    ids = begin(settings, layout, spec, points, packed, say)
    if CONVERSATION in kinds:
        versions.note(layout, has)
    remember_app(settings.state_dir, spec)
    if wait and (waiting := flink.wait_running(settings, kinds, RUNNING_S)):
        raise SubmitFailed("\n".join(flink.not_running(settings, waiting, RUNNING_S)))
    return ids
