# SPDX-License-Identifier: Apache-2.0
"""The page made of raw data: tables, plots, and what is told of points that did not get through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import curves, page
from bench.axes import Point
from bench.curves import Kept
from bench.point import not_measured
from ops.context import Trouble
from tests.bench.points import point

UNFINISHED = "full speed: 1,234 entries of 5,000 events within 70 s"


def write(path: Path, points: list[dict[str, object]]) -> Path:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in points))
    return path


def test_table_has_a_row_for_each_point() -> None:
    """Also for one that has no figures: it is not dropped in silence."""
    points = [
        point("threads", 1_000),
        {**not_measured(Point("threads", 100_000, 20), "no stack"), "turns_per_s": None},
    ]
    rows = page.table(points, page.SPEED, True).splitlines()
    assert rows[2] == "| 1,000 | 1,500 | 0.5 | 0.1 | 130 | 260 | 30,000 | 30.00 |  |"
    assert rows[3] == "| 100,000 | - | - | - | - | - | - | - | did not finish: not measured: no stack |"


def test_cell_has_the_range_of_what_was_measured_in_windows() -> None:
    """Points of older runs have none."""
    told = point("threads", 1, turns_per_s=1_500.0, turns_per_s_min=1_400.0, turns_per_s_max=1_600.0)
    assert page.cell(told, page.SPEED[0]) == "1,500 (1,400 to 1,600)"
    assert page.cell(point("threads", 1), page.SPEED[0]) == "1,500"


def test_table_leaves_out_what_no_point_has() -> None:
    """Older runs do not say how often checkpoints came; where one does, the others have a dash."""
    old, new = point("threads", 1), point("threads", 2, checkpoint_every_ms=440)
    heading = "ms between two checkpoints, as taken"
    assert heading not in page.table([old], page.BYTES, False)
    assert page.table([old, new], page.BYTES, False).splitlines()[0].split(" | ")[2] == heading
    assert "| 440 |" in page.table([old, new], page.BYTES, False)


def test_section_says_whether_first_turns_were_measured() -> None:
    """They load no state: an axis with more of them flatters."""
    new, old = point("threads", 1), point("threads", 2)
    new["conditions"]["history"] = 1
    assert "Every thread has had a message before." in page.section([new])
    assert "Threads are new" in page.section([new, old])


def test_section_says_warm_and_cold_only_where_no_first_turn_was_measured() -> None:
    """A new thread is neither."""
    new, old = point("threads", 1), point("threads", 2)
    new["conditions"]["history"] = 1
    assert "finds its thread warm" in page.section([new])
    assert "finds its thread warm" not in page.section([new, old])
    other = point("payload", 1)
    other["conditions"]["history"] = 1
    assert "finds its thread warm" not in page.section([other])


def test_note_tells_of_a_busy_machine() -> None:
    """Its figures are not to be quoted."""
    assert page.note(point("threads", 1, busy=True)) == "busy"
    assert page.note(point("threads", 1, busy=True, finished=False, note="a|b\nc")) == "did not finish, busy: a/b c"


def test_plot_has_the_points_as_categories() -> None:
    """Evenly spaced: on an axis that grows by factors of ten that is a logarithmic scale."""
    points = [point("threads", 100), point("threads", 1_000, turns_per_s=1000.0), point("threads", 10_000)]
    assert page.plot(points, *page.PLOTS[0]).splitlines() == [
        "```mermaid",
        page.COLOURS,
        "xychart-beta",
        '    title "turns/s"',
        '    x-axis "threads" ["100", "1,000", "10,000"]',
        '    y-axis "turns/s" 0 --> 1650.44',
        "    line [1500.4, 1000, 1500.4]",
        "```",
    ]


def test_plot_has_no_exponents() -> None:
    """Mermaid would not draw it."""
    points = [point("payload", 1, turns_per_s=12_345_678.0), point("payload", 2, turns_per_s=0.00123)]
    assert "[12345678, 0.0012]" in page.plot(points, *page.PLOTS[0])


def test_plot_leaves_out_points_without_the_figure() -> None:
    """A zero in their place would be a lie."""
    points = [point("skew", "uniform"), point("skew", "zipf", turns_per_s=None), point("skew", "hot", turns_per_s=2)]
    plot = page.plot(points, *page.PLOTS[0])
    assert '["uniform", "hot"]' in plot and "bar [1500.4, 2]" in plot
    assert page.plot(points[:2], *page.PLOTS[0]) == ""


def test_page_has_a_section_for_each_axis_that_was_measured() -> None:
    """How it was measured, the conditions, and then axis by axis."""
    points = [point("payload", 100), point("payload", 1_000), point("threads", 100), point("threads", 1_000)]
    text = page.render(points)
    heads = [line for line in text.splitlines() if line.startswith("#")]
    assert heads == ["# Cost curves", "## Threads", "## Payload"]
    assert text.count("```mermaid") == 4
    assert "| machine | 2 cores, AMD EPYC, Linux 6.1 |" in text and "Checkpoints every 200 ms." in text


def test_write_docs_measures_nothing_and_writes_the_page(tmp_path: Path) -> None:
    """The page is a function of the raw data."""
    raw, docs = (
        write(tmp_path / "curves.jsonl", [point("threads", 100, finished=False, note=UNFINISHED)]),
        tmp_path / "c.md",
    )
    done = CliRunner().invoke(curves.main, ["--write-docs", str(docs), "--raw", str(raw)])
    assert done.exit_code == 0, done.output
    assert docs.read_text() == page.render(curves.read(raw))
    assert (tmp_path / "c.jsonl").read_text() == raw.read_text()
    assert f"did not finish: {UNFINISHED}" in docs.read_text()


def test_write_docs_takes_the_raw_data_beside_the_page_where_nothing_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page can be made anew from what the repository has; what was measured since comes first."""
    monkeypatch.setattr(curves, "RAW", tmp_path / "measured.jsonl")
    beside = write(tmp_path / "c.jsonl", [point("skew", "hot")])
    command = ["--write-docs", str(tmp_path / "c.md")]
    assert CliRunner().invoke(curves.main, command).exit_code == 0
    assert (tmp_path / "c.md").read_text() == page.render([point("skew", "hot")])
    write(tmp_path / "measured.jsonl", [point("skew", "zipf")])
    assert CliRunner().invoke(curves.main, command).exit_code == 0
    assert curves.read(beside) == [point("skew", "zipf")]


def test_page_tells_of_a_point_that_was_measured_again() -> None:
    """It has a row and a sentence; a plot goes along its axis once."""
    points = [
        point("threads", 100), point("threads", 1_000),
        point("threads", 100, again=True, turns_per_s=1_200.0, cpu_ms_per_turn=0.6),
    ]  # fmt: skip
    text = page.section(points)
    assert "| 100 again | 1,200 | 0.6 |" in text
    assert 'x-axis "threads" ["100", "1,000"]' in text and "100 again" not in page.plot(points, *page.PLOTS[0])
    assert "equal points differ: turns/s 1,500 and 1,200, CPU ms a turn 0.5 and 0.6." in text
    assert page.repeated(points[:2]) == ""


@pytest.mark.parametrize("commit", ["other", "abc123+"])
def test_write_docs_wants_one_clean_commit_unless_told(tmp_path: Path, commit: str) -> None:
    """As the page of figures does; nothing is written. A point that was not measured is of no commit."""
    points = [point("threads", 100), point("skew", "hot"), not_measured(Point("skew", "zipf", 1), "no stack")]
    points[0]["conditions"]["commit"] = commit
    raw, docs = write(tmp_path / "raw.jsonl", points), tmp_path / "c.md"
    command = ["--write-docs", str(docs), "--raw", str(raw)]
    done = CliRunner().invoke(curves.main, command)
    assert done.exit_code and f"abc123: skew; {commit}: threads" in done.output.replace("\n", " ")
    assert not docs.exists() and not docs.with_suffix(".jsonl").exists()
    assert CliRunner().invoke(curves.main, [*command, "--mixed"]).exit_code == 0 and docs.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tempo"], "There is no axis tempo."),
        (["threads", "--write-docs", "x.md"], "--write-docs makes a page of all axes"),
        (["--write-docs", "x.md", "--raw", "nowhere.jsonl"], "nowhere.jsonl has no points of curves"),
    ],
)
def test_wrong_arguments_are_a_sentence(arguments: list[str], said: str) -> None:
    """With what to do instead, and nothing is started or written."""
    done = CliRunner().invoke(curves.main, arguments)
    assert (done.exit_code, said in done.output) == (1, True), done.output
    assert not Path("x.md").exists()


@pytest.mark.parametrize("text", ["no json\n", '{"axis": "tempo"}\n', "[1]\n", '{"x": 1}\n'])
def test_a_file_of_something_else_is_trouble(tmp_path: Path, text: str) -> None:
    """A page of it would be nonsense."""
    (tmp_path / "raw.jsonl").write_text(text)
    with pytest.raises(Trouble, match="has no points of curves"):
        curves.read(tmp_path / "raw.jsonl")


def test_kept_replaces_only_the_axes_of_its_run(tmp_path: Path) -> None:
    """One axis may be measured again; an axis that was not measured is not lost, and no point is there twice."""
    raw = write(tmp_path / "raw.jsonl", [point("threads", 100), point("threads", 10), point("skew", "hot")])
    kept = Kept(raw, ("threads",))
    kept.add(point("threads", 100, turns_per_s=1.0))
    kept.add(point("threads", 1_000, finished=False))
    told = [(one["axis"], one["x"], one["turns_per_s"]) for one in curves.read(raw)]
    assert told == [("skew", "hot", 1500.4), ("threads", 100, 1.0), ("threads", 1_000, 1500.4)]
    assert (kept.added, kept.failed) == (2, 1)
