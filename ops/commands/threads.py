# SPDX-License-Identifier: Apache-2.0
"""`threadlog threads`."""

from __future__ import annotations

import time
from typing import Any

import click

from ops.columns import print_columns
from ops.context import Context, pass_context
from ops.index import queries
from ops.index.opened import index, no_refresh
from ops.index.voids import void_entries
from ops.replay.moments import moment_option
from ops.voids import complain


class Duration(click.ParamType[int]):
    """Milliseconds, written as 90s, 1h or 2d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The milliseconds of a duration."""
        try:
            return value if isinstance(value, int) else queries.milliseconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def age(ms: int) -> str:
    """A time span in its largest unit."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if ms >= size:
            return f"{ms / size:.1f}{unit}"
    return f"{ms / 1000:.1f}s"


_BEGAN = "Begun before 2026-01-31T09:00Z, or 36h ago, whatever its state is since."
TITLES = ("thread", "state", "for", "waiting on", "agent", "seq", "calls", "queued", "error")


def _told(row: dict[str, Any], now_ms: int) -> tuple[Any, ...]:
    return (
        row["thread"], row["state"], age(max(0, now_ms - row["since_ms"])), row["waiting_on"], row["agent"],
        row["seq"], row["open_calls"] or None, row["queued"] or None, row["error"],
    )  # fmt: skip


@click.command("threads")
@click.option("--state", type=click.Choice(queries.STATES), help="What the thread does now.")
@click.option("--agent", help="Of the open run, or of the last.")
@click.option("--older", "older_ms", type=Duration(), help="In this state for so long or longer: 90s, 1h, 2d.")
@click.option("--younger", "younger_ms", type=Duration(), help="In this state for no longer than this.")
@click.option("--began-before", "began_before_ms", callback=moment_option, metavar="TIME", help=_BEGAN)
@click.option("--began-after", "began_after_ms", callback=moment_option, metavar="TIME", help="Begun then or later.")
@click.option("--waiting-on", help="A tool or event type that the open run waits for, or sleep.")
@click.option("--tool", help="A tool that the thread has called.")
@click.option("--error", help="Part of the error of the parked or of the last run.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="So many threads at most.")
@no_refresh
@pass_context
def command(ctx: Context, /, no_refresh: bool, limit: int, **given: Any) -> None:
    """Threads by what they do and wait for, the newest activity first; with --older, what lasts longest first."""
    now_ms = int(time.time() * 1000)
    with index(ctx, not no_refresh) as db:
        found = queries.threads(db, queries.Filter(**given, limit=limit + 1), now_ms)
        voids = void_entries(db)
    for row in found[:limit]:
        ctx.emit(**row)
    if not ctx.json and found:
        print_columns(TITLES, (_told(row, now_ms) for row in found[:limit]))
    if not found:
        ctx.say("No thread is like that." if any(v is not None for v in given.values()) else "There is no thread yet.")
    if len(found) > limit:
        ctx.say(f"More than {limit} are like that; --limit shows more of them.")
    complain(voids, len(voids))
