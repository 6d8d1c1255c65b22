# SPDX-License-Identifier: Apache-2.0
"""The void entries that the index was told of and left out."""

from __future__ import annotations

import sqlite3

from ops.voids import Void


def void_entries(db: sqlite3.Connection, thread: str | None = None) -> list[Void]:
    """The void entries of one thread, or of all, in the order of the log."""
    where, values = ("", ()) if thread is None else ("WHERE thread = ?", (thread,))
    found = db.execute(f'SELECT thread, partition, "offset", reason FROM voids {where} ORDER BY 2, 3', values)
    return [Void(*row) for row in found]
