# SPDX-License-Identifier: Apache-2.0
"""`threadlog start`."""

from __future__ import annotations

from dataclasses import asdict

import click

from ops.context import Context, Trouble, pass_context
from ops.reading import check_broker
from ops.retention import mismatches
from ops.settings import Settings, changed
from ops.stack import checks, flink, lifecycle, records, starting
from ops.stack.layout import Layout, layout_of
from ops.stack.submit import RUNNING_S, submit
from ops.stack.take_over import take_over
from wire.control import CONVERSATION


@click.command("start")
@click.option("--app", help="The app, package.module:attribute (default: the setting).")
@click.option("--job", type=click.Choice([*flink.JOBS, "both"]), default="both", help="Which job (default: both).")
@click.option("--from-savepoint", "savepoint", default="", help="Begin with this state (one job only).")
@click.option("--rebuild", is_flag=True, help="Make the conversation's state anew, from its journal alone.")
@click.option("--take-over", "over", is_flag=True, help="End copies that run first, stuck ones too.")
@click.option("--accept-lost-inputs", "accept", is_flag=True, help="Go on without inputs that retention has deleted.")
@click.option("--parallelism", type=int, help="Subtasks of each job; TaskManagers come and go with them.")
@pass_context
def command(
    ctx: Context,
    app: str | None,
    job: str,
    savepoint: str,
    rebuild: bool,
    over: bool,
    accept: bool,
    parallelism: int | None,
) -> None:
    """Start the jobs that do not run, the conversation never behind its journal.

    Where nothing was decided since the last stop it goes on from there. Otherwise the state that was found, or given,
    follows the journal to its end first; without any it is made anew from the journal. Without a state the tools job
    has its open effect calls from the journal, and runs all reads again that are still in their topic.

    Where inputs were deleted before they were handled, nothing is started unless the loss is accepted."""
    if savepoint and job == "both":
        raise Trouble("A savepoint belongs to one job.", "Say which with --job conversation or --job tools.")
    if savepoint and rebuild:
        raise Trouble("A state is rebuilt from nothing, or a savepoint goes on.", "Give one of the two.")
    settings = changed(ctx.settings, {"app": app})
    wanted = list(flink.JOBS) if job == "both" else [job]
    if accept and not settings.is_local:
        _accept(ctx, wanted)
        return
    checks.check_ours(settings)
    if parallelism is not None:
        settings = changed(lifecycle.resize(ctx.settings, parallelism, ctx.say), {"app": app})
    with lifecycle.alone(settings.state_dir, ctx.say):
        _start(ctx, settings, wanted, savepoint, rebuild, over, accept)


def _start(
    ctx: Context, settings: Settings, wanted: list[str], savepoint: str, rebuild: bool, over: bool, accept: bool
) -> None:
    layout = layout_of(settings)
    if over:
        take_over(settings, layout, wanted, ctx.say)
    live = flink.live_jobs(settings)
    anew = () if not rebuild else wanted if len(wanted) == 1 else (CONVERSATION,)  # asks that were answered stay so
    for kind in wanted:
        if kind in live:
            if savepoint or kind in anew:
                said = f"{kind} runs already as {live[kind].id}, and would go on with the state that it has."
                raise Trouble(said, "`threadlog stop` first, or --take-over ends it.")
            ctx.say(f"  {kind} runs already as {live[kind].id}")
    missing = [kind for kind in wanted if kind not in live]

    def find(settings: Settings, layout: Layout, kind: str) -> str:
        """Where a job was last; from nothing where nothing is left of it, or where that is wanted."""
        return "" if kind in anew else starting.what_is_left(settings, records.restore_point(layout, kind), kind)

    starting.check_inputs(settings, wanted if accept else missing, accept, ctx.say)
    for mismatch in mismatches(settings) if CONVERSATION in missing else []:
        ctx.emit(**asdict(mismatch))
        ctx.say(f"  {mismatch}")
    ids = submit(settings, layout, settings.app, missing, ctx.say, savepoint, find=find) if missing else {}
    for kind in wanted:
        ctx.emit(job=kind, id=ids.get(kind) or live[kind].id, started=kind in ids)
    if failing := flink.wait_running(settings, [kind for kind in wanted if kind in live], RUNNING_S):
        raise Trouble(
            f"{' and '.join(failing)} is there and does not come to run:\n{flink.causes(settings, failing)}",
            "Mend what it says, or `threadlog start --take-over` ends it and begins anew.",
        )
    ctx.say("Running: " + ", ".join(wanted))


def _accept(ctx: Context, kinds: list[str]) -> None:
    """For a cluster of one's own, whose jobs are started by other means."""
    check_broker(ctx.settings)
    starting.check_inputs(ctx.settings, kinds, True, ctx.say)
    ctx.say(
        "Whatever inputs of theirs are lost is written down as accepted; `threadlog pack` prints how to start them."
    )
    ctx.emit(accepted=kinds)
