# SPDX-License-Identifier: Apache-2.0
"""Up and down: the order in which a stack comes and goes.

    up     orphans of a killed supervisor ended ─► ports free? ─► files written ─► all parts at once
           ─► broker and registry well: topics, subjects ─► JobManager well: jobs, unless it recovered them
    down   replays cancelled, jobs of all namespaces stopped with savepoints ─► Flink ─► the rest ─► nothing left

Whatever the state, each of the two reaches its end when it is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ops import http
from ops.settings import TASKMANAGERS_MAX, Settings, changed, check_jobs, remember, remembered
from ops.stack import flink, health, ports, processes, records
from ops.stack.checks import StackFailed as StackFailed
from ops.stack.checks import check_built, check_local, check_namespace, check_place, check_room, check_same
from ops.stack.code import check, pack
from ops.stack.endings import wait_tidy
from ops.stack.layout import Layout, layout_of
from ops.stack.lock import Busy as Busy
from ops.stack.lock import alone as alone
from ops.stack.pausing import pause
from ops.stack.render import render
from ops.stack.submit import end_catch_ups, stop_jobs, submit
from ops.stack.supervisor import Supervisor

WELL_S = 90
GRACE_S = 10
SAVEPOINT_S = 60  # a job that has none by then goes on from its last checkpoint at the next `up`

Say = Callable[[str], None]


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
    for path in layout.run.glob("taskmanager-*.pid"):
        processes.forget(layout, path.stem)
    parts = render(settings, layout)
    if conflicts := ports.taken(parts):
        raise StackFailed("\n".join(conflicts), "End that program, or choose other ports with --port-base.")
    remember(settings)
    Supervisor(layout).start()
    return [part.name for part in parts]


def _start_warm(settings: Settings, layout: Layout, say: Say) -> list[str]:
    """Start what is stopped in a running stack, or new to it; the names of its parts."""
    _refit(settings, layout, say)
    supervisor = Supervisor(layout)
    info = supervisor.info()
    supervisor.begin([name for name, one in info.items() if one["statename"] in ("STOPPED", "EXITED", "FATAL")])
    return list(info)


def _refit(settings: Settings, layout: Layout, say: Say) -> None:
    """Give a running stack as many TaskManagers as are set. Jobs go on beside new ones; they may be on those that would
    go, so none may run then. Raises StackFailed, HttpError."""
    was = remembered(settings.state_dir).get("taskmanagers", settings.taskmanagers)
    if settings.taskmanagers == was:
        return
    _may_shrink(settings, was)
    added, removed = _sized(settings, layout)
    news = f"{', '.join(added)} new" if added else f"{', '.join(removed)} gone"
    say(f"  {settings.taskmanagers} TaskManagers: {news}")
    health.wait_unregistered(settings, removed, GRACE_S)


def _may_shrink(settings: Settings, was: int) -> None:
    """Raises StackFailed where there would be fewer TaskManagers than there were, and a job of any namespace runs."""
    if settings.taskmanagers < was and (running := flink.namespaces(settings)):
        stops = " and ".join(f"`threadlog --namespace {namespace} stop`" for namespace in running)
        said = f"Of the {was} TaskManagers some would go, and jobs of {' and '.join(running)} run on them."
        raise StackFailed(said, f"{stops} first.")


def _sized(settings: Settings, layout: Layout) -> tuple[list[str], list[str]]:
    """Let the supervisor run the TaskManagers of these settings; those that began, and those that are gone."""
    render(settings, layout)
    changed_parts = Supervisor(layout).read_again()
    remember(settings)
    return changed_parts


def ensure_wire(settings: Settings, say: Say) -> None:
    """Create topics and subjects that are missing."""
    from wire import admin, registry

    differences = admin.ensure_topics(settings.bootstrap, settings.namespace, settings.partitions, settings.replication)
    for difference in differences:
        say(f"  {difference}")
    registry.ensure_subjects(settings.registry_url)


def _wait_well(settings: Settings, names: list[str], say: Say, began: float) -> None:
    """Wait for every part; topics and subjects are made as soon as broker and registry are there."""
    waiting_for_wire = {"kafka", "registry"}
    for name, complaint in health.wait(settings, names, WELL_S):
        if complaint:
            hint = f"Read `threadlog logs {name}`; `threadlog up` again goes on from here."
            raise StackFailed(f"{name} {complaint} after {WELL_S} s.", hint)
        say(f"  {name:<14} well after {time.monotonic() - began:4.1f} s")
        waiting_for_wire.discard(name)
        if not waiting_for_wire:
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
        raise StackFailed(*flink.not_running(settings, waiting, WELL_S))


def up(settings: Settings, say: Say, with_jobs: bool = True) -> None:
    """Bring the stack up, whatever state it is in, and return when all of it works.

    Raises StackFailed or SubmitFailed; AppCodeError before anything is started."""
    check_built()
    layout = Layout(settings.state_dir)
    check_local(settings)
    check_jobs(settings)
    check_place(layout)
    began = time.monotonic()
    if with_jobs:
        check_room(settings, len(flink.JOBS))
    with alone(layout.state, say):
        cold = not Supervisor(layout).is_running()
        check_namespace(settings) if cold else check_same(settings, but="taskmanagers")
        if with_jobs:
            check(settings.app, pack(layout, settings.app)[0])
        names = _start_cold(settings, layout, say) if cold else _start_warm(settings, layout, say)
        _wait_well(settings, names, say, began)
        if with_jobs:
            ensure_jobs(settings, layout, settings.app, say, cold)
            say(f"  both jobs running after {time.monotonic() - began:.1f} s")


def resize(settings: Settings, parallelism: int, say: Say) -> Settings:
    """Make room for so many subtasks of each job, with as many TaskManagers to spare as before; the settings then.

    Raises StackFailed while a job runs, SettingsError for a number that cannot be."""
    layout, now = Layout(settings.state_dir), len(flink.JOBS) * settings.parallelism
    managers = len(flink.JOBS) * parallelism + max(0, settings.taskmanagers - now)
    if parallelism > settings.partitions:
        hint = "Topics keep the number of partitions that they were made with."
        raise StackFailed(f"A topic has {settings.partitions} partitions: more subtasks would idle.", hint)
    if managers > TASKMANAGERS_MAX:
        most = (TASKMANAGERS_MAX - managers + len(flink.JOBS) * parallelism) // len(flink.JOBS)
        said = f"{parallelism} subtasks of each job and the TaskManagers to spare make {managers}"
        raise StackFailed(f"{said}; a local stack has {TASKMANAGERS_MAX} at most.", f"At most `--parallelism {most}`.")
    wanted = changed(settings, {"parallelism": parallelism, "taskmanagers": managers})
    with alone(layout.state, say):
        check_same(settings)
        if live := sorted(flink.live_jobs(settings)):
            lines = ["threadlog stop", *(["threadlog stop --job replay"] if flink.REPLAY in live else [])]
            hint = f"{' and '.join(f'`{line}`' for line in lines)} first."
            raise StackFailed(f"{' and '.join(live)} run with {settings.parallelism}.", hint)
        _may_shrink(wanted, settings.taskmanagers)
        added, removed = _sized(wanted, layout)
        say(f"  {managers} TaskManagers, {parallelism} for each job" + (f": {', '.join(added)} new" if added else ""))
        for name, complaint in health.wait(settings, added, WELL_S):
            if complaint:
                raise StackFailed(f"{name} {complaint} after {WELL_S} s.", f"Read `threadlog logs {name}`.")
        health.wait_unregistered(settings, removed, GRACE_S)
    return wanted


@dataclass
class Downed:
    """What `down` found and did. `stopped`: (namespace, job, from where it goes on); `removed`, `kept`:
    paths, by `purge`."""

    was_running: bool = False
    stopped: list[tuple[str, str, str]] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)


def _stop_all_jobs(settings: Settings, say: Say) -> list[tuple[str, str, str]]:
    """Stop the jobs of every namespace that the cluster runs, those of branches too; those that could be, as above.

    A replay that was left alone would be recovered by the next JobManager, and take slots that nobody gave it."""
    stopped, failed = list[tuple[str, str, str]](), list[str]()
    try:
        namespaces = flink.namespaces(settings)
    except http.HttpError:
        namespaces, failed = [], ["the cluster does not answer: its jobs"]
    for namespace in namespaces:
        one = changed(settings, {"namespace": namespace})
        say(f"  stopping the jobs of {namespace}")
        layout = layout_of(one)
        try:
            stopped += [(namespace, flink.REPLAY, point) for point in pause(one, layout, say)]
        except http.HttpError as error:
            failed.append(f"{namespace}.{flink.REPLAY} ({error.text[:200]})")
        try:
            live = flink.live_jobs(one)
            end_catch_ups(one, say)
            not_stopped = stop_jobs(one, layout, list(flink.JOBS), say, SAVEPOINT_S)
        except http.HttpError as error:
            failed.append(f"the jobs of {namespace} ({error.text[:200]})")
            continue
        failed += [f"{namespace}.{kind}" for kind in not_stopped]
        done = [kind for kind in flink.JOBS if kind in live and kind not in not_stopped]
        stopped += [(namespace, kind, records.restore_point(layout, kind)) for kind in done]
    if failed:
        say(f"  {' and '.join(failed)} will go on from the last checkpoint at the next `up`")
    return stopped


def down(settings: Settings, say: Say, purge: bool = False) -> Downed:
    """Take the stack down and leave nothing running.

    `purge` removes what the stack left, too. Raises StackFailed for a folder that is there and in which no stack was
    ever started: nothing of it is touched."""
    layout, done = Layout(settings.state_dir), Downed()
    if not layout.is_ours:
        if purge and layout.state.exists():
            raise StackFailed(f"{layout.state} is no stack's folder; nothing was removed.", "Check --state-dir.")
        return done
    with alone(layout.state, say):
        supervisor = Supervisor(layout)
        done.was_running = bool(processes.living(layout)) or supervisor.is_running()
        if supervisor.is_running():
            if not purge:
                done.stopped = _stop_all_jobs(settings, say)
                wait_tidy(layout)
            names = list(supervisor.info())
            clients_first = [name for name in names if name.startswith(("taskmanager", "jobmanager"))]
            supervisor.stop(clients_first)
            supervisor.stop([name for name in names if name not in clients_first])
            supervisor.shut_down()
        if process := processes.supervisor(layout):
            processes.end([process], GRACE_S)
        end_orphans(layout, say)
        if purge:
            done.removed, done.kept = layout.remove()
            left = ", ".join(path.name for path in done.kept)
            say(f"{layout.state} is emptied; not ours, so it stays: {left}" if left else f"{layout.state} is removed")
    return done
