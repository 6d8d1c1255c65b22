# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.flinkreplay`: how fast the whole journal is verified in the cluster, by the support desk's mix.

A stack of its own without live jobs, with a TaskManager for each subtask; a journal that is written without them
(bench/filling.py); then `threadlog replay --cluster`, as a person runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from bench.figures import Figure
from bench.filling import Filling
from bench.session import Session, options, session
from ops.context import Trouble
from ops.stack.layout import ROOT

APP = "bench.app:app"


def replay(run: Session, parallelism: int) -> tuple[dict[str, Any], float]:
    """What the command says at its end, and the seconds that it took as a whole."""
    words = ["--json", "--state-dir", str(run.settings.state_dir), "replay", "--cluster", "--app", APP]
    command = [sys.executable, "-m", "ops.cli", *words, "--parallelism", str(parallelism)]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        raise Trouble(f"The replay ended with code {done.returncode}: {done.stdout[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told, seconds


@click.command()
@click.option("--decisions", type=click.IntRange(1), default=200_000, show_default=True)
@click.option("--parallelism", type=click.IntRange(1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--file", type=click.Path(path_type=Path, exists=True), help="A file of bench.replay instead.")
@options
def main(**given: Any) -> None:
    """Fill a journal and verify it in the cluster."""
    parallelism = given["parallelism"]
    with session(given, APP, (), spare=parallelism) as run:
        where = run.settings
        filling = Filling(
            where.bootstrap, where.namespace, where.registry_url, given["decisions"], given["seed"], given["file"]
        )
        began = time.monotonic()
        count = filling.run(2)
        click.echo(f"  {count:,} decisions in the journal after {time.monotonic() - began:.1f} s")
        rates, whole = [], []
        for _ in range(given["rounds"]):
            told, seconds = replay(run, parallelism)
            click.echo(f"  {told['standings']} in {told['seconds']:.1f} s, {seconds:.1f} s with the command")
            if told["standings"] != {"equal": count}:
                raise Trouble("The journal is not equal to the bit.")
            rates.append(count / told["seconds"])
            whole.append(count / seconds)
        figures = [
            Figure("replay.cluster", "decisions/s", rates),
            Figure("replay.cluster_with_the_command", "decisions/s", whole),
        ]
        run.report("flinkreplay", figures, decisions=count, parallelism=parallelism)


if __name__ == "__main__":
    main()
