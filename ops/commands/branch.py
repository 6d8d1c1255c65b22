# SPDX-License-Identifier: Apache-2.0
"""`threadlog branch`."""

from __future__ import annotations

import click

from ops.branching import make, point_of
from ops.context import Context, Trouble, pass_context
from ops.reading import check_broker
from ops.replay.moments import moment_ms
from ops.settings import changed


@click.command("branch")
@click.argument("new")
@click.option("--until", default="", help="PARTITION:OFFSET,… of the journal, or a moment: 2026-01-31T09:00Z, 36h.")
@click.option("--allow", multiple=True, metavar="TOOL", help="Let this tool have its effect in the branch.")
@pass_context
def command(ctx: Context, new: str, until: str, allow: tuple[str, ...]) -> None:
    """Make the namespace NEW with the history of this one up to --until: a wanted rewind, beside the original.

    Its state is made by `threadlog --namespace NEW start`, or by a catch-up on a cluster of your own. There reads run,
    and the tools that --allow names; what else an agent asks for is answered as rejected. Nothing of this namespace is
    changed."""
    settings = ctx.settings
    if changed(settings, {"namespace": new}).namespace == settings.namespace:
        raise Trouble("A branch has another name than what it branches from.", "Give another namespace.")
    point = point_of(until, moment_ms)
    check_broker(settings)
    made = make(settings, new, point, list(allow), ctx.say)
    line = f"`threadlog --namespace {new} {{}}`".format
    go_on = (
        f"{line('start')} makes its state and goes on"
        if settings.is_local
        else (f"{line('pack --job catchup')} prints how to make its state, {line('pack')} how its jobs go on from that")
    )
    ctx.say(
        f"{new} has {made['entries']:,} decisions of {settings.namespace}. {go_on}; "
        f"reads run there" + (f", and {', '.join(sorted(allow))}." if allow else ", no effects.")
    )
    ctx.emit(branch=new, branch_of=settings.namespace, **made, allowed=sorted(allow))
