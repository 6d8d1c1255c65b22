# SPDX-License-Identifier: Apache-2.0
"""`threadlog submit`."""

from __future__ import annotations

import click

from ops.context import Context, Trouble, pass_context
from ops.settings import changed
from ops.stack import checks, flink, lifecycle
from ops.stack.layout import layout_of
from ops.stack.submit import submit


@click.command("submit")
@click.option("--app", help="The app, package.module:attribute (default: the setting).")
@click.option("--job", type=click.Choice([*flink.JOBS, "both"]), default="both", help="Which job (default: both).")
@click.option("--from-savepoint", "savepoint", default="", help="Start from this savepoint (one job only).")
@pass_context
def command(ctx: Context, app: str | None, job: str, savepoint: str) -> None:
    """Run this code: a job that runs is stopped with a savepoint and goes on from it."""
    if savepoint and job == "both":
        raise Trouble("A savepoint belongs to one job.", "Say which with --job conversation or --job tools.")
    settings, layout = changed(ctx.settings, {"app": app}), layout_of(ctx.settings)
    checks.check_ours(settings)
    kinds = list(flink.JOBS) if job == "both" else [job]
    with lifecycle.alone(settings.state_dir, ctx.say):
        ids = submit(settings, layout, settings.app, kinds, ctx.say, savepoint)
    ctx.say("Running: " + ", ".join(ids))
    for kind, job_id in ids.items():
        ctx.emit(job=kind, id=job_id)
