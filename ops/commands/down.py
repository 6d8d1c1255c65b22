# SPDX-License-Identifier: Apache-2.0
"""`threadlog down`."""

from __future__ import annotations

import click

from ops.context import Context, pass_context
from ops.stack import flink, lifecycle


@click.command("down")
@click.option("--purge", is_flag=True, help="Also remove what the stack left: topics, checkpoints, logs.")
@pass_context
def command(ctx: Context, purge: bool) -> None:
    """Stop the jobs with savepoints, those of branches too, then every part of the stack.

    A replay in the cluster is cancelled; its last checkpoint is kept, and it can go on from there."""
    done = lifecycle.down(ctx.settings, ctx.say, purge)
    for namespace, job, point in done.stopped:
        ctx.emit(namespace=namespace, job=job, **{"checkpoint" if job == flink.REPLAY else "savepoint": point})
    for path in done.removed:
        ctx.emit(removed=str(path))
    for path in done.kept:
        ctx.emit(kept=str(path))
    ctx.say("Down." if done.was_running else "Nothing was running.")
    ctx.emit(down=True, was_running=done.was_running, purged=purge)
