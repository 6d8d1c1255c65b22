# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: every figure, one bench after the other, on stacks of their own, in 60 to 90 minutes.

a process for each bench ─► .build/bench/NAME.jsonl ─► a table, and what was asked of it
                                   --write-docs FILE ─► a page, all raw data beside it, and the README's table of floors
     where nothing was measured, or by --raw FILE ─► the same, of the raw data beside a page
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import click

from bench.figures import Figure, table
from bench.session import FOLDER, cool_down
from bench.sheet import Told, check_commits, floors, missed, refloored, render, told
from ops.context import Trouble
from ops.stack.layout import ROOT

BENCHES = (
    "conversation", "alone", "latency", "waiting", "history", "threads", "recovery", "replay", "flinkreplay", "rebuild",
    "queries",
)  # fmt: skip
README = ROOT / "README.md"


def measured(names: tuple[str, ...]) -> list[Told]:
    """The figures that these benches have written down last."""
    found = []
    for name in names:
        path = FOLDER / f"{name}.jsonl"
        found += [told(name, line) for line in path.read_text().splitlines()] if path.is_file() else []
    return found


def _figures(raw: Path | None, beside: Path) -> list[Told]:
    """What a page is made of: `raw`, or what was measured last, or, where nothing was, what lies beside the page.

    Raises Trouble where that is nothing, or some benches were measured and others were not."""
    missing = [name for name in BENCHES if not (FOLDER / f"{name}.jsonl").is_file()]
    if raw or len(missing) == len(BENCHES):
        return _kept(raw or beside)
    if missing:
        hint = f"`make bench` runs all of them; `--raw {beside}` makes the page of what lies beside it."
        raise Trouble(f"{FOLDER} has nothing of {', '.join(missing)}.", hint)
    return measured(BENCHES)


def _kept(path: Path) -> list[Told]:
    """The figures in the raw data of a page. Raises Trouble where it is none."""
    try:
        figures: list[Told] = [json.loads(line) for line in path.read_text().splitlines()]
        if figures and all(one["bench"] in BENCHES for one in figures):
            return figures
        why = "a line is of no bench" if figures else "it is empty"
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = str(error)
    raise Trouble(f"{path} has no figures of benches: {why}.", "`make bench` measures all of them.")


def run(command: list[str]) -> int:
    """The exit code of a bench. Where this process is interrupted or ended, the bench takes its stack down first."""
    # In a session of its own: it hears of that once, from here, and is given the time.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    bench = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        return bench.wait()
    except KeyboardInterrupt:
        bench.send_signal(signal.SIGINT)
        bench.wait()
        raise


def _write_docs(path: Path, raw: Path | None, mixed: bool) -> None:
    """The page, beside it the raw data, and the floors in the README. Raises Trouble, and writes nothing, where there
    are no raw data or, unless `mixed`, where they are not all of one clean commit."""
    beside = path.with_suffix(".jsonl")
    figures = _figures(raw, beside)
    if not mixed:
        check_commits(figures, "bench")
    page, front = render(figures), refloored(README.read_text(), floors(figures))
    beside.write_text("".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in figures))
    path.write_text(page)
    README.write_text(front)
    click.echo(f"{path} is made of {len(figures)} figures; {README} has their floors.")


@click.command()
@click.option("--busy", is_flag=True, help="Measure although the machine has other work; figures are marked.")
@click.option(
    "--write-docs",
    type=click.Path(path_type=Path),
    help="Measure nothing: make this page, and the floors in README.md, of the raw data of one clean commit.",
)
@click.option(
    "--raw",
    type=click.Path(path_type=Path),
    help="Raw data of a page (default: what was measured, or those beside it).",
)
@click.option("--mixed", is_flag=True, help="Make the page of raw data of several commits, or of a changed tree, too.")
@click.option("--gate", is_flag=True, help="End with code 1 where a floor is missed, or lacks a figure of all benches.")
@click.argument("names", nargs=-1, type=click.Choice(BENCHES))
def main(
    busy: bool, write_docs: Path | None, raw: Path | None, mixed: bool, gate: bool, names: tuple[str, ...]
) -> None:
    """Run the benches NAMES (default: all) and print tables; raw data lies in .build/bench."""
    if write_docs is not None:
        _write_docs(write_docs, raw, mixed)
        return
    failed = []
    for name in names or BENCHES:
        click.echo(f"\n== {name}")
        cool_down(busy)
        command = [sys.executable, "-m", f"bench.{name}", *(["--busy"] if busy else [])]
        if run(command):
            failed.append(name)
    ran = tuple(name for name in names or BENCHES if name not in failed)
    found = measured(ran)
    click.echo(f"\n{table([Figure(one['figure'], one['unit'], one['runs']) for one in found])}")
    if not names:
        click.echo(f"\n{floors(found)}")
    if failed:
        raise SystemExit(f"These failed: {', '.join(failed)}.")
    if gate and (below := missed(found, whole=not names)):
        raise SystemExit(f"Floors that are missed: {'; '.join(below)}.")


if __name__ == "__main__":
    main()
