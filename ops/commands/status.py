# SPDX-License-Identifier: Apache-2.0
"""`threadlog status`."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ops import http
from ops.context import Context, pass_context
from ops.settings import Settings
from ops.stack import flink, health, processes
from ops.stack.layout import Layout
from ops.stack.supervisor import Supervisor

PORTS = {"zookeeper": 7, "kafka": 2, "registry": 4, "jobmanager": 5}


def part_rows(settings: Settings) -> list[dict[str, Any]]:
    """One row per part: what the supervisor says, and whether the part does its work."""
    layout = Layout(settings.state_dir)
    supervisor = Supervisor(layout)
    info = supervisor.info() if supervisor.is_running() else {}
    orphans = {} if info else {process.name: process for process in processes.living(layout)}
    complaints = dict(health.wait(settings, list(info), 0)) if info else {}
    rows = []
    for name in [*info, *orphans]:
        one = info.get(name, {})
        state = one.get("statename", "ORPHAN").lower()
        rows.append(
            {
                "part": name,
                "state": state,
                "healthy": name in info and complaints.get(name) is None,
                "detail": complaints.get(name) or "",
                "pid": one.get("pid") or (orphans[name].pid if name in orphans else None),
                "port": settings.port(PORTS[name]) if name in PORTS else None,
                "uptime_s": int(time.time() - one["start"]) if state == "running" else None,
                "restarts": max(processes.starts(layout, name) - 1, 0),
            }
        )
    return rows


def job_rows(settings: Settings) -> list[dict[str, Any]]:
    """One row per job of ours that the cluster runs, with the TaskManagers it is on."""
    try:
        live = flink.live_jobs(settings)
        return [
            {
                "job": kind,
                "id": job.id,
                "state": "RUNNING" if job.is_running else ("STARTING" if job.state == "RUNNING" else job.state),
                "taskmanagers": flink.hosts(settings, job.id),
            }
            for kind, job in sorted(live.items())
        ]
    except http.HttpError:
        return []


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_s", " s"))
    for row in rows:
        cells = (row[column] for column in columns)
        table.add_row(
            *(", ".join(cell) if isinstance(cell, list) else "" if cell is None else str(cell) for cell in cells)
        )
    return table


@click.command("status")
@pass_context
def command(ctx: Context) -> None:
    """What runs: each part with its health, each job with its TaskManagers."""
    parts = part_rows(ctx.settings)
    jobs = job_rows(ctx.settings) if parts else []
    ctx.emit(stack=str(ctx.settings.state_dir), running=bool(parts), port_base=ctx.settings.port_base)
    for row in [*parts, *jobs]:
        ctx.emit(**row)
    if ctx.json:
        return
    if not parts:
        ctx.say(f"Nothing runs in {ctx.settings.state_dir}. Start it with `threadlog up`.")
        return
    console = Console(soft_wrap=True)
    columns = ("part", "state", "healthy", "pid", "port", "uptime_s", "restarts", "detail")
    console.print(_table("Parts", parts, columns))
    console.print()
    console.print(_table("Jobs", jobs, ("job", "state", "taskmanagers", "id")) if jobs else "No jobs.")
