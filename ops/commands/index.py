# SPDX-License-Identifier: Apache-2.0
"""`threadlog index`: the local index of the journal."""

from __future__ import annotations

import time

import click

from ops.context import Context, pass_context
from ops.index import database
from ops.index.opened import index, tell
from ops.index.source import bring_up_to_date


@click.group("index")
def command() -> None:
    """The index of the journal that `threads`, `diff`, `show --at` and `sql` ask: a cache, rebuilt at any time."""


@command.command("rebuild")
@pass_context
def rebuild(ctx: Context) -> None:
    """Make the index anew from the whole journal."""
    began = time.monotonic()
    done = bring_up_to_date(ctx.settings, anew=True, tell=tell)
    seconds = time.monotonic() - began
    ctx.emit(decisions=done.decisions, voids=done.voids, cut=done.cut, seconds=round(seconds, 3))
    ctx.say(f"{done.decisions:,} decisions in {seconds:.1f} s; {done.voids} void, {done.cut} cut off by retention.")


@command.command("status")
@pass_context
def status(ctx: Context) -> None:
    """What the index holds and up to where; needs no broker."""
    path = database.path_of(ctx.settings)
    with index(ctx, refresh=False) as db:
        known = database.meta(db)
        counts = {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("threads", "decisions", "voids")
        }
        places = db.execute("SELECT partition, first, next, cut FROM log ORDER BY partition").fetchall()
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    ctx.emit(path=str(path), bytes=size, **known, **counts, cut=sum(cut for *_, cut in places))
    ctx.say(f"{path}, {size / 1e6:.1f} MB, of {known['namespace']} on {known['identity']}")
    ctx.say(f"{counts['threads']:,} threads, {counts['decisions']:,} decisions, {counts['voids']} void entries")
    for partition, first, after, cut in places:
        ctx.emit(partition=partition, first=first, next=after, cut=cut)
        ctx.say(f"  partition {partition}: {first} to {after}" + (f", {cut} without their start" if cut else ""))
