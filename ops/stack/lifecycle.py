# SPDX-License-Identifier: Apache-2.0
"""Up and down: the order in which a stack comes and goes.

    up     orphans of a killed supervisor ended ─► ports free? ─► files written ─► all parts at once
           ─► broker and registry well: topics, subjects ─► JobManager well: jobs, unless it recovered them
    down   jobs stopped with savepoints ─► Flink ─► the rest ─► nothing left

Whatever the state, each of the two reaches its end when it is repeated."""

from __future__ import annotations

import fcntl
import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ops import http
from ops.settings import Settings, remember
from ops.stack import flink, health, ports, processes, records
from ops.stack.layout import BUILD, ROOT, VENV, Layout
from ops.stack.render import render
from ops.stack.submit import stop_jobs, submit
from ops.stack.supervisor import Supervisor

WELL_S = 90
GRACE_S = 10

Say = Callable[[str], None]


class StackFailed(Exception):
    """The stack could not be brought to where it was wanted; the message says what failed, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """One `up` or `down` at a time per state folder; a second one waits."""
    layout.state.mkdir(parents=True, exist_ok=True)
    with open(layout.state / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_built() -> None:
    needed = [VENV / "bin" / "supervisord", BUILD / "kafka", BUILD / "registry", BUILD / "flink-lib"]
    absent = [str(path.relative_to(ROOT)) for path in needed if not path.exists()]
    if absent:
        raise StackFailed(f"This checkout is not set up: {', '.join(absent)} is missing.", "Run `make setup`.")


def end_orphans(layout: Layout, say: Say) -> None:
    """End what runs without a supervisor: what a killed one left, and the services of a demo."""
    orphans = [] if processes.supervisor(layout) else processes.living(layout)
    if orphans:
        say(f"  ending {', '.join(orphan.name for orphan in orphans)}: running without a supervisor")
        processes.end(orphans, GRACE_S)


def _start_cold(settings: Settings, layout: Layout, say: Say) -> list[str]:
    """Write the stack down and start all of it; the names of its parts."""
    end_orphans(layout, say)
    for counted in layout.run.glob("*.starts"):
        counted.unlink()
    parts = render(settings, layout)
    if conflicts := ports.taken(parts):
        raise StackFailed("\n".join(conflicts), "End that program, or choose other ports with --port-base.")
    remember(settings)
    Supervisor(layout).start()
    return [part.name for part in parts]


def _start_warm(layout: Layout) -> list[str]:
    """Start what is stopped in a running stack; the names of its parts."""
    supervisor = Supervisor(layout)
    info = supervisor.info()
    supervisor.begin([name for name, one in info.items() if one["statename"] in ("STOPPED", "EXITED", "FATAL")])
    return list(info)


def ensure_wire(settings: Settings, say: Say) -> None:
    """Create topics and subjects that are missing."""
    from wire import admin, registry

    differences = admin.ensure_topics(settings.bootstrap, settings.namespace, settings.partitions)
    for difference in differences:
        say(f"  {difference}")
    registry.ensure_subjects(settings.registry_url)


def _wire_exists() -> bool:
    return all((ROOT / "wire" / f"{name}.py").is_file() for name in ("admin", "registry"))


def _jobs_exist(app: str) -> bool:
    if not all((ROOT / "jobs" / f"{kind}.py").is_file() for kind in flink.JOBS):
        return False
    try:
        return importlib.util.find_spec(app.partition(":")[0]) is not None
    except ImportError:
        return False


def _wait_well(settings: Settings, names: list[str], say: Say, began: float) -> None:
    """Wait for every part; topics and subjects are made as soon as broker and registry are there."""
    waiting_for_wire = {"kafka", "registry"}
    for name, complaint in health.wait(settings, names, WELL_S):
        if complaint:
            raise StackFailed(f"{name} {complaint} after {WELL_S} s.", f"Read `threadlog logs {name}`.")
        say(f"  {name:<14} well after {time.monotonic() - began:4.1f} s")
        waiting_for_wire.discard(name)
        if not waiting_for_wire and _wire_exists():
            ensure_wire(settings, say)
            waiting_for_wire = {"done"}


def ensure_jobs(settings: Settings, layout: Layout, app: str, say: Say, cold: bool) -> None:
    """Submit the jobs that do not run. What a JobManager recovered by itself counts as running."""
    live = flink.live_jobs(settings)
    missing = [kind for kind in flink.JOBS if kind not in live]
    if cold and not live:
        records.note_code(layout, "")
    if missing:
        submit(settings, layout, app, missing, say, wait=False)
    if waiting := flink.wait_running(settings, list(flink.JOBS), WELL_S):
        said = f"{' and '.join(waiting)} not running after {WELL_S} s:\n{flink.causes(settings, waiting)}"
        raise StackFailed(said, "Mend the app and `threadlog submit`, or read `threadlog logs jobmanager`.")


def up(settings: Settings, say: Say, with_jobs: bool = True) -> None:
    """Bring the stack up, whatever state it is in, and return when all of it works."""
    _check_built()
    layout = Layout(settings.state_dir)
    began = time.monotonic()
    with alone(layout):
        cold = not Supervisor(layout).is_running()
        names = _start_cold(settings, layout, say) if cold else _start_warm(layout)
        _wait_well(settings, names, say, began)
        if with_jobs and _jobs_exist(settings.app):
            ensure_jobs(settings, layout, settings.app, say, cold)
            say(f"  both jobs running after {time.monotonic() - began:.1f} s")


def _stop_jobs_if_possible(settings: Settings, layout: Layout, say: Say) -> None:
    try:
        failed = stop_jobs(settings, layout, list(flink.JOBS), say)
    except http.HttpError:
        failed = ["the cluster does not answer: its jobs"]
    if failed:
        say(f"  {' and '.join(failed)} will go on from the last checkpoint at the next `up`")


def down(settings: Settings, say: Say, purge: bool = False) -> bool:
    """Take the stack down and leave nothing running; False when nothing was."""
    layout = Layout(settings.state_dir)
    if not layout.run.is_dir():
        return False
    with alone(layout):
        supervisor = Supervisor(layout)
        found = bool(processes.living(layout)) or supervisor.is_running()
        if supervisor.is_running():
            if not purge:
                _stop_jobs_if_possible(settings, layout, say)
            names = list(supervisor.info())
            clients_first = [name for name in names if name.startswith(("taskmanager", "jobmanager"))]
            supervisor.stop(clients_first)
            supervisor.stop([name for name in names if name not in clients_first])
            supervisor.shut_down()
        if process := processes.supervisor(layout):
            processes.end([process], GRACE_S)
        end_orphans(layout, say)
    if purge:
        shutil.rmtree(layout.state, ignore_errors=True)
    return found
