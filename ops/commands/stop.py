# SPDX-License-Identifier: Apache-2.0
"""`threadlog stop`."""

from __future__ import annotations

import click

from ops.context import Context, Trouble, pass_context
from ops.stack import flink, lifecycle, records
from ops.stack.layout import Layout
from ops.stack.submit import end_catch_ups, stop_jobs


@click.command("stop")
@click.option("--job", type=click.Choice([*flink.JOBS, "both"]), default="both", help="Which job (default: both).")
@pass_context
def command(ctx: Context, job: str) -> None:
    """Stop the jobs with savepoints; write down where the journal ended, so that a start may go on from there."""
    lifecycle.check_local(ctx.settings)
    layout, kinds = Layout(ctx.settings.state_dir), list(flink.JOBS) if job == "both" else [job]
    live = [kind for kind in flink.live_jobs(ctx.settings) if kind in kinds]
    end_catch_ups(ctx.settings, ctx.say)
    if failed := stop_jobs(ctx.settings, layout, kinds, ctx.say):
        raise Trouble(f"Not stopped: {' and '.join(failed)}.", "They run on; `threadlog logs jobmanager` says more.")
    for kind in live:
        ctx.emit(job=kind, savepoint=records.restore_point(layout, kind))
    ctx.say("Stopped: " + ", ".join(sorted(live)) if live else "No job was running.")
