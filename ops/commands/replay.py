# SPDX-License-Identifier: Apache-2.0
"""`threadlog replay`."""

from __future__ import annotations

import os
import re
import sys
import uuid
from pathlib import Path
from typing import Any

import click

from ops.context import Context, Trouble, pass_context
from ops.reading import check_broker
from ops.replay import report, telling
from ops.replay.histories import files_of
from ops.replay.moments import moment_ms
from ops.replay.pool import replay
from ops.replay.tally import Tally
from ops.replay.telling import Voice
from ops.replay.work import Job

_IN_CLUSTER, _GOING_ON = ("in_cluster", "run", "app", "parallelism"), ("in_cluster", "run", "go_on")


@click.command("replay")
@click.argument("thread", required=False)
@click.option("--all", "everything", is_flag=True, help="Every thread.")
@click.option("--since", help="Decisions from then on: 2026-01-31T09:00Z, 36h, 15m. What is before is followed.")
@click.option(
    "--file", "files", multiple=True, type=click.Path(path_type=Path, exists=True), help="Histories instead of Kafka."
)
@click.option("--app", help="The code: package.module:attribute (default: the setting).")
@click.option("--cold", is_flag=True, help="Execute every run again from its start at every step: stricter, slower.")
@click.option("--what-if", is_flag=True, help="The newest version decides in place of any other; differences by kind.")
@click.option(
    "--answers", metavar="MODULE:FUNCTION", default="", help="With --what-if: answers what the log cannot, and goes on."
)
@click.option("--check-upgrade", is_flag=True, help="Decide nothing again; try the open runs on this code.")
@click.option("--workers", type=click.IntRange(0, 64), help="Processes (default: one a core; 0: this one).")
@click.option("--cluster", "in_cluster", is_flag=True, help="The whole journal, as a job of the cluster.")
@click.option("--go-on", is_flag=True, help="With --cluster: with the last replay, from its last checkpoint.")
@click.option("--run", metavar="NAME", help="With --cluster the name of this replay; alone: what that one found.")
@click.option("--parallelism", type=click.IntRange(1, 256), help="With --cluster: slots (default: the setting).")
@pass_context
def command(ctx: Context, /, **given: Any) -> None:
    """Execute the journal again on today's code with the recorded results; compare every effect, patch and hash.

    No tool is called. Ends with code 1 where the code decides otherwise than the log."""
    if given["in_cluster"] or given["run"] or given["go_on"]:
        _cluster(ctx, given)
        return
    thread, since, files = given["thread"], given["since"], given["files"]
    if not (thread or given["everything"] or since or files):
        raise Trouble("Nothing says what to replay.", "Name a thread, or say --all, --since, --file or --cluster.")
    if given["what_if"] and given["check_upgrade"]:
        raise Trouble("--what-if asks what would have been, --check-upgrade what would break.", "Say one of them.")
    if given["answers"] and not given["what_if"]:
        raise Trouble("--answers is for what the log cannot answer, which is what-if.", "Say --what-if too.")
    workers = _workers(given["workers"], bool(thread) and not files)
    job = Job(
        given["app"] or ctx.settings.app, ctx.settings, tuple(files_of(files)), (thread,) if thread else (),
        given["cold"], given["what_if"], given["answers"], moment_ms(since) if since else 0, given["check_upgrade"],
    )  # fmt: skip
    voice = Voice(ctx)
    try:
        tally = replay(job, workers, voice)
    finally:
        voice.clear()
    _tell(ctx, job, tally, voice.seconds, workers)


def _workers(given: int | None, one: bool) -> int:
    if given is not None:
        return given
    return 1 if one else len(os.sched_getaffinity(0))


def _tell(ctx: Context, job: Job, tally: Tally, seconds: float, workers: int) -> None:
    if not tally.threads and not tally.voids:
        what = f"nothing of thread {job.threads[0]!r}" if job.threads else "no decision"
        if tally.left_out:
            lost = f"thread {job.threads[0]!r}" if job.threads else "every thread"
            raise Trouble(
                f"Retention has deleted the beginning of {lost}, and left no snapshot: nothing can be replayed.",
                "A thread that goes on gets a snapshot again.",
            )
        if job.files:
            raise Trouble(f"The file holds {what}.", "Its lines name its threads; without one, all are replayed.")
        raise Trouble(f"The journal holds {what}.", "`threadlog send` begins a thread.")
    failed = telling.upgrade(ctx, tally) if job.upgrade else telling.decisions(ctx, tally, job.newest)
    if tally.diverged and workers == 0 and sys.flags.hash_randomization:
        ctx.say("Where a set decides the order: TaskManagers run with PYTHONHASHSEED=0, so do --workers 1 and more.")
    for line in report.summary(tally, seconds, workers):
        ctx.say(line)
    open_ = {"open_runs": tally.open_runs, "parked_runs": tally.parked_runs, "breaches": len(tally.breaches)}
    ctx.emit(**telling.counts(tally, seconds), **open_, threads_left_out=tally.left_out, workers=workers)
    telling.end(tally, failed)


def _cluster(ctx: Context, given: dict[str, Any]) -> None:
    """Submit a replay and wait for it, or take one that has ended; tell what it found."""
    from ops.replay import findings  # with the cluster's clients, which a file does without

    _check_cluster(given)
    check_broker(ctx.settings)
    voice = Voice(ctx)
    name, seconds = _verified(ctx, given, voice) if given["in_cluster"] else (given["run"], 0.0)
    found = findings.read(ctx.settings, name, voice)
    if not found.is_there:
        raise Trouble(f"There are no findings of a run {name!r}.", "`threadlog replay --cluster` makes some.")
    findings.check(ctx.settings, found)
    tally, partitions = found.tally, len(found.summaries)
    failed = telling.decisions(ctx, tally)
    for line in report.covered(tally, partitions, name, seconds):
        ctx.say(line)
    ctx.emit(**telling.counts(tally, seconds), run=name, app=found.app, partitions=partitions)
    telling.end(tally, failed)


def _check_cluster(given: dict[str, Any]) -> None:
    name = given["run"]
    if given["go_on"] and not given["in_cluster"]:
        raise Trouble("Only a replay in the cluster can go on.", "Say --cluster --go-on.")
    allowed: tuple[str, ...]
    if given["go_on"]:
        allowed, asked = _GOING_ON, "--go-on goes on as the replay was begun"
    elif given["in_cluster"]:
        allowed, asked = _IN_CLUSTER, "--cluster verifies the whole journal"
    else:
        allowed, asked = ("run",), "--run alone tells of an earlier run"
    if also := sorted(key for key, value in given.items() if value and key not in allowed):
        raise Trouble(f"{asked}, and takes no {', '.join(also)}.", "Leave one of them out.")
    if name and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise Trouble(f"{name!r} names no run.", "Take 1 to 40 of a-z, 0-9 and -.")


def _verified(ctx: Context, given: dict[str, Any], voice: Voice) -> tuple[str, float]:
    """Replay in the cluster; the name, and the seconds that the job took, 0 where it went on. Raises Trouble."""
    from ops.replay import cluster

    name, parallelism = given["run"] or "", given["parallelism"] or ctx.settings.parallelism
    try:
        if given["go_on"]:
            return cluster.go_on(ctx.settings, name, ctx.say, voice.verified).name, 0.0
        run = cluster.verify(
            ctx.settings, given["app"], name or uuid.uuid4().hex[:12], parallelism, ctx.say, voice.verified
        )
        return run.name, run.seconds
    finally:
        voice.clear()
