# SPDX-License-Identifier: Apache-2.0
"""`threadlog sql` answers, and only reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.index.tables import PUBLIC
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.indexes import names, thread
from tests.threadlog.desk import Desk


def test_sql_answers_with_its_columns(journal: dict[str, Desk]) -> None:
    """As a table and as objects."""
    query = "SELECT thread, count(*) AS n FROM decisions GROUP BY 1 ORDER BY 1"
    counts = {"failed": 2, "idle": 1, "parked": 2, "waits": 1}
    assert objects(run("sql", query, "--json")) == [{"thread": name, "n": n} for name, n in counts.items()]
    told = run("sql", query).stdout.split()
    assert told[:4] == ["thread", "n", "failed", "2"]
    told = run("sql", query, "--limit", "2")
    assert (told.exit_code, "More than 2 rows" in told.stderr) == (0, True)


def test_sql_drops_no_column_of_an_object(journal: dict[str, Desk]) -> None:
    """Two columns of one name are refused where the name must tell them apart; a table shows both."""
    query = "SELECT 1 AS a, 2 AS b, 3 AS a"
    told = run("sql", query, "--json")
    assert (told.exit_code, told.stdout, "Several columns have the name a." in told.stderr) == (1, "", True)
    assert run("sql", query).stdout.split() == ["a", "b", "a", "1", "2", "3"]


WRITES = [
    "DELETE FROM decisions", "INSERT INTO voids VALUES (1, 2, 'a', 'b')", "UPDATE threads SET state = 'idle'",
    "DROP TABLE decisions", "CREATE TABLE mine (x)", "ATTACH 'other.db' AS other", "PRAGMA writable_schema = 1",
    "VACUUM", "BEGIN IMMEDIATE", "SELECT 1; DELETE FROM decisions", "SELECT load_extension('x')",
]  # fmt: skip


@pytest.mark.parametrize("query", WRITES)
def test_sql_only_reads(journal: dict[str, Desk], alone: Path, query: str) -> None:
    """Whatever would write, open another file or load code is refused in a sentence."""
    names()
    told = run("sql", query)
    assert told.exit_code == 1
    assert "Error: " in told.stderr and "Traceback" not in told.stderr
    assert "only read" in told.stderr or "load_extension" in query
    assert len(names("--no-refresh")) == 4
    assert not (alone / "other.db").exists()


@pytest.mark.parametrize("query", ["SELEC 1", "SELECT * FROM nowhere", "SELECT nothing FROM threads", "", " -- words"])
def test_sql_that_is_none_is_a_sentence(journal: dict[str, Desk], query: str) -> None:
    """With the next step: where tables and columns are told."""
    told = run("sql", query)
    assert (told.exit_code, "`threadlog sql` alone lists tables and columns" in told.stderr) == (1, True)


def test_sql_ends_in_time(journal: dict[str, Desk]) -> None:
    """A query that takes longer than it may is ended."""
    long = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000000) SELECT sum(x) FROM n"
    told = run("sql", long, "--timeout", "0.05")
    assert (told.exit_code, "longer than 0.05 s" in told.stderr) == (1, True)


def test_sql_alone_lists_tables_and_columns(alone: Path) -> None:
    """Those that docs/queries.md promises, each of them with all its columns; with no broker and before any index."""
    told = {line["table"]: line["columns"] for line in objects(run("sql", "--json"))}
    assert tuple(told) == PUBLIC
    assert {"thread", "seq", "partition", "offset", "hash"} <= set(told["decisions"])
    text = (Path(__file__).parents[2] / "docs" / "queries.md").read_text("utf-8")
    lines = [[cell.strip("` ") for cell in line.split("|")] for line in text.splitlines() if line.startswith("| `")]
    documented = {cells[1]: cells[2].split(", ") for cells in lines if cells[1] in told}
    assert documented == told
    assert run("sql", "--no-refresh").stdout.splitlines()[0].startswith("threads: thread, state, ")


def test_sql_says_that_void_entries_are_left_out(kafka: FakeKafka) -> None:
    """On the error stream: what was asked is answered."""
    kafka.add_entry(thread("t", 0).journal[0], key="u")
    told = run("sql", "SELECT count(*) AS n FROM decisions", "--json")
    assert (told.exit_code, told.stdout, "1 void entries" in told.stderr) == (0, '{"n": 0}\n', True)
