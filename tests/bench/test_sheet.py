# SPDX-License-Identifier: Apache-2.0
"""The page of figures: floors by all of their runs, and the documents that are made of raw data are made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import __main__ as command
from bench import page, sheet
from bench.floors import FLOORS, Floor
from ops.context import Trouble

ROOT = Path(__file__).parents[2]
AT_MOST, AT_LEAST = Floor("a", "what", 1.3), Floor("b", "what", 100, "s", at_least=True)
BESIDE = Floor("c", "what", None, "ms")


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
        (BESIDE, (1.0, 1e9), ""),
    ],
)  # fmt: skip
def test_a_floor_is_held_by_the_median_and_says_which_runs_differ(floor: Floor, runs: Any, said: str) -> None:
    assert floor.verdict(runs) == said


def test_a_page_tells_each_run_and_what_was_not_measured() -> None:
    text = sheet.render([figure("recovery.gap", 3.0, 4.0, 7.0, kills=3)])
    assert (
        "| from a SIGKILL to the first decision made after it, with a spare, a state of 400 threads | ≤ 6.00 s "
        "| 4.00 s | 3.00 to 7.00 |" in text
    )
    assert "held: 2 of 3 runs hold" in text
    assert "| `recovery.gap` | ms | 4.00 | 3.00 | 7.00 | 3.00, 4.00, 7.00 |" in text
    assert "Commit abc; kills 3." in text
    assert text.count("not measured") == len(FLOORS) - 1


def test_a_floor_of_queries_does_not_pass_for_one_of_all_sql() -> None:
    """What it leaves out stands beside it, and no verdict with it."""
    text = sheet.floors([figure("queries.slowest", 53.6), figure("queries.whole.effects", 1275.4)])
    slowest = "the slowest of the indexed queries of 1,000,000 decisions, index up to date, without Python's start"
    assert f"| {slowest} | ≤ 100 ms | 53.60 ms | 53.60 to 53.60 | 1 | held |\n" in text
    whole = "SQL that reads a whole table: effects by kind"
    assert f"| {whole} | none | 1,275 ms | 1,275 to 1,275 | 1 |  |\n" in text


def test_a_page_says_that_the_machine_was_busy() -> None:
    text = sheet.render([figure("recovery.gap", 3.0, busy=True)])
    assert "busy, not to be quoted" in text
    assert "**The machine had other work: not to be quoted.**" in text


@pytest.mark.parametrize(("name", "render"), [("figures", sheet.render), ("curves", page.render)])
def test_a_page_in_the_docs_is_what_its_raw_data_give(name: str, render: Any) -> None:
    raw = (ROOT / "docs" / f"{name}.jsonl").read_text().splitlines()
    assert (ROOT / "docs" / f"{name}.md").read_text() == render([json.loads(line) for line in raw])


def test_the_page_of_performance_tells_of_both_replays_what_was_measured() -> None:
    """Why their floor is missed begins with by how much."""
    raw = map(json.loads, (ROOT / "docs" / "figures.jsonl").read_text().splitlines())
    median = {one["figure"]: f"{one['value']:,.0f}" for one in raw}
    text = (ROOT / "docs" / "performance.md").read_text()
    assert f"| not reached in the cluster: {median['replay.cluster']}/s on the Intel" in text
    assert f"by two plain processes, {median['replay.file']} and" in text


def test_the_readme_shows_the_floors_of_the_page() -> None:
    """Its figures are those of the raw data, not what somebody remembers."""
    raw = (ROOT / "docs" / "figures.jsonl").read_text().splitlines()
    assert sheet.floors([json.loads(line) for line in raw]) in (ROOT / "README.md").read_text()


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one figure of each bench, all of one commit, and a README beside them."""
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr(command, "README", tmp_path / "README.md")
    for name in command.BENCHES:
        keep(tmp_path, name, "abc")
    (tmp_path / "README.md").write_text(f"before\n\n{sheet.floors([])}\nafter\n")
    return tmp_path


def keep(folder: Path, bench: str, commit: str, name: str = "x") -> None:
    """The raw data of a bench: one figure."""
    told = {**figure(name, 3.0, commit=commit), "bench": bench}
    (folder / f"{bench}.jsonl").write_text(f"{json.dumps(told)}\n")


def write_docs(folder: Path, *more: str) -> str:
    """What the command says; empty when it went well."""
    done = CliRunner().invoke(command.main, ["--write-docs", str(folder / "page.md"), *more])
    return done.output if done.exit_code else ""


def test_one_command_makes_the_page_its_raw_data_and_the_floors_of_the_readme(raw: Path) -> None:
    """So they cannot differ."""
    keep(raw, "recovery", "abc", "recovery.gap")
    assert write_docs(raw) == ""
    figures = [json.loads(line) for line in (raw / "page.jsonl").read_text().splitlines()]
    assert len(figures) == len(command.BENCHES)
    assert (raw / "page.md").read_text() == sheet.render(figures)
    assert (raw / "README.md").read_text() == f"before\n\n{sheet.floors(figures)}\nafter\n"


@pytest.mark.parametrize("commit", ["other", "abc+"])
def test_a_page_of_more_than_one_clean_commit_is_made_only_when_told(raw: Path, commit: str) -> None:
    """Nothing is written, and it is told which bench is of which commit."""
    for name in command.BENCHES if commit == "abc+" else ("latency", "queries"):
        keep(raw, name, commit)
    said = write_docs(raw)
    assert "The raw data are not of one clean commit" in said and "--mixed" in said
    assert commit == "abc+" or "other: latency, queries" in said
    assert not (raw / "page.md").exists() and not (raw / "page.jsonl").exists()
    assert write_docs(raw, "--mixed") == "" and (raw / "page.md").exists()


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Any:
    """The command with benches that have measured what lies in the folder."""
    monkeypatch.setattr(command, "cool_down", lambda busy: None)
    monkeypatch.setattr(command, "run", lambda given: 0)
    return CliRunner().invoke(command.main, list(more))


def test_a_missed_floor_fails_only_at_the_gate(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To measure is one thing, to ask another."""
    keep(raw, "recovery", "abc", "recovery.gap")
    assert run(raw, monkeypatch, "--gate", "recovery", "replay").exit_code == 0
    (raw / "replay.jsonl").write_text(json.dumps(figure("replay.file", 9_000.0)) + "\n")
    assert run(raw, monkeypatch).exit_code == 0
    done = run(raw, monkeypatch, "--gate", "recovery", "replay")
    assert done.exit_code == 1 and "Floors that are missed: the same from a file, by two processes." in done.output
    assert run(raw, monkeypatch, "--gate", "recovery").exit_code == 0


def test_a_floor_that_was_not_measured_is_missed_where_all_benches_were_asked_for(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bench that no longer writes its figure would pass; of some benches the others are no business."""
    asked = [floor for floor in FLOORS if floor.limit is not None]
    values = {floor.figure: floor.limit for floor in asked}
    lines = [json.dumps(figure(name, value)) for name, value in values.items() if value is not None]
    (raw / "recovery.jsonl").write_text("\n".join(lines))
    assert run(raw, monkeypatch, "--gate").exit_code == 0
    (raw / "recovery.jsonl").write_text("\n".join(lines[1:]))
    done = run(raw, monkeypatch, "--gate")
    assert done.exit_code == 1 and f"Floors that are missed: {asked[0].what}." in done.output
    assert run(raw, monkeypatch, "--gate", "recovery").exit_code == 0


def test_a_figure_of_a_busy_machine_does_not_pass_the_gate() -> None:
    """It is nobody's."""
    assert sheet.missed([figure("recovery.gap", 3.0, busy=True)]) != []
    assert sheet.missed([figure("recovery.gap", 3.0), figure("x", 1.0)]) == []
    assert sheet.missed([figure("queries.whole.effects", 3.0, busy=True)]) == []  # nothing is asked of it


def test_a_page_is_made_again_of_the_raw_data_beside_it(raw: Path) -> None:
    """Where nothing was measured since, or where they are given; a bench that they lack is not on it."""
    (raw / "alone.jsonl").unlink()
    figures = command.measured(command.BENCHES)
    said = write_docs(raw)
    assert "has nothing of alone." in said and f"--raw {raw / 'page.jsonl'}" in said
    kept = "".join(f"{json.dumps(one)}\n" for one in figures)
    (raw / "page.jsonl").write_text(kept)
    assert write_docs(raw, "--raw", str(raw / "page.jsonl")) == ""
    made = (raw / "page.md").read_text()
    assert made == sheet.render(figures) and (raw / "page.jsonl").read_text() == kept
    for name in command.BENCHES:
        (raw / f"{name}.jsonl").unlink(missing_ok=True)
    (raw / "page.md").unlink()
    assert write_docs(raw) == "" and (raw / "page.md").read_text() == made


@pytest.mark.parametrize("text", ["", "{}\n", "no JSON\n", '{"bench": "none"}\n'])
def test_a_page_of_what_are_no_raw_data_is_trouble(raw: Path, text: str) -> None:
    """Nothing is written."""
    (raw / "page.jsonl").write_text(text)
    assert "has no figures of benches" in write_docs(raw, "--raw", str(raw / "page.jsonl"))
    assert not (raw / "page.md").exists() and (raw / "page.jsonl").read_text() == text


def test_a_readme_without_floors_is_trouble() -> None:
    """It would be left with old ones in silence."""
    with pytest.raises(Trouble, match="no table of floors"):
        sheet.refloored("text\n", "table\n")


def test_floors_at_the_end_of_a_document_are_replaced_as_well() -> None:
    """Without an empty line after them."""
    assert sheet.refloored(f"a\n\n{sheet.floors([])}", "table\n") == "a\n\ntable\n"


def test_a_page_shows_what_a_run_has_told_of_its_machine() -> None:
    """Also where an older one has not."""
    text = sheet.render([figure("a", 1.0, memory_gib=23.5), figure("b", 1.0, memory_gib=7.8), figure("c", 1.0)])
    assert "| memory_gib | 23.5; 7.8; not told |" in text
