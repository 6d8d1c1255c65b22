# SPDX-License-Identifier: Apache-2.0
"""`threadlog stop`."""

from __future__ import annotations

import click

from ops import http
from ops.context import Context, Trouble, pass_context
from ops.reading import check_broker, codec_of
from ops.settings import Settings
from ops.stack import checks, flink, lifecycle, records, savepoints, starting
from ops.stack.catch_up import OtherHistory
from ops.stack.layout import Layout, layout_of
from ops.stack.pausing import pause
from ops.stack.submit import end_catch_ups, stop_jobs
from wire.control import CAUGHT_UP, CONVERSATION, STOPPED, is_dropped, read_marks

CATCH_UP_FIRST = "Catch it up first: `threadlog pack --job catchup --from-savepoint URI`, then --record --caught-up."


@click.command("stop")
@click.option(
    "--job", type=click.Choice([*flink.JOBS, flink.REPLAY, "both"]), default="both", help="Which job (default: both)."
)
@click.option("--record", metavar="URI", default="", help="Stop nothing; `flink stop` of the conversation left this.")
@click.option("--caught-up", is_flag=True, help="With --record: it was the catch-up that was stopped.")
@click.option("--rebuilt", is_flag=True, help="As --caught-up, of one that began from nothing.")
@pass_context
def command(ctx: Context, job: str, record: str, caught_up: bool, rebuilt: bool) -> None:
    """Stop the jobs with savepoints; write down where the journal ended, so that a start may go on from there.

    A replay in the cluster, `--job replay`, is cancelled, and goes on from its last checkpoint."""
    if record:
        _record(ctx, record, CAUGHT_UP if caught_up or rebuilt else STOPPED, rebuilt)
        return
    if caught_up or rebuilt:
        raise Trouble("--caught-up and --rebuilt say what a savepoint is of.", "Give its URI with --record.")
    checks.check_ours(ctx.settings)
    with lifecycle.alone(ctx.settings.state_dir, ctx.say):
        _stop(ctx, job)


def _stop(ctx: Context, job: str) -> None:
    layout, kinds = layout_of(ctx.settings), list(flink.JOBS) if job == "both" else [job]
    if job == flink.REPLAY:
        _pause(ctx, layout)
        return
    live = [kind for kind in flink.live_jobs(ctx.settings) if kind in kinds]
    end_catch_ups(ctx.settings, ctx.say)
    failed = stop_jobs(ctx.settings, layout, kinds, ctx.say)
    if CONVERSATION in kinds and CONVERSATION not in failed:
        starting.leave_stopped(ctx.settings, ctx.say)
    if failed:
        hint = "`threadlog status` tells whether they run on, `threadlog logs jobmanager` says more."
        raise Trouble(f"Not stopped: {' and '.join(failed)}.", hint)
    for kind in live:
        ctx.emit(job=kind, savepoint=records.restore_point(layout, kind))
    ctx.say("Stopped: " + ", ".join(sorted(live)) if live else "No job was running.")


def _pause(ctx: Context, layout: Layout) -> None:
    points = pause(ctx.settings, layout, ctx.say)
    for point in points:
        ctx.emit(job=flink.REPLAY, checkpoint=point)
    if not points:
        ctx.say("No replay was running.")


def _record(ctx: Context, savepoint: str, what: str, rebuilt: bool) -> None:
    """For a cluster of one's own, whose jobs are stopped by other means."""
    check_broker(ctx.settings)
    if CONVERSATION in _live(ctx.settings):
        raise Trouble("The conversation runs: its journal moves on.", "Stop it first, then record what that left.")
    anew = (
        "Make the state anew: the line of `threadlog pack --job catchup` without a savepoint, then --record --rebuilt."
    )
    if rebuilt:
        starting.drop(ctx.settings)
    elif is_dropped(read_marks(ctx.settings.bootstrap, ctx.settings.namespace, codec_of(ctx.settings))):
        raise Trouble("No state from before may be gone on from, nor what was caught up from one.", anew)
    if what == STOPPED and (older := savepoints.behind(ctx.settings, savepoint)):
        raise Trouble(
            f"Not recorded: {older}.",
            f"Record what the last `flink stop` left. An older state is another matter. {CATCH_UP_FIRST}",
        )
    try:
        starting.remember(ctx.settings, what, "", savepoint, records.Record(CONVERSATION, "", ctx.settings.app, ""))
    except OtherHistory as error:
        starting.drop(ctx.settings)
        raise Trouble(f"Not recorded: {error}.", anew) from error
    except starting.Unproven as error:
        raise Trouble(f"Not recorded: {error}.", CATCH_UP_FIRST) from error
    ctx.say(f"Recorded: a start may go on from {savepoint} as long as the journal stays as it is.")
    if not savepoints.can_be_read(savepoint):
        ctx.say(
            "It lies on no disk of this machine, so it was not looked into. That it is what the last stop left, and "
            "holds nothing that the journal lacks, is taken on trust."
        )
    ctx.emit(what=what, savepoint=savepoint)


def _live(settings: Settings) -> dict[str, flink.Job]:
    try:
        return flink.live_jobs(settings)
    except http.HttpError:  # no Flink of ours
        return {}
