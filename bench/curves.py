# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.curves [AXIS...]`: what a turn costs along six axes, one point after the other.

    plan ─► a stack for each axis, and for each checkpoint interval ─► .build/bench/curves.jsonl ─► --write-docs: a page

A point is written down as soon as it was measured, also when it did not get through within its bound. All axes take
about an hour; `--long` adds a million threads, which is half an hour more: `make curves` measures with it.
"""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from confluent_kafka import KafkaException

from bench import page
from bench.axes import AXES, Point, plan
from bench.point import measure, not_measured, warm_up
from bench.readings import Checkpoints
from bench.session import FOLDER, cool_down, options, session
from bench.sheet import check_commits
from ops import http
from ops.context import Trouble

APP, JOBS = "bench.live:app", ("conversation", "tools")
RAW = FOLDER / "curves.jsonl"


@dataclass
class Kept:
    """The raw data: one JSON object per point. The first that is added replaces all old ones of its run's axes."""

    path: Path
    axes: tuple[str, ...]
    added: int = 0
    failed: int = 0

    def add(self, point: dict[str, Any]) -> None:
        """Write a point down, and tell of it."""
        if not self.added:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            old = [one for one in read(self.path) if one["axis"] not in self.axes] if self.path.exists() else []
            self.path.write_text("".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in old))
        with self.path.open("a") as file:
            file.write(f"{json.dumps(point, ensure_ascii=False)}\n")
        self.added, self.failed = self.added + 1, self.failed + (not point["finished"])
        click.echo(f"  {page.line(point)}")


def read(path: Path) -> list[dict[str, Any]]:
    """The points in a file of raw data. Raises Trouble where it is none."""
    try:
        points = [json.loads(line) for line in path.read_text().splitlines()]
        if all(one["axis"] in AXES for one in points):
            return points
        why = "a line is of no axis"
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = str(error)
    raise Trouble(f"{path} has no points of curves: {why}.", "`python -m bench.curves` makes such a file.")


def _write_docs(path: Path, raw: Path | None, mixed: bool) -> None:
    """The page, and beside it the raw data that it is made of. Raises Trouble, and writes nothing, where there are none
    or, unless `mixed`, where they are not all of one clean commit."""
    beside = path.with_suffix(".jsonl")
    source = raw or (RAW if RAW.exists() else beside)
    points = read(source)
    if not mixed:
        check_commits(points, "axis")
    text = page.render(points)
    if source != beside:
        beside.write_bytes(source.read_bytes())
    path.write_text(text)
    click.echo(f"{path} is made of {source}.")


def _on_a_stack(given: dict[str, Any], points: list[Point], interval_ms: int | None, kept: Kept) -> None:
    """Measure these points on a stack of their own; each of them is in the raw data afterwards.

    Raises Trouble where not even the first stack could be started: then nothing was written."""
    left = list(points)
    try:
        cool_down(given["busy"])
        own = {**given, "checkpoint_interval_ms": interval_ms or given["checkpoint_interval_ms"]}
        with session(own, APP, JOBS) as run, Checkpoints(run) as checkpoints:
            warm_up(run, checkpoints, given["warm_s"])
            while left:
                found, fit = measure(run, checkpoints, left[0])
                found["conditions"]["warm_s"] = given["warm_s"]
                kept.add(found)
                left.pop(0)
                gc.collect()
                if not fit:
                    raise Trouble("the point before left the stack unfit")
    except (Trouble, http.HttpError, KafkaException, OSError) as error:  # OSError: a process of the stack is gone
        if not kept.added:
            raise
        for point in left:
            kept.add(not_measured(point, str(error)))


@click.command()
@options
@click.option("--point-s", type=click.FloatRange(1, 600), default=30, show_default=True, help="Full speed of a point.")
@click.option("--warm-s", type=click.FloatRange(0, 600), default=45, show_default=True, help="Warm-up of each stack.")
@click.option("--long", is_flag=True, help="A million threads as well.")
@click.option(
    "--raw", type=click.Path(path_type=Path), help="File of the raw data (default: .build/bench/curves.jsonl)."
)
@click.option(
    "--write-docs",
    type=click.Path(path_type=Path),
    help="Measure nothing: make this page of the raw data, and lay them beside it. Without any, of those beside it.",
)
@click.option("--mixed", is_flag=True, help="Make the page of raw data of several commits, or of a changed tree, too.")
@click.argument("axes", nargs=-1, metavar="[AXIS]...")
def main(axes: tuple[str, ...], raw: Path | None, write_docs: Path | None, mixed: bool, **given: Any) -> None:
    """Measure what a turn costs along AXES: threads, history, payload, skew, waiting, checkpoint (default: all)."""
    if unknown := sorted(set(axes) - set(AXES)):
        raise Trouble(f"There is no axis {', '.join(unknown)}.", f"The axes are {', '.join(AXES)}.")
    if write_docs is not None:
        if axes:
            raise Trouble("--write-docs makes a page of all axes in the raw data.", "Leave the axes out.")
        _write_docs(write_docs, raw, mixed)
        return
    raw = raw or RAW
    gc.disable()  # of a million entries each is looked at once; walking them again and again would be load of our own
    kept = Kept(raw, axes or AXES)
    for (_, interval_ms), points in groupby(plan(kept.axes, given["point_s"], given["long"]), lambda p: p.stack):
        _on_a_stack(given, list(points), interval_ms, kept)
    click.echo(f"\n{page.tables(read(raw), kept.axes)}\nOne JSON object per point: {raw}")
    if kept.failed:
        raise SystemExit(f"{kept.failed} of {kept.added} points did not get through; their notes say why.")


if __name__ == "__main__":
    main()
