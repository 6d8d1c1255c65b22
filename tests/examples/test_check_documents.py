# SPDX-License-Identifier: Apache-2.0
"""The documents show the checker's table as it is."""

from __future__ import annotations

import re
from pathlib import Path

from examples.support_desk import check, traffic
from ops.commands.demo import Plan
from tests.examples.desk_runs import sound

ROOT = Path(__file__).parents[2]


def tables(document: str, columns: int) -> list[dict[str, float]]:
    """The one table that a document shows as the checker prints it, column by column."""
    text = (ROOT / document).read_text("utf-8")
    pattern = r"^  ([a-z ]+?)" + r" +([\d.]+)" * columns + "(?: +<- wrong)?$"
    found = re.findall(pattern, text, re.MULTILINE)
    return [{row[0].replace(" ", "_"): float(row[column]) for row in found} for column in range(1, columns + 1)]


def test_check_readme_shows_a_whole_table_that_adds_up() -> None:
    """README's table has every row, is of a default run, and adds up by the checker's own rules."""
    (table,) = tables("README.md", 1)
    assert list(table) == list(check.compare(**sound()))
    assert check.faults(table) == []
    assert table["events_sent"] == len(traffic.events(Plan.seed, Plan.conversations))
    assert table["kills"] == Plan.kills + 1


def test_check_document_shows_what_deduplication_is_worth() -> None:
    """The two columns are of the same customers; the first adds up, in the second orders are paid twice, no more."""
    with_keys, without = tables("docs/demo.md", 2)
    assert list(with_keys) == list(without) == list(check.compare(**sound()))
    assert (check.faults(with_keys), check.faults(without)) == ([], ["paid_twice"])
    assert with_keys["events_sent"] == without["events_sent"]


def test_check_document_explains_every_row() -> None:
    """docs/demo.md has a line for each row of the table, in its order."""
    text = (ROOT / "docs" / "demo.md").read_text("utf-8")
    explained = [name for cell in re.findall(r"^\| ([a-z ,]+?) \| ", text, re.MULTILINE) for name in cell.split(", ")]
    assert explained[1:] == [row.replace("_", " ") for row in check.compare(**sound())]
