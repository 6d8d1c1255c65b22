# SPDX-License-Identifier: Apache-2.0
"""docs/yardstick.md says what the published pages say."""

from __future__ import annotations

import re
from pathlib import Path

from examples.yardstick import check

ROOT = Path(__file__).parents[2]
PAGES = ("yardstick.md", "yardstick-dedup-off.md")  # the columns of the document's table
# By the document's words: the row of a page. The document has those that both published pages have, in this order.
ROWS = {
    "replies to the 734 turns": "replies",
    "requests": "requests",
    "repeated by the crashes": "repeated by crashes",
    "of these, after a kill of the tools job": "after tools killed",
    "of these, after a kill of the conversation job": "after conversation killed",
    "of these, after a kill of the service": "after service killed",
    "of these, after the effect": "repeated after effect",
    "repeated though no kill explains it": "repeats unexplained",
    "effects for the 1,142 calls": "effects",
    "effects twice": "effects twice",
    "effects lost": "effects lost",
    "threads whose effects differ in order or number": "order differs",
    "replies out of order": "replies out of order",
    "outputs that differ in the replies": "reply outputs differ",
    "outputs that differ in the ledger": "ledger outputs differ",
    "outputs that differ in the journal": "journal outputs differ",
    "final states that differ": "states differ",
    "gaps in the journal": "journal gaps",
    "results that came again and were refused": "refused repeats",
    "other entries of the journal that nothing asked for": "entries unexplained",
    "records of the journal that were never committed": "entries not committed",
    "dead letters, those of refused results apart": "dead letters",
    "threads that nobody asked for": "strangers",
    "the straight run, s": "straight s",
    "the run with kills, s": "killed s",
    "all, the stack's start included, s": "all s",
}


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def published(name: str) -> dict[str, tuple[float, ...]]:
    """The rows of a published page, straight and killed; `straight s`, `killed s` and `all s` are its times."""
    text = (ROOT / "docs" / "reports" / name).read_text("utf-8")
    rows = re.findall(r"^  ([a-z ]+?) +(\d+) +(\d+)(?: +<- wrong)?$", text, re.MULTILINE)
    found = {row: (float(straight), float(killed)) for row, straight, killed in rows}
    times = re.search(r"([\d.]+) s in all\. Runs: straight ([\d.]+) s, killed ([\d.]+) s", text)
    assert times is not None
    return found | {
        f"{what} s": (float(s),) for what, s in zip(("all", "straight", "killed"), times.groups(), strict=True)
    }


def document() -> str:
    return (ROOT / "docs" / "yardstick.md").read_text("utf-8")


def test_yardstick_document_has_the_figures_of_the_published_pages() -> None:
    """Each row that both pages have, column by column, and no other."""
    rows = re.findall(r"^\| ([^|]+) \| ([\d,.]+) \| ([\d,.]+) \|$", document(), re.MULTILINE)
    pages = [published(name) for name in PAGES]
    wanted = [[said, *(page[row][-1] for page in pages)] for said, row in ROWS.items() if all(row in p for p in pages)]
    assert [[said, number(one), number(other)] for said, one, other in rows] == wanted


def test_yardstick_document_speaks_of_the_published_runs() -> None:
    """Seed, kills and keys of each column, the straight runs of which it says that they were equal, and where each
    page lies."""
    for name, dedup_off in zip(PAGES, (False, True), strict=True):
        text, rows = (ROOT / "docs" / "reports" / name).read_text("utf-8"), published(name)
        about = [f"dedup_off {dedup_off}", "seed 1,", "kills 21,"]
        assert [one for one in about if one not in text] == []
        assert [rows[row][0] for row in ("requests", "repeated by crashes", "turns", "calls")] == [1142, 0, 734, 1142]
        assert [row for row in check.WRONG if rows.get(row.replace("_", " "), (0,))[0]] == []
        assert f"(reports/{name})" in document()
    assert "| | seed 1, 21 kills | seed 1, 21 kills, deduplication off |" in document()


def test_yardstick_document_has_the_published_list_of_writes() -> None:
    """The table by function is the same in both pages and the document, and so are its sums."""
    lists = [
        re.findall(r"^\| \w+ \| \d+ \| \d+ \| \d+ \| \d+ \| \d+ \|$", text, re.MULTILINE)
        for text in (document(), *((ROOT / "docs" / "reports" / name).read_text("utf-8") for name in PAGES))
    ]
    assert lists[0] and lists[0] == lists[1] == lists[2]
    cells = [[int(cell) for cell in line.split(" | ")[2:5]] for line in (one.strip("| ") for one in lists[0])]
    writes, state, answer = (sum(column) for column in zip(*cells, strict=True))
    assert f"{writes} of the 1,142 calls are writes" in document()
    assert f"{state} in the state, {answer} in the second answer" in document()
