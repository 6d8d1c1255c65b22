# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.queries`: the index of a journal of 1,000,000 decisions, and what each query of it takes.

No stack: the engine makes the support desk's mix, and the journal lies in a file (2.3 GB) that is read as a topic is.
Every query runs on a connection of its own, as a command does, with the file in the system's cache; the time is the
query's, without Python's start, the broker and what brings the index up to date before it (told by itself). The
slowest is of these; aggregates that read a whole table of decisions or effects are told apart.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench import journal
from bench.figures import Figure
from bench.session import FOLDER, without_stack, write
from ops.index import database, queries
from ops.index.differences import differences
from ops.index.queries import Filter
from ops.index.refresh import refresh
from ops.index.states import states_at
from schemas.codec import Codec

HERE = FOLDER / "queries"
NEWS = 1_000  # decisions that a refresh of a living journal finds
THREAD = "customer-0000017"
FILTERS = {
    "newest": Filter(),
    "parked": Filter(state="parked"),
    "parked_of_agent_for_an_hour": Filter(state="parked", agent="support", older_ms=3_600_000),
    "waiting_on": Filter(waiting_on="refund"),
    "tool": Filter(tool="refund"),
    "tool_that_nobody_called": Filter(tool="nothing"),
    "error": Filter(error="lacks"),
    "error_that_nobody_had": Filter(error="nothing like it"),
    "all_of_them": Filter("parked", "support", 3_600_000, None, "refund", "refund", "version"),
}
SQL = {
    "decisions_of_thread": f"SELECT * FROM decisions WHERE thread = '{THREAD}' ORDER BY seq",
    "effects_of_thread": f"SELECT * FROM effects WHERE thread = '{THREAD}' ORDER BY seq, n",
    "newest_decisions": "SELECT thread, seq, verdict FROM decisions ORDER BY time_ms DESC LIMIT 100",
    "refused": "SELECT thread, seq, reason FROM decisions WHERE verdict = 'refused' LIMIT 100",
    "open_calls": "SELECT thread, tool, args FROM calls WHERE tool = 'refund' AND status = 'open' LIMIT 100",
    "failed_calls": "SELECT tool, count(*) FROM calls WHERE status = 'failed' GROUP BY tool",
    "states": "SELECT state, count(*) FROM threads GROUP BY state",
    "counts_of_verdicts": "SELECT * FROM verdicts",
    "tools": "SELECT tool, status, count(*), avg(closed_ms - asked_ms) FROM calls GROUP BY tool, status",
    "runs": "SELECT agent, status, count(*) FROM runs GROUP BY agent, status",
    "dead_letters": "SELECT code, count(*) FROM dead_letters GROUP BY code",
}
# Whatever index there is, these read a million rows or more.
WHOLE = {
    "effects": "SELECT do, count(*) FROM effects GROUP BY do",
    "verdicts": "SELECT verdict, kind, count(*) FROM decisions GROUP BY verdict, kind",
    "decisions_by_input": "SELECT input_type, count(*) FROM decisions GROUP BY input_type",
}
Query = Callable[[sqlite3.Connection], Any]


def _ms(path: Path, query: Query) -> float:
    with database.reading(path) as db:
        began = time.perf_counter()
        query(db)
        return 1000 * (time.perf_counter() - began)


def _threads(wanted: Filter, now_ms: int) -> Query:
    return lambda db: queries.threads(db, wanted, now_ms)


def _sql(text: str) -> Query:
    return lambda db: queries.ask(db, text, 1_000, 60)


def _build(path: Path, log: journal.FileLog, codec: Codec) -> list[Figure]:
    began, cpu = time.perf_counter(), time.process_time()
    done = refresh(path, "bench", log, codec, anew=True)
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    return [
        Figure("queries.build", "decisions/s", [done.decisions / wall]),
        Figure("queries.build_cpu", "us/decision", [1e6 * used / done.decisions]),
        Figure("queries.index_size", "bytes/decision", [size / done.decisions]),
    ]


def _news(path: Path, log: journal.FileLog, codec: Codec, rounds: int) -> Figure:
    """Refreshes that each find NEWS decisions, then one more of what is left."""
    spent = []
    for left in range(rounds - 1, -1, -1):
        log.hide(left * NEWS)
        began = time.perf_counter()
        refresh(path, "bench", log, codec)
        spent.append(1000 * (time.perf_counter() - began))
    return Figure(f"queries.refresh_of_{NEWS}", "ms", spent)


def _measured(path: Path, log: journal.FileLog, codec: Codec, rounds: int) -> list[Figure]:
    with database.reading(path) as db:
        now_ms = 2 * 3_600_000 + db.execute("SELECT max(last_ms) FROM threads").fetchone()[0]
        last = db.execute("SELECT seq FROM threads WHERE thread = ?", (THREAD,)).fetchone()[0]
    asked: dict[str, Query] = {f"threads.{name}": _threads(wanted, now_ms) for name, wanted in FILTERS.items()}
    asked |= {f"sql.{name}": _sql(text) for name, text in SQL.items()}
    asked["show_at"] = lambda db: states_at(db, log, codec, THREAD, [last])

    def diff(db: sqlite3.Connection) -> None:
        states = states_at(db, log, codec, THREAD, [1, last])
        list(differences(states[1], states[last]))
        queries.decisions(db, THREAD, 1, last)

    asked["diff"] = diff
    found = [Figure(f"queries.{n}", "ms", [_ms(path, query) for _ in range(rounds)]) for n, query in asked.items()]
    found.append(Figure("queries.slowest", "ms", [max(max(figure.runs) for figure in found)]))
    whole = {f"queries.whole.{name}": _sql(text) for name, text in WHOLE.items()}
    return found + [Figure(name, "ms", [_ms(path, query) for _ in range(rounds)]) for name, query in whole.items()]


@click.command()
@click.option("--decisions", type=click.IntRange(20_000), default=1_000_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the journal.")
@click.option("--busy", is_flag=True, help="Measure although the machine has other work; figures are marked.")
@click.option("--keep", is_flag=True, help="Leave journal and index; a journal that is there is used.")
@click.option("--folder", type=click.Path(path_type=Path), default=HERE, help="Where they are made.")
def main(decisions: int, rounds: int, seed: int, busy: bool, keep: bool, folder: Path) -> None:
    """Measure the index of a big journal and its queries."""
    conditions, meter = without_stack({"busy": busy})
    file, path = folder / f"journal-{seed}-{decisions}.bin", folder / "index" / database.FILE
    try:
        if not file.exists():
            click.echo(f"Making {decisions:,} decisions")
            journal.make(file, seed, decisions)
        log, codec = journal.FileLog(file), Codec(journal.schemas())
        log.hide(rounds * NEWS)
        found = _build(path, log, codec)
        found.append(_news(path, log, codec, rounds))
        found += _measured(path, log, codec, rounds)
        with database.reading(path) as db:
            threads = db.execute("SELECT count(*) FROM threads").fetchone()[0]
        sizes = {"decisions": decisions, "threads": threads, "journal_bytes": log.size}
        write("queries", found, {**conditions, **sizes, "sqlite": sqlite3.sqlite_version, "seed": seed}, meter)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
