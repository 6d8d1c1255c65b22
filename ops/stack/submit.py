# SPDX-License-Identifier: Apache-2.0
"""Submit the jobs with `flink run`, exactly as on any other cluster.

The code that runs is a copy: the product's packages and the app's, in a folder named by their digest, shipped with
`-pyfs`. So an edit in the checkout changes nothing until it is submitted, and then the TaskManagers, whose
interpreters still hold the old modules, are restarted first."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ops.settings import Settings
from ops.stack import archives, flink, health, records
from ops.stack.layout import FLINK, ROOT, Layout
from ops.stack.parts import LIGHT, flat_yaml, flink_environment
from ops.stack.supervisor import Supervisor
from wire.app_code import AppCodeError, digest, files_digest, package_root, split

PACKAGES = ("schemas", "threadlog", "wire", "udfs", "jobs")
CLIENT_S = 120
RUNNING_S = 90
# A job that is just recovering from a crash runs again within this; one that does not cannot run this code.
RECOVERY_S = 20
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")

Say = Callable[[str], None]


class SubmitFailed(Exception):
    """A job could not be stopped, submitted or did not come to run; the message says which and what was printed."""


def _app_root(spec: str) -> Path:
    """The folder or file of the app's top-level package, which is what must be importable on a TaskManager."""
    package_root(spec)
    found = importlib.util.find_spec(split(spec)[0].partition(".")[0])
    if found is None:
        raise AppCodeError(f"there is no package for {spec}")
    folders = list(found.submodule_search_locations or [])
    return Path(folders[0]) if folders else Path(str(found.origin))


def pack(layout: Layout, spec: str) -> tuple[Path, str]:
    """Copy the code that will run into the state folder; the folder and its digest."""
    roots = [ROOT / name for name in PACKAGES if (ROOT / name).is_dir()]
    app = _app_root(spec)
    roots += [] if app in roots else [app]
    code = files_digest(roots)[:16]
    folder = layout.state / "code" / code
    if not folder.is_dir():
        fresh = folder.with_suffix(f".{os.getpid()}")
        for root in roots:
            fresh.mkdir(parents=True, exist_ok=True)
            if root.is_dir():
                shutil.copytree(root, fresh / root.name, ignore=IGNORED)
            else:
                shutil.copy(root, fresh / root.name)
        fresh.replace(folder)
    return folder, code


def arguments(settings: Settings, layout: Layout, spec: str) -> list[str]:
    """What the jobs' `main()` is told: jobs read neither settings nor environment."""
    return [
        *("--app", spec),
        *("--namespace", settings.namespace),
        *("--bootstrap", settings.bootstrap),
        *("--registry", settings.registry_url),
        *("--parallelism", str(settings.parallelism)),
        *("--checkpoint-interval-ms", str(settings.checkpoint_interval_ms)),
        *("--checkpoint-dir", f"file://{layout.checkpoints}"),
        *("--app-digest", digest(spec)),
    ]


def run_command(settings: Settings, layout: Layout, spec: str, kind: str, folder: Path, point: str) -> list[str]:
    """The `flink run` command line."""
    start = ["-s", point] if point else []
    script = str(folder / "jobs" / f"{kind}.py")
    flink_run = [str(FLINK / "bin" / "flink"), "run", "-d", *start, "-pyfs", str(folder), "-py", script]
    return flink_run + arguments(settings, layout, spec)


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


def run_job(settings: Settings, layout: Layout, spec: str, kind: str, folder: Path, point: str) -> str:
    """Submit one job; its id."""
    command = run_command(settings, layout, spec, kind, folder, point)
    try:
        done = subprocess.run(
            command,
            env=client_environment(layout, kind),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SubmitFailed(f"{kind}: `flink run` did not end within {CLIENT_S} s") from error
    (layout.logs / f"submit-{kind}.log").write_text(done.stdout + done.stderr)
    found = re.search(r"JobID ([0-9a-f]{32})", done.stdout)
    if found is None:
        raise SubmitFailed(f"{kind}: `flink run` started no job:\n{_essence(done.stdout + done.stderr)}")
    return found.group(1)


def _essence(output: str) -> str:
    """The lines of a client's output that say why, without the Java stack."""
    lines = [line for line in output.splitlines() if line.strip() and not re.match(r"\s+at |WARNING:|\s*\.\.\. ", line)]
    return "\n".join(f"  | {line[:300]}" for line in lines[-15:])


def stop_jobs(settings: Settings, layout: Layout, kinds: list[str], say: Say) -> list[str]:
    """Stop the live ones of these jobs with savepoints, both at once; the kinds for which that failed."""
    live = {kind: job for kind, job in flink.live_jobs(settings).items() if kind in kinds}
    failed = []

    def stop(kind: str) -> None:
        path = flink.stop_with_savepoint(settings, live[kind], f"file://{layout.savepoints}")
        known = records.read(layout, kind) or records.Record(kind, live[kind].id, settings.app, "")
        records.write(layout, replace(known, job_id=live[kind].id, savepoint=path))
        say(f"  {kind} stopped, savepoint {path.removeprefix('file://')}")

    with ThreadPoolExecutor(2) as pool:
        for kind, future in {kind: pool.submit(stop, kind) for kind in live}.items():
            if error := future.exception():
                failed.append(kind)
                say(f"  {kind} could not be stopped with a savepoint: {error}")
    return failed


def end_jobs(settings: Settings, layout: Layout, kinds: list[str], say: Say) -> None:
    """Make room for new code: jobs that run are stopped with savepoints, jobs that only try to are cancelled.

    Raises SubmitFailed when a job that runs could not be stopped: it runs on."""
    flink.wait_running(settings, [kind for kind in kinds if kind in flink.live_jobs(settings)], RECOVERY_S)
    stuck = {kind: job for kind, job in flink.live_jobs(settings).items() if kind in kinds and not job.is_running}
    if failed := stop_jobs(settings, layout, [kind for kind in kinds if kind not in stuck], say):
        raise SubmitFailed(f"{' and '.join(failed)} still run as before; nothing was submitted")
    for kind, job in stuck.items():
        flink.cancel(settings, job)
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


def submit(
    settings: Settings, layout: Layout, spec: str, kinds: list[str], say: Say, savepoint: str = "", wait: bool = True
) -> dict[str, str]:
    """Bring these jobs to run this app's code; a running one is stopped and goes on from its own savepoint.

    `savepoint` overrides from where they start. Returns the job ids by kind."""
    folder, code = pack(layout, spec)
    end_jobs(settings, layout, kinds, say)
    if records.code_on_taskmanagers(layout) not in ("", code):
        recycle_taskmanagers(settings, layout, say)
    records.note_code(layout, code)
    points = {kind: savepoint or records.restore_point(layout, kind) for kind in kinds}
    with ThreadPoolExecutor(2) as pool:
        runs = {kind: pool.submit(run_job, settings, layout, spec, kind, folder, points[kind]) for kind in kinds}
        ids = {kind: run.result() for kind, run in runs.items()}
    for kind, job_id in ids.items():
        records.write(layout, records.Record(kind, job_id, spec, code, began_from=points[kind]))
        say(f"  {kind} submitted as {job_id}" + (f" from {points[kind]}" if points[kind] else ""))
    if wait and (waiting := flink.wait_running(settings, kinds, RUNNING_S)):
        hint = "Mend the app and submit again, or read `threadlog logs jobmanager`."
        said = f"{' and '.join(waiting)} not running after {RUNNING_S} s:\n{flink.causes(settings, waiting)}\n{hint}"
        raise SubmitFailed(said)
    return ids
