# SPDX-License-Identifier: Apache-2.0
"""Questions to the index: threads by what they are and wait for, and SQL as a person writes it, which only reads."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ops.context import Trouble
from ops.index.tables import PUBLIC, TABLES

THREAD = (
    "thread", "state", "waiting_on", "since_ms", "began_ms", "last_ms", "first_seq", "seq", "agent", "version",
    "run_id", "open_calls", "queued", "tools", "error",
)  # fmt: skip
STATES = ("idle", "queued", "waiting", "parked")
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PROGRESS_STEPS = 10_000  # of SQLite's machine between two looks at the clock; a fraction of a millisecond


@dataclass(frozen=True)
class Filter:
    """Which threads. All that is given must hold; None: any. `older_ms`, `younger_ms`: how long they are as they are.
    `began_before_ms` (excluded), `began_after_ms`: when their first decision was, in milliseconds of the Unix epoch.

    waiting_on, tool: one whole name. error: a part of the error's text, whatever its case."""

    state: str | None = None
    agent: str | None = None
    older_ms: int | None = None
    younger_ms: int | None = None
    waiting_on: str | None = None
    tool: str | None = None
    error: str | None = None
    began_before_ms: int | None = None
    began_after_ms: int | None = None
    limit: int = 50


def threads(db: sqlite3.Connection, wanted: Filter, now_ms: int) -> list[dict[str, Any]]:
    """The threads that a filter lets through: the busiest first, or with `older_ms` those that are so for longest."""
    db.create_function("folded", 1, str.casefold, deterministic=True)  # SQLite's lower() knows ASCII alone
    conditions = {
        "state = ?": wanted.state,
        "agent = ?": wanted.agent,
        "since_ms <= ?": None if wanted.older_ms is None else now_ms - wanted.older_ms,
        "since_ms >= ?": None if wanted.younger_ms is None else now_ms - wanted.younger_ms,
        "began_ms < ?": wanted.began_before_ms,
        "began_ms >= ?": wanted.began_after_ms,
        "state IN ('waiting', 'parked') AND instr(', ' || waiting_on || ', ', ?)": wanted.waiting_on
        and f", {wanted.waiting_on}, ",
        "instr(', ' || tools || ', ', ?)": wanted.tool and f", {wanted.tool}, ",
        "instr(CASE error WHEN '' THEN '' ELSE folded(error) END, ?)": wanted.error and wanted.error.casefold(),
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    where = f"WHERE {' AND '.join(given)}" if given else ""
    order = "last_ms DESC" if wanted.older_ms is None else "since_ms"
    asked = f"SELECT {', '.join(THREAD)} FROM threads {where} ORDER BY {order} LIMIT ?"
    return [dict(zip(THREAD, row, strict=True)) for row in db.execute(asked, [*given.values(), wanted.limit])]


def decisions(db: sqlite3.Connection, thread: str, after: int, up_to: int) -> list[dict[str, Any]]:
    """The decisions of a thread with after < seq <= up_to, in order."""
    columns = ("seq", "time_ms", "kind", "verdict", "reason", "agent", "run_id", "input_type", "input_id", "hash")
    asked = f"SELECT {', '.join(columns)} FROM decisions WHERE thread = ? AND seq > ? AND seq <= ? ORDER BY seq"
    return [dict(zip(columns, row, strict=True)) for row in db.execute(asked, (thread, after, up_to))]


def milliseconds(duration: str) -> int:
    """A duration such as 90s, 1h or 2d. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", duration.strip())
    if found is None:
        raise ValueError(f"{duration!r} is no duration; write a number and ms, s, m, h or d, such as 90s or 1h")
    return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True)
class Answer:
    """What SQL gave: names of columns and rows. `more`: the limit cut it off."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    more: bool


def ask(db: sqlite3.Connection, sql: str, limit: int, seconds: float) -> Answer:
    """The first `limit` rows of one SQL statement that only reads. Raises Trouble for any other and after `seconds`."""
    until = time.monotonic() + seconds
    db.set_authorizer(_may)
    db.set_progress_handler(lambda: time.monotonic() > until, _PROGRESS_STEPS)
    try:
        cursor = db.execute(sql)
        rows = cursor.fetchmany(limit + 1)
        if cursor.description is None:
            raise Trouble("That asks nothing.", "Write one SELECT; `threadlog sql` alone lists tables and columns.")
        return Answer([column[0] for column in cursor.description], rows[:limit], len(rows) > limit)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _trouble(error, seconds) from error
    finally:
        db.set_progress_handler(None, 0)
        db.set_authorizer(None)


_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def _may(action: int, *names: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY


def _trouble(error: Exception, seconds: float) -> Trouble:
    said = str(error)
    if "interrupted" in said:
        return Trouble(f"The query took longer than {seconds:g} s.", "Narrow it, or allow more with --timeout.")
    if any(words in said for words in ("not authorized", "prohibited", "one statement", "denied", "readonly")):
        return Trouble("The index is only read, one SELECT at a time: it is a cache of the journal.", f"SQLite: {said}")
    return Trouble(f"SQLite does not take that: {said}.", "`threadlog sql` alone lists tables and columns.")


def columns() -> dict[str, list[str]]:
    """The public tables and their columns: those of this code, which an index has once it was asked. Needs none."""
    with closing(sqlite3.connect(":memory:")) as db:
        for statement in TABLES:
            db.execute(statement)
        return {
            table: [name for (name,) in db.execute(f"SELECT name FROM pragma_table_xinfo('{table}')")]
            for table in PUBLIC
        }
