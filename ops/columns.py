# SPDX-License-Identifier: Apache-2.0
"""Rows in columns for people, each on one line however long: a terminal wraps it, and a pipe gets all of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ops.printable import printable

_WIDTH = 100_000  # wider than any row, so that nothing is cut


def print_columns(titles: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table. None is empty; brackets in a value are no markup."""
    table = Table(
        *(Column(printable(title), no_wrap=True) for title in titles), box=None, padding=(0, 1, 0, 0), pad_edge=False
    )
    for row in rows:
        table.add_row(*(Text("" if value is None else printable(str(value))) for value in row))
    Console(width=_WIDTH, highlight=False).print(table)
