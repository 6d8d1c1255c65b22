# SPDX-License-Identifier: Apache-2.0
"""The page of figures: floors by all of their runs, and the documents that are made of raw data are made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import page, sheet
from bench.floors import FLOORS, Floor

ROOT = Path(__file__).parents[2]
AT_MOST, AT_LEAST = Floor("a", "what", 1.3), Floor("b", "what", 100, "s", at_least=True)


def figure(name: str, *runs: float, **conditions: Any) -> dict[str, Any]:
    """A figure as a bench writes it down."""
    value = sorted(runs)[len(runs) // 2]
    machine = {"cpu": "a cpu", "cores": 2, "commit": "abc", "load_average": 0.5, "busy": False, **conditions}
    spread = {"value": value, "min": min(runs), "max": max(runs), "runs": list(runs)}
    return sheet.told("some", json.dumps({"figure": name, "unit": "ms", **spread, "conditions": machine}))


@pytest.mark.parametrize(
    ("floor", "runs", "said"),
    [
        (AT_MOST, (1.0, 1.1, 1.3), "held"),
        (AT_MOST, (1.4, 1.5, 1.6), "**missed**"),
        (AT_MOST, (1.0, 1.2, 1.8), "held: 2 of 3 runs hold"),
        (AT_MOST, (1.0, 1.4, 1.8), "**missed**: 1 of 3 runs hold"),
        (AT_LEAST, (100.0, 200.0), "held"),
        (AT_LEAST, (99.0, 98.0), "**missed**"),
    ],
)  # fmt: skip
def test_a_floor_is_held_by_the_median_and_says_which_runs_differ(floor: Floor, runs: Any, said: str) -> None:
    assert floor.verdict(runs) == said


def test_a_page_tells_each_run_and_what_was_not_measured() -> None:
    text = sheet.render([figure("recovery.gap", 3.0, 4.0, 7.0, kills=3)])
    assert (
        "| from a SIGKILL to the first decision made after it, with a spare | ≤ 6.00 s | 4.00 s | 3.00 to 7.00 |"
        in text
    )
    assert "held: 2 of 3 runs hold" in text
    assert "| `recovery.gap` | ms | 4.00 | 3.00 | 7.00 | 3.00, 4.00, 7.00 |" in text
    assert "Commit abc; kills 3." in text
    assert text.count("not measured") == len(FLOORS) - 1


def test_a_page_says_that_the_machine_was_busy() -> None:
    text = sheet.render([figure("recovery.gap", 3.0, busy=True)])
    assert "busy, not to be quoted" in text
    assert "**The machine had other work: not to be quoted.**" in text


@pytest.mark.parametrize(("name", "render"), [("figures", sheet.render), ("curves", page.render)])
def test_a_page_in_the_docs_is_what_its_raw_data_give(name: str, render: Any) -> None:
    raw = (ROOT / "docs" / f"{name}.jsonl").read_text().splitlines()
    assert (ROOT / "docs" / f"{name}.md").read_text() == render([json.loads(line) for line in raw])


def test_the_readme_shows_the_floors_of_the_page() -> None:
    """Its figures are those of the raw data, not what somebody remembers."""
    raw = (ROOT / "docs" / "figures.jsonl").read_text().splitlines()
    assert sheet.floors([json.loads(line) for line in raw]) in (ROOT / "README.md").read_text()
