# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.threads`: a turn of the support desk's mix on 100,000 threads beside one on 1,000."""

from __future__ import annotations

import gc
from typing import Any

import click

from bench.conversation import APP, JOBS, Bench
from bench.figures import Figure
from bench.session import options, session


@click.command()
@click.option("--few", type=click.IntRange(100), default=1_000, show_default=True)
@click.option("--many", type=click.IntRange(100), default=100_000, show_default=True)
@click.option("--phases", type=click.IntRange(5, 100), default=6, show_default=True, help="On the many threads.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Of the few; of the many, one."
)
@options
def main(**given: Any) -> None:
    """Measure what the number of threads does to the cost of a turn."""
    gc.disable()
    few, many = given["few"], given["many"]
    with session(given, APP, JOBS) as run:
        bench = Bench(run)
        bench.whole("warm-up", 20_000, 6)
        # As many turns of the few as take about ten seconds.
        spent = {few: [bench.whole(f"few-{n}", few, 40) for n in range(given["rounds"])]}
        spent[many] = [bench.whole("many", many, given["phases"])]
        found = []
        for threads, rounds in spent.items():
            found.append(Figure(f"threads.{threads}.cpu_per_turn", "ms", [one.cpu_ms_per_turn for one in rounds]))
            found.append(Figure(f"threads.{threads}.turns_per_s", "turns/s", [one.turns_per_s for one in rounds]))
        found.append(Figure("threads.ratio", "many/few, CPU", [found[2].value / found[0].value]))
        run.report("threads", found, few=few, many=many, phases_few=40, phases_many=given["phases"])


if __name__ == "__main__":
    main()
