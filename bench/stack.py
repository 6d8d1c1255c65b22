# SPDX-License-Identifier: Apache-2.0
"""The stack of a bench: both jobs at once, each on a TaskManager of its own, so rounds alternate without a start."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from bench.bare import INPUT, OUTPUT
from ops import http
from ops.context import Trouble
from ops.settings import Settings
from ops.stack import flink, lifecycle, processes
from ops.stack.code import pack
from ops.stack.command_line import run_command
from ops.stack.layout import Layout
from ops.stack.submit import SubmitFailed, client_environment, run_job
from schemas.topics import TOPICS
from wire.kafka import WARNINGS

RUNNING_S, CLIENT_S = 90, 120

Say = Callable[[str], None]


def up(settings: Settings, app: str, jobs: tuple[str, ...], say: Say) -> dict[str, str]:
    """Start the stack and the jobs ("conversation", "tools", "bare"); the TaskManager that each of them runs on."""
    layout = Layout(settings.state_dir)
    try:
        lifecycle.up(settings, say, with_jobs=False)
        _make_topics(settings)
        folder, _ = pack(layout, app)
        ids = {job: _run(settings, layout, app, job, folder) for job in jobs}
        hosts = {job: _wait_running(settings, job, id) for job, id in ids.items()}
    except (lifecycle.StackFailed, SubmitFailed, http.HttpError) as error:
        raise Trouble(str(error), "Read the logs under the stack's folder.") from error
    say("  " + ", ".join(f"{job} on {host}" for job, host in hosts.items()))
    return hosts


def parts(settings: Settings) -> list[processes.Process]:
    """Every process of the stack."""
    layout = Layout(settings.state_dir)
    supervisor = processes.supervisor(layout)
    return [*processes.living(layout), *([supervisor] if supervisor else [])]


def _make_topics(settings: Settings) -> None:
    """The bare job's topics, with the settings of the product's."""
    config = TOPICS["agent-events"].config
    names = [f"{settings.namespace}.{name}" for name in (INPUT, OUTPUT)]
    admin = AdminClient({"bootstrap.servers": settings.bootstrap, "log_level": WARNINGS})
    made = admin.create_topics([NewTopic(name, settings.partitions, 1, config=config) for name in names])
    for future in made.values():
        future.result()


def _run(settings: Settings, layout: Layout, app: str, job: str, folder: Path) -> str:
    if job == "bare":
        return _run_bare(settings, layout, app, folder)
    return run_job(settings, layout, app, job, folder, "")


def _run_bare(settings: Settings, layout: Layout, app: str, folder: Path) -> str:
    """Submit the bare job as `threadlog submit` does the product's; its id."""
    whole = run_command(settings, layout, app, "bare", folder, "")
    script = {str(folder / "jobs" / "bare.py"): str(folder / "bench" / "bare.py")}
    command, environment = [script.get(word, word) for word in whole], client_environment(layout, "bare")
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=CLIENT_S, check=False
    )
    found = re.search(r"JobID ([0-9a-f]{32})", done.stdout)
    if found is None:
        raise SubmitFailed(f"the bare job did not start:\n{(done.stdout + done.stderr)[-2000:]}")
    return found.group(1)


def _wait_running(settings: Settings, name: str, job_id: str) -> str:
    """Wait until every task of a job runs; the one TaskManager that they are on."""
    until = time.monotonic() + RUNNING_S
    while time.monotonic() < until:
        vertices = http.call(f"{settings.flink_rest}/jobs/{job_id}")["vertices"]
        if vertices and all(vertex["status"] == "RUNNING" for vertex in vertices):
            (host,) = flink.hosts(settings, job_id)
            return host
        time.sleep(0.2)
    raise SubmitFailed(f"the {name} job does not run after {RUNNING_S} s: {flink.last_failure(settings, job_id)}")
