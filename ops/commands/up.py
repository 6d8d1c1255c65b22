# SPDX-License-Identifier: Apache-2.0
"""`threadlog up`."""

from __future__ import annotations

import click

from ops.context import Context, pass_context
from ops.settings import changed
from ops.stack import flink, lifecycle


@click.command("up")
@click.option("--app", help="The app to run, package.module:attribute (default: the support desk).")
@click.option("--no-jobs", is_flag=True, help="Broker, registry and Flink only.")
@click.option("--taskmanagers", type=int, help="How many TaskManagers (default: 3, both jobs and a spare).")
@pass_context
def command(ctx: Context, app: str | None, no_jobs: bool, taskmanagers: int | None) -> None:
    """Start the local stack and its jobs, or what of it does not run."""
    settings = changed(ctx.settings, {"app": app, "taskmanagers": taskmanagers})
    ctx.say(f"Starting in {settings.state_dir}, ports from {settings.port_base}")
    lifecycle.up(settings, ctx.say, with_jobs=not no_jobs)
    ctx.say(f"Up. Kafka {settings.bootstrap}, registry {settings.registry_url}, Flink {settings.flink_rest}")
    ctx.emit(
        up=True,
        state_dir=str(settings.state_dir),
        namespace=settings.namespace,
        bootstrap=settings.bootstrap,
        registry=settings.registry_url,
        flink=settings.flink_rest,
        jobs={kind: job.id for kind, job in flink.live_jobs(settings).items()},
    )
