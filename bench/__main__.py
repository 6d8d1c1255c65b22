# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: every figure, one bench after the other, on stacks of their own. About an hour."""

from __future__ import annotations

import json
import subprocess
import sys

import click

from bench.figures import LOAD_MAX, Figure, table
from bench.session import FOLDER, cool_down
from ops.stack.layout import ROOT

BENCHES = ("conversation", "latency", "waiting", "history", "threads", "recovery", "queries")


@click.command()
@click.option("--busy", is_flag=True, help=f"Measure although the load average is above {LOAD_MAX:g}.")
@click.argument("names", nargs=-1, type=click.Choice(BENCHES))
def main(busy: bool, names: tuple[str, ...]) -> None:
    """Run the benches NAMES (default: all) and print one table; raw data lies in .build/bench."""
    failed = []
    for name in names or BENCHES:
        click.echo(f"\n== {name}")
        cool_down(busy)
        command = [sys.executable, "-m", f"bench.{name}", *(["--busy"] if busy else [])]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    found = []
    for name in names or BENCHES:
        path = FOLDER / f"{name}.jsonl"
        lines = path.read_text().splitlines() if path.is_file() and name not in failed else []
        found += [Figure(one["figure"], one["unit"], one["runs"]) for one in map(json.loads, lines)]
    click.echo(f"\n{table(found)}")
    if failed:
        raise SystemExit(f"These failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
