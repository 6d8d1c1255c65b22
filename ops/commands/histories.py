# SPDX-License-Identifier: Apache-2.0
"""`threadlog histories`: whole threads as files, for tests and for replay without a broker."""

from __future__ import annotations

from pathlib import Path

import click

from ops.context import Context, Trouble, pass_context
from ops.replay.export import export
from ops.replay.histories import files_of
from ops.replay.moments import moment_ms
from ops.written import force as forcing


@click.group("histories")
def command() -> None:
    """Threads exported from the journal, with the schemas that their inputs need."""


@command.command("export")
@click.argument("threads", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every thread.")
@click.option("--since", help="Threads that decided something since then: 2026-01-31T09:00Z, 36h, 15m. Whole.")
@click.option("--last", type=click.IntRange(1), help="At most so many of them, those that decided last.")
@click.option(
    "--file", "files", multiple=True, type=click.Path(path_type=Path, exists=True), help="From histories, not Kafka."
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@forcing
@pass_context
def export_(
    ctx: Context,
    threads: tuple[str, ...],
    everything: bool,
    since: str | None,
    last: int | None,
    files: tuple[Path, ...],
    out: Path,
    force: bool,
) -> None:
    """Write THREADS as a histories file; `threadlog replay --file` and pytest replay it anywhere."""
    if not (threads or everything or since or files):
        raise Trouble("Nothing says which threads to export.", "Name some, or say --all or --since.")
    since_ms, read = moment_ms(since) if since else 0, tuple(files_of(files))
    done = export(ctx.settings, out, force, read, frozenset(threads), since_ms, last)
    size = f"{out.stat().st_size / 1e6:,.1f} MB"
    ctx.say(f"{done.threads:,} threads, {done.entries:,} decisions in {out}, {size}.")
    ctx.emit(file=str(out), threads=done.threads, entries=done.entries, bytes=out.stat().st_size)
    if done.cut:
        ctx.say(f"{done.cut:,} threads begin at a snapshot: their history before it is cut.")
    done.complain()
