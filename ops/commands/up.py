# SPDX-License-Identifier: Apache-2.0
"""`threadlog up`."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from ops.context import Context, Trouble, pass_context
from ops.stack import flink, lifecycle
from ops.stack.submit import SubmitFailed
from wire.app_code import AppCodeError


@click.command("up")
@click.option("--app", help="The app to run, package.module:attribute (default: the support desk).")
@click.option("--no-jobs", is_flag=True, help="Broker, registry and Flink only.")
@click.option("--taskmanagers", type=int, help="How many TaskManagers (default: 3, both jobs and a spare).")
@pass_context
def command(ctx: Context, app: str | None, no_jobs: bool, taskmanagers: int | None) -> None:
    """Start the local stack and its jobs, or what of it does not run."""
    given: dict[str, Any] = {"app": app, "taskmanagers": taskmanagers}
    settings = dataclasses.replace(ctx.settings, **{key: value for key, value in given.items() if value is not None})
    ctx.say(f"Starting in {settings.state_dir}, ports from {settings.port_base}")
    try:
        lifecycle.up(settings, ctx.say, with_jobs=not no_jobs)
    except lifecycle.StackFailed as error:
        raise Trouble(str(error), error.hint) from error
    except (SubmitFailed, AppCodeError) as error:
        raise Trouble(str(error), "The parts run; submit again with `threadlog submit`.") from error
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
