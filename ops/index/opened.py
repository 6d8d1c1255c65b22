# SPDX-License-Identifier: Apache-2.0
"""How a command opens the index: brought up to date first, unless it is told to do without a broker."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from ops.context import Context, Trouble
from ops.index import database
from ops.settings import Settings


def no_refresh(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of every command that asks the index."""
    text = "Ask the index as it is; needs no broker."
    return click.option("--no-refresh", is_flag=True, help=text)(command)


@contextmanager
def index(ctx: Context, refresh: bool) -> Iterator[sqlite3.Connection]:
    """A read-only connection to the index of these settings."""
    if refresh:
        from ops.index.source import bring_up_to_date  # the clients of Kafka and registry take longer than a query

        if why := bring_up_to_date(ctx.settings, tell=tell).anew:
            click.echo(f"The index was made anew: {why}.", err=True)
    with database.reading(database.path_of(ctx.settings)) as db:
        _check(ctx.settings, database.meta(db))
        yield db


_TOLD_EVERY = 100_000


def tell(read: int, left: int) -> None:
    """Progress of a long refresh, on the error stream so that no output is disturbed."""
    if read % _TOLD_EVERY == 0:
        click.echo(f"  {read:,} entries of the journal are read, {left:,} are left", err=True)


def _check(settings: Settings, known: dict[str, str]) -> None:
    if known.get("namespace") != settings.namespace:
        found = known.get("namespace") or "nothing"
        raise Trouble(f"The index is of {found}, not of {settings.namespace}.", "Leave --no-refresh out.")
