# SPDX-License-Identifier: Apache-2.0
"""The tables of the index, as docs/queries.md tells them. A change of any of them needs another VERSION: an index of
another version is built anew.

A decision's id is its place in the log, so a row that is written twice cannot be: the database refuses it.
"""

from __future__ import annotations

VERSION = 2
# A partition holds so many offsets at most; twenty years at a thousand a second.
OFFSET_BITS = 40
OFFSET_MAX = (1 << OFFSET_BITS) - 1

TABLES = (
    """CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)""",
    """CREATE TABLE log (
        partition INTEGER PRIMARY KEY, first INTEGER NOT NULL, next INTEGER NOT NULL, cut INTEGER NOT NULL)""",
    """CREATE TABLE outlines (thread TEXT PRIMARY KEY, outline BLOB NOT NULL)""",
    """CREATE TABLE threads (
        thread TEXT PRIMARY KEY, state TEXT NOT NULL, waiting_on TEXT NOT NULL, since_ms INTEGER NOT NULL,
        began_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, first_seq INTEGER NOT NULL, seq INTEGER NOT NULL,
        agent TEXT NOT NULL, version INTEGER NOT NULL, run_id TEXT NOT NULL, open_calls INTEGER NOT NULL,
        queued INTEGER NOT NULL, tools TEXT NOT NULL, error TEXT NOT NULL, head TEXT NOT NULL)""",
    f"""CREATE TABLE decisions (
        id INTEGER PRIMARY KEY, thread TEXT NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL,
        kind TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL, agent TEXT NOT NULL,
        version INTEGER NOT NULL, run_id TEXT NOT NULL, input_topic TEXT NOT NULL, input_partition INTEGER NOT NULL,
        input_offset INTEGER NOT NULL, input_source TEXT NOT NULL, input_id TEXT NOT NULL, input_type TEXT NOT NULL,
        input_time_ms INTEGER NOT NULL, app_digest TEXT NOT NULL, bytes INTEGER NOT NULL, snapshot INTEGER NOT NULL,
        hash TEXT NOT NULL,
        partition INTEGER GENERATED ALWAYS AS (id >> {OFFSET_BITS}) VIRTUAL,
        "offset" INTEGER GENERATED ALWAYS AS (id & {OFFSET_MAX}) VIRTUAL)""",
    # To count a million entries of an index takes SQLite a tenth of a second: the counts are kept beside the rows.
    """CREATE TABLE verdicts (
        verdict TEXT NOT NULL, kind TEXT NOT NULL, decisions INTEGER NOT NULL, PRIMARY KEY (verdict, kind))
        WITHOUT ROWID""",
    """CREATE TABLE effect_rows (
        decision INTEGER NOT NULL, n INTEGER NOT NULL, do TEXT NOT NULL, run_id TEXT, tool TEXT, call_id TEXT,
        status TEXT, detail TEXT, PRIMARY KEY (decision, n)) WITHOUT ROWID""",
    """CREATE TABLE calls (
        call_id TEXT PRIMARY KEY, thread TEXT NOT NULL, run_id TEXT NOT NULL, ordinal TEXT NOT NULL,
        tool TEXT NOT NULL, effect TEXT NOT NULL, args TEXT NOT NULL, asks INTEGER NOT NULL, asked_seq INTEGER,
        asked_ms INTEGER NOT NULL, closed_seq INTEGER, closed_ms INTEGER, status TEXT NOT NULL, attempts INTEGER,
        error TEXT)""",
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY, thread TEXT NOT NULL, agent TEXT NOT NULL, version INTEGER NOT NULL,
        began_seq INTEGER, began_ms INTEGER NOT NULL, ended_seq INTEGER, ended_ms INTEGER, status TEXT NOT NULL,
        error TEXT NOT NULL)""",
    """CREATE TABLE replies (
        reply_id TEXT PRIMARY KEY, thread TEXT NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL,
        run_id TEXT NOT NULL, agent TEXT NOT NULL, event_source TEXT, event_id TEXT, text TEXT NOT NULL,
        data TEXT NOT NULL)""",
    # Few and asked for often: as a view of decisions, a count of them would read pages all over the file.
    """CREATE TABLE dead_letters (
        thread TEXT NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL, code TEXT NOT NULL,
        message TEXT NOT NULL, input_topic TEXT NOT NULL, input_partition INTEGER NOT NULL,
        input_offset INTEGER NOT NULL, input_source TEXT NOT NULL, input_id TEXT NOT NULL, input_type TEXT NOT NULL)""",
    """CREATE TABLE voids (
        partition INTEGER NOT NULL, "offset" INTEGER NOT NULL, thread TEXT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (partition, "offset"))""",
    """CREATE VIEW effects AS
        SELECT d.thread, d.seq, e.n, d.time_ms, e.do, e.run_id, e.tool, e.call_id, e.status, e.detail
        FROM effect_rows e LEFT JOIN decisions d ON d.id = e.decision""",
)
# Made when the log was read to its end: to sort a million rows takes a second, to keep them sorted as they come many.
INDEXES = (
    """CREATE UNIQUE INDEX IF NOT EXISTS decisions_of_thread ON decisions (thread, seq)""",
    """CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions (time_ms)""",
    """CREATE INDEX IF NOT EXISTS decisions_by_verdict ON decisions (verdict, kind, agent)""",
    """CREATE INDEX IF NOT EXISTS threads_by_state ON threads (state, since_ms)""",
    # All that `threadlog threads` filters by, in the order in which it shows: only what it shows is looked up.
    """CREATE INDEX IF NOT EXISTS threads_by_time
        ON threads (last_ms, state, agent, waiting_on, tools, error, since_ms)""",
    """CREATE INDEX IF NOT EXISTS calls_of_thread ON calls (thread)""",
    """CREATE INDEX IF NOT EXISTS calls_by_tool ON calls (tool, status, effect, asked_ms, closed_ms)""",
    """CREATE INDEX IF NOT EXISTS runs_of_thread ON runs (thread)""",
    """CREATE INDEX IF NOT EXISTS runs_by_status ON runs (status, agent)""",
    """CREATE INDEX IF NOT EXISTS replies_of_thread ON replies (thread)""",
    """CREATE INDEX IF NOT EXISTS dead_letters_of_thread ON dead_letters (thread)""",
    """CREATE INDEX IF NOT EXISTS dead_letters_by_code ON dead_letters (code)""",
)
# What docs/queries.md promises; the rest is for the index alone.
PUBLIC = ("threads", "decisions", "verdicts", "effects", "calls", "runs", "replies", "dead_letters", "voids", "log")
