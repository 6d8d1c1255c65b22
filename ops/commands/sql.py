# SPDX-License-Identifier: Apache-2.0
"""`threadlog sql`."""

from __future__ import annotations

from typing import Any

import click

from ops.columns import print_columns
from ops.context import Context, Trouble, pass_context
from ops.index import queries
from ops.index.opened import index, no_refresh


def _cell(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _check_names(columns: list[str]) -> None:
    """Raises Trouble where an object would lack a column, because another has its name."""
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise Trouble(f"Several columns have the name {', '.join(twice)}.", "Name each of them with AS.")


@click.command("sql")
@click.argument("query", required=False)
@click.option("--limit", type=click.IntRange(1), default=1_000, show_default=True, help="So many rows at most.")
@click.option("--timeout", "seconds", type=click.FloatRange(0.001), default=10.0, show_default=True, help="Seconds.")
@no_refresh
@pass_context
def command(ctx: Context, query: str | None, limit: int, seconds: float, no_refresh: bool) -> None:
    """One SELECT over the index of the journal; without QUERY, its tables and columns (docs/queries.md)."""
    if query is None:
        for table, columns in queries.columns().items():
            ctx.say(f"{table}: {', '.join(columns)}")
            ctx.emit(table=table, columns=columns)
        return
    with index(ctx, not no_refresh) as db:
        answer = queries.ask(db, query, limit, seconds)
        _check_names(answer.columns if ctx.json else [])
        voids = db.execute("SELECT count(*) FROM voids").fetchone()[0]
    for row in answer.rows:
        ctx.emit(**{name: _cell(value) for name, value in zip(answer.columns, row, strict=True)})
    if not ctx.json:
        print_columns(answer.columns, (map(_cell, row) for row in answer.rows))
    if answer.more:
        click.echo(f"More than {limit} rows; --limit shows more of them.", err=True)
    if voids:
        click.echo(f"{voids} void entries of the journal are left out; the table voids has them.", err=True)
