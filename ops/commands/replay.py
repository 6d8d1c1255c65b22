# SPDX-License-Identifier: Apache-2.0
"""`threadlog replay`."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from ops.context import Context, Trouble, pass_context
from ops.replay import report
from ops.replay.histories import files_of
from ops.replay.moments import moment_ms
from ops.replay.pool import replay
from ops.replay.tally import Tally
from ops.replay.work import Job, Told
from threadlog.replay import Divergence

EXAMPLES = 3  # divergences shown in full, each of another kind, in what-if


@dataclass
class Voice:
    """Tells of progress while a replay goes on, and of each thread that diverges to a program."""

    ctx: Context
    count: int = 0
    diverged: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def __call__(self, told: Told) -> None:
        """A worker's word."""
        if isinstance(told, Divergence):
            self.diverged += 1
            self.ctx.emit(diverged=True, **msgspec.to_builtins(told))
            return
        self.count += told
        if sys.stderr.isatty():
            rate = self.count / max(self.seconds, 0.001)
            click.echo(f"\r{self.count:,} decisions, {rate:,.0f}/s, {self.diverged:,} diverged ", nl=False, err=True)

    def clear(self) -> None:
        """Wipe the line of progress."""
        if sys.stderr.isatty():
            click.echo("\r" + " " * 70 + "\r", nl=False, err=True)


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
@click.option("--check-upgrade", is_flag=True, help="Decide nothing again; try the open runs on this code.")
@click.option("--workers", type=click.IntRange(0, 64), help="Processes (default: one a core; 0: this one).")
@pass_context
def command(ctx: Context, /, **given: Any) -> None:
    """Execute the journal again on today's code with the recorded results; compare every effect, patch and hash.

    No tool is called. Ends with code 1 where the code decides otherwise than the log."""
    thread, since, files = given["thread"], given["since"], given["files"]
    if not (thread or given["everything"] or since or files):
        raise Trouble("Nothing says what to replay.", "Name a thread, or say --all, --since or --file.")
    if given["what_if"] and given["check_upgrade"]:
        raise Trouble("--what-if asks what would have been, --check-upgrade what would break.", "Say one of them.")
    workers = _workers(given["workers"], bool(thread) and not files)
    job = Job(
        given["app"] or ctx.settings.app, ctx.settings, tuple(files_of(files)), (thread,) if thread else (),
        given["cold"], given["what_if"], moment_ms(since) if since else 0, given["check_upgrade"],
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
        raise Trouble(
            f"{'The file' if job.files else 'The journal'} holds {what}.", "`threadlog send` begins a thread."
        )
    failed = _upgrade(ctx, tally) if job.upgrade else _decisions(ctx, job, tally, workers == 0)
    for line in report.summary(tally, seconds, workers):
        ctx.say(line)
    ctx.emit(**_as_json(tally, seconds, workers))
    if tally.voids:
        told = "\n".join(f"  {one}" for one in tally.voids_told)
        raise Trouble(
            f"The journal is broken. Void and left out, {tally.voids}:\n{told}",
            "docs/operations.md says what that means and what to do.",
        )
    if failed:
        raise click.exceptions.Exit(1)


def _decisions(ctx: Context, job: Job, tally: Tally, in_process: bool) -> bool:
    """Say what diverged. True where that is a failure: a what-if is a question."""
    examples = sorted(tally.groups.values(), key=lambda group: -group.decisions)[:EXAMPLES] if job.newest else []
    shown = [group.first for group in examples] if job.newest else [first] if (first := tally.first()) else []
    for one in shown:
        for line in report.divergence(one):
            ctx.say(_coloured(line))
        ctx.say()
    ctx.say(report.verdict(tally))
    for line in report.groups(tally):
        ctx.say(line)
    if tally.diverged and in_process and sys.flags.hash_randomization:
        ctx.say("Where a set decides the order: TaskManagers run with PYTHONHASHSEED=0, so do --workers 1 and more.")
    return bool(tally.diverged) and not job.newest


def _upgrade(ctx: Context, tally: Tally) -> bool:
    """Say what this code would break of what is open now."""
    for one in tally.breaches:
        ctx.emit(breaks=True, **msgspec.to_builtins(one))
        for line in report.breach(one):
            ctx.say(_coloured(line))
    threads = len({one.thread for one in tally.breaches})
    parked = f" ({tally.parked_runs} parked already)" if tally.parked_runs else ""
    broken = f"This code would break {threads:,} of the threads" if threads else "This code breaks nothing"
    ctx.say(f"{broken}: {tally.open_runs:,} runs are open{parked}.")
    return bool(tally.breaches)


def _coloured(line: str) -> str:
    mark = line.strip()[:2]
    return click.style(line, fg={"- ": "red", "+ ": "green"}.get(mark))


def _as_json(tally: Tally, seconds: float, workers: int) -> dict[str, Any]:
    return {
        "summary": True, "threads": tally.threads, "decisions": tally.decisions, "threads_diverged": tally.diverged,
        "standings": dict(sorted(tally.standings.items())), "voids": tally.voids, "threads_cut": tally.cut,
        "entries_lost": tally.lost, "other_limits": dict(sorted(tally.other_limits.items())),
        "older_states": tally.older_states,
        "open_runs": tally.open_runs, "parked_runs": tally.parked_runs, "breaches": len(tally.breaches),
        "seconds": round(seconds, 3), "decisions_per_s": round(tally.decisions / max(seconds, 0.001)),
        "workers": workers,
        "groups": [
            {"kind": g.kind, "about": g.about, "threads": g.threads, "decisions": g.decisions,
             "thread": g.first.thread, "seq": g.first.seq}
            for g in tally.groups.values()
        ],
    }  # fmt: skip
