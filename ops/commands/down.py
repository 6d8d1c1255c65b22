# SPDX-License-Identifier: Apache-2.0
"""`threadlog down`."""

from __future__ import annotations

import click

from ops.context import Context, pass_context
from ops.stack import lifecycle


@click.command("down")
@click.option("--purge", is_flag=True, help="Also remove what the stack left: topics, checkpoints, logs.")
@pass_context
def command(ctx: Context, purge: bool) -> None:
    """Stop the jobs with savepoints, then every part of the stack."""
    found = lifecycle.down(ctx.settings, ctx.say, purge)
    ctx.say("Down." if found else "Nothing was running.")
    ctx.emit(down=True, was_running=found, purged=purge)
