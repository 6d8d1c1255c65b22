# SPDX-License-Identifier: Apache-2.0
"""`threadlog pack`."""

from __future__ import annotations

import shlex
import uuid

import click

from ops.context import Context, Trouble, pass_context
from ops.reading import check_broker
from ops.replay import cluster
from ops.settings import Settings, changed
from ops.stack import flink, starting
from ops.stack.code import app_digest, check, pack
from ops.stack.command_line import arguments
from ops.stack.layout import Layout
from wire.control import journal_ends
from wire.kafka import bounds


@click.command("pack")
@click.option("--app", help="The app, package.module:attribute (default: the setting).")
@click.option(
    "--checkpoint-dir", metavar="URI", help="Where every Flink process can write (default: the local stack's)."
)
@click.option("--from-savepoint", "savepoint", metavar="URI", default="", help="Where the jobs go on from.")
@click.option(
    "--job",
    type=click.Choice([*flink.JOBS, flink.CATCH_UP, flink.REPLAY, "both"]),
    default="both",
    help="Which job (default: both).",
)
@pass_context
def command(ctx: Context, app: str | None, checkpoint_dir: str | None, savepoint: str, job: str) -> None:
    """Lay out the code for a Flink cluster of your own; print its digest and the `flink run` lines."""
    if savepoint and job == "both":
        raise Trouble("A savepoint belongs to one job.", "Say which: --job conversation, tools or catchup.")
    if savepoint and job == flink.REPLAY:
        raise Trouble("A replay goes on under its own name, to its own end.", "Add `-s URI` to the line it began with.")
    if not ctx.settings.is_local and checkpoint_dir is None:
        raise Trouble("A cluster of your own needs a folder for checkpoints.", "Give its URI with --checkpoint-dir.")
    settings, layout = changed(ctx.settings, {"app": app}), Layout(ctx.settings.state_dir)
    folder, _ = pack(layout, settings.app)
    check(settings.app, folder)
    digest = app_digest(settings.app, folder)
    ctx.say(f"Code: {folder}\nDigest of {settings.app}: {digest}")
    start = ["-s", savepoint] if savepoint else []
    more = _MORE[job](ctx.settings) if job in _MORE else []
    if more and savepoint:
        start.append("-n")  # it has other sources than the job that left the savepoint
    for kind in flink.JOBS if job == "both" else (job,):
        words = ["flink", "run", "-d", *start, "-pyfs", str(folder), "-py", str(folder / "jobs" / f"{kind}.py")]
        words += arguments(settings, kind, settings.app, folder, checkpoint_dir or f"file://{layout.checkpoints}")
        words += more
        ctx.say(f"\n{shlex.join(words)}")
        ctx.emit(job=kind, folder=str(folder), app=settings.app, app_digest=digest, command=words)


def _catch_up(settings: Settings) -> list[str]:
    """The arguments of a catch-up to the journal's end as of now."""
    check_broker(settings)
    held = bounds(settings.bootstrap, starting.journal_of(settings))
    return starting.catch_up_arguments(uuid.uuid4().hex[:12], held)


def _replay(settings: Settings) -> list[str]:
    """The arguments of a replay of the journal to its end as of now."""
    check_broker(settings)
    return cluster.arguments(uuid.uuid4().hex[:12], journal_ends(settings.bootstrap, settings.namespace))


_MORE = {flink.CATCH_UP: _catch_up, flink.REPLAY: _replay}
