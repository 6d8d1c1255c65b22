# SPDX-License-Identifier: Apache-2.0
"""`threadlog submit`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ops import http
from ops.context import Context, Trouble, pass_context
from ops.stack import flink
from ops.stack.layout import Layout
from ops.stack.submit import SubmitFailed, submit
from wire.app_code import AppCodeError


@click.command("submit")
@click.option("--app", help="The app, package.module:attribute (default: the setting).")
@click.option("--job", type=click.Choice([*flink.JOBS, "both"]), default="both", help="Which job (default: both).")
@click.option("--from-savepoint", "savepoint", default="", help="Start from this savepoint (one job only).")
@pass_context
def command(ctx: Context, app: str | None, job: str, savepoint: str) -> None:
    """Run this code: a job that runs is stopped with a savepoint and goes on from it."""
    if savepoint and job == "both":
        raise Trouble("A savepoint belongs to one job.", "Say which with --job conversation or --job tools.")
    sys.path.insert(0, str(Path.cwd()))
    kinds = list(flink.JOBS) if job == "both" else [job]
    try:
        ids = submit(ctx.settings, Layout(ctx.settings.state_dir), app or ctx.settings.app, kinds, ctx.say, savepoint)
    except (SubmitFailed, AppCodeError) as error:
        raise Trouble(str(error)) from error
    except (http.HttpError, OSError) as error:
        raise Trouble(f"The stack does not answer: {error}", "Start it with `threadlog up`.") from error
    ctx.say("Running: " + ", ".join(ids))
    for kind, job_id in ids.items():
        ctx.emit(job=kind, id=job_id)
