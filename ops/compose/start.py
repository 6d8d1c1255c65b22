# SPDX-License-Identifier: Apache-2.0
"""`python -m ops.compose.start`: topics, subjects and both jobs of a stack in containers.

What is there stays as it is, so the container may run again whenever the stack comes up: ZooKeeper's volume remembers
the jobs, and the JobManager goes on with them by itself. A second copy of a job would decide everything twice, and so
would a new one that begins from nothing beside what an earlier one has written: a job that the JobManager does not know
goes on from its newest checkpoint or savepoint on the volume, and is refused where there is none."""

from __future__ import annotations

import sys

import click
from confluent_kafka import KafkaException

from ops import http
from ops.compose.settings import from_environment
from ops.settings import SettingsError
from ops.stack import flink, lifecycle
from ops.stack.code import check, pack
from ops.stack.layout import Layout
from ops.stack.submit import SubmitFailed, begin, end_catch_ups, ready_points, starting_point
from schemas.errors import WireError
from wire.app_code import AppCodeError

RUNNING_S = 120


def start(points: dict[str, str], say: lifecycle.Say) -> None:
    """Submit the jobs that the cluster does not know, each from its savepoint in `points` if there is one."""
    settings = from_environment()
    layout = Layout(settings.state_dir)
    layout.make()
    lifecycle.ensure_wire(settings, say)
    end_catch_ups(settings, say)
    known = flink.live_jobs(settings)
    for kind, job in known.items():
        say(f"{kind} is there: {job.id}")
    missing = [kind for kind in flink.JOBS if kind not in known]
    if missing:
        packed = pack(layout, settings.app)
        check(settings.app, packed[0])
        starts = {kind: points.get(kind) or starting_point(settings, layout, kind) for kind in missing}
        starts = ready_points(settings, layout, settings.app, starts, packed, say)
        begin(settings, layout, settings.app, starts, packed, say)
    if waiting := flink.wait_running(settings, list(flink.JOBS), RUNNING_S):
        said, _ = flink.not_running(settings, waiting, RUNNING_S)
        lacking = flink.lack(settings, waiting)
        more = f"\n`docker compose up -d --scale taskmanager={lacking.enough}` gives them room." if lacking else ""
        raise SubmitFailed(said + more)


@click.command()
@click.option(
    "--savepoint", "savepoints", multiple=True, metavar="JOB=URI", help="Where a job that is not there begins."
)
def main(savepoints: tuple[str, ...]) -> None:
    """Create topics and subjects, and submit the jobs that do not run."""
    points = dict(given.split("=", 1) for given in savepoints if "=" in given)
    if len(points) != len(savepoints) or not points.keys() <= set(flink.JOBS):
        raise click.UsageError(f"--savepoint takes JOB=URI; the jobs are {' and '.join(flink.JOBS)}")
    try:
        start(points, lambda line: click.echo(line.strip()))
    except (SubmitFailed, AppCodeError, SettingsError, WireError, KafkaException, http.HttpError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
