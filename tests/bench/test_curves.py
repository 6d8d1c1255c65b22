# SPDX-License-Identifier: Apache-2.0
"""The order of a run: a stack for each group of points, and what is told of points that a stack did not live for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench import curves
from bench.axes import Point
from ops.context import Trouble
from tests.bench.points import point

GIVEN = ["--busy", "--point-s", "1", "--warm-s", "0"]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The interval of each stack that was asked for; all of them start, and each point goes well."""
    asked: list[int | None] = []

    @contextmanager
    def session(given: dict[str, Any], app: str, jobs: tuple[str, ...]) -> Iterator[None]:
        asked.append(given["checkpoint_interval_ms"])
        yield

    monkeypatch.setattr(curves, "session", session)
    monkeypatch.setattr(curves, "Checkpoints", lambda run: nullcontext())
    monkeypatch.setattr(curves, "warm_up", lambda *_: None)
    monkeypatch.setattr(curves, "measure", lambda run, checkpoints, p: (point(p.axis, p.x), True))
    return asked


def run(raw: Path, *axes: str) -> int:
    """A run of these axes; its exit code."""
    try:
        code = curves.main.main([*GIVEN, "--raw", str(raw), *axes], standalone_mode=False)
    except SystemExit as error:
        code = error.code
    return 1 if isinstance(code, str) else code or 0


def kept(raw: Path) -> list[tuple[str, Any, bool]]:
    return [(one["axis"], one["x"], one["finished"]) for one in curves.read(raw)]


def test_curves_start_a_stack_for_each_axis_and_interval(starts: list[int | None], tmp_path: Path) -> None:
    """None is the usual interval."""
    assert run(tmp_path / "raw.jsonl", "checkpoint", "threads", "skew") == 0
    assert starts == [None, None, 100, 200, 1_000, 10_000]
    assert len(kept(tmp_path / "raw.jsonl")) == 5 + 4 + 4
    assert {one["conditions"]["warm_s"] for one in curves.read(tmp_path / "raw.jsonl")} == {0}


def test_curves_tell_of_points_that_a_broken_stack_did_not_reach(
    starts: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the raw data as not measured, the next stack is used all the same, and the exit code says so."""

    def measure(stack: Any, checkpoints: Any, one: Point) -> tuple[dict[str, Any], bool]:
        return point(one.axis, one.x, finished=one.x != 1_000), one.x != 1_000

    monkeypatch.setattr(curves, "measure", measure)
    raw = tmp_path / "raw.jsonl"
    assert run(raw, "threads", "skew") == 1
    threads = [("threads", x, x == 100) for x in (100, 1_000, 10_000, 100_000)] + [("threads", 100, False)]
    assert kept(raw) == threads + [("skew", x, True) for x in ("uniform", "zipf", "hot", "uniform")]
    assert curves.read(raw)[2]["note"].startswith("not measured: the point before left the stack unfit")


def test_curves_write_nothing_when_the_first_stack_does_not_start(
    starts: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is busy must not cost the raw data of the run before."""

    def no_session(*_: Any) -> None:
        raise Trouble("The load average is 7.")

    monkeypatch.setattr(curves, "session", no_session)
    raw = tmp_path / "raw.jsonl"
    raw.write_text('{"axis": "threads", "x": 100}\n')
    with pytest.raises(Trouble, match="load average"):
        run(raw, "threads")
    assert raw.read_text() == '{"axis": "threads", "x": 100}\n'


@pytest.mark.parametrize(
    ("words", "command"),
    [([], "-m bench.curves --long"), (["OPTIONS=", "AXES=threads skew"], "-m bench.curves  threads skew")],
)
def test_make_curves_measures_all_that_the_page_shows(words: list[str], command: str) -> None:
    """The million threads as well, which take a while and can be left out."""
    asked = ["make", "--no-print-directory", "--dry-run", "curves", *words]  # also where make runs the tests
    done = subprocess.run(asked, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip().endswith(command)
