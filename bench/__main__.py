# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: every figure, one bench after the other, on stacks of their own. About an hour.

a process for each bench ─► .build/bench/NAME.jsonl ─► a table; --write-docs: a page, and all raw data beside it
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

from bench.figures import LOAD_MAX, Figure, table
from bench.session import FOLDER, cool_down
from bench.sheet import Told, render, told
from ops.context import Trouble
from ops.stack.layout import ROOT

BENCHES = (
    "conversation", "latency", "waiting", "history", "threads", "recovery", "replay", "flinkreplay", "queries",
)  # fmt: skip


def measured(names: tuple[str, ...]) -> list[Told]:
    """The figures that these benches have written down last."""
    found = []
    for name in names:
        path = FOLDER / f"{name}.jsonl"
        found += [told(name, line) for line in path.read_text().splitlines()] if path.is_file() else []
    return found


def _write_docs(path: Path) -> None:
    """The page, and beside it the raw data. Raises Trouble where a bench has none."""
    figures = measured(BENCHES)
    if missing := [name for name in BENCHES if not (FOLDER / f"{name}.jsonl").is_file()]:
        raise Trouble(f"{FOLDER} has nothing of {', '.join(missing)}.", "`make bench` runs all of them.")
    path.with_suffix(".jsonl").write_text("".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in figures))
    path.write_text(render(figures))
    click.echo(f"{path} is made of {len(figures)} figures.")


@click.command()
@click.option("--busy", is_flag=True, help=f"Measure although the load average is above {LOAD_MAX:g}.")
@click.option("--write-docs", type=click.Path(path_type=Path), help="Measure nothing: make this page of the raw data.")
@click.argument("names", nargs=-1, type=click.Choice(BENCHES))
def main(busy: bool, write_docs: Path | None, names: tuple[str, ...]) -> None:
    """Run the benches NAMES (default: all) and print one table; raw data lies in .build/bench."""
    if write_docs is not None:
        _write_docs(write_docs)
        return
    failed = []
    for name in names or BENCHES:
        click.echo(f"\n== {name}")
        cool_down(busy)
        command = [sys.executable, "-m", f"bench.{name}", *(["--busy"] if busy else [])]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    ran = tuple(name for name in names or BENCHES if name not in failed)
    click.echo(f"\n{table([Figure(one['figure'], one['unit'], one['runs']) for one in measured(ran)])}")
    if failed:
        raise SystemExit(f"These failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
