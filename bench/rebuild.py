# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.rebuild`: how fast the conversation's state is made of its journal alone.

    a journal that no job wrote (bench/filling.py) ─► the catch-up of `threadlog start --rebuild` ─► savepoint

The live job is not started after it: it would decide overdue timers, and the next round would find another journal. A
round is told twice: from when every task ran until the last entry was read, by the JobManager's clock, and from the
submission to the savepoint. What lies in buffers when the last entry is read, a thousand at most, is applied after it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bench.figures import Figure
from bench.filling import Filling
from bench.readings import file_bytes
from bench.session import options, session
from ops import http
from ops.context import Trouble
from ops.settings import Settings
from ops.stack import flink, records, starting
from ops.stack.code import pack
from ops.stack.layout import Layout
from ops.stack.submit import SubmitFailed, run_job
from wire.control import CONVERSATION

APP = "bench.app:app"
BEFORE_RUNNING = ("DEPLOYING", "INITIALIZING")  # what a task does from its start until it takes its first record


def reading(settings: Settings, job_id: str) -> tuple[int, float]:
    """Entries that a catch-up has read, and the seconds from when all of its tasks ran until then. Raises HttpError."""
    base = f"{settings.flink_rest}/jobs/{job_id}"
    vertices = http.call(base)["vertices"]
    tasks = {one["id"]: http.call(f"{base}/vertices/{one['id']}")["subtasks"] for one in vertices}
    (journal,) = (one for one in vertices if "journal-" in one["name"])
    began = max(_runs_from(task) for ones in tasks.values() for task in ones)
    ended = max(int(task["end-time"]) for task in tasks[journal["id"]])
    return int(journal["metrics"]["write-records"]), (ended - began) / 1000


def _runs_from(task: dict[str, Any]) -> int:
    spent: dict[str, int] = task["status-duration"]  # -1 for what a task never did
    start_ms: int = task["start-time"]
    return start_ms + sum(max(0, spent[state]) for state in BEFORE_RUNNING)


def rebuild(settings: Settings, packed: tuple[Path, str], count: int) -> tuple[float, float, str]:
    """Seconds of reading, seconds from the submission to the savepoint, and that one's path. Raises Trouble where not
    all of so many entries were read."""
    layout, ids = Layout(settings.state_dir), list[str]()

    def run(point: str, more: list[str]) -> str:
        ids.append(run_job(settings, layout, APP, flink.CATCH_UP, packed[0], point, more))
        return ids[-1]

    began = time.monotonic()
    try:
        mine = records.Record(CONVERSATION, "", APP, packed[1])
        savepoint = starting.ready(settings, layout, "", mine, run, click.echo)
    except (SubmitFailed, http.HttpError) as error:
        raise Trouble(str(error), "Read the logs under the stack's folder.") from error
    whole_s = time.monotonic() - began
    read, reading_s = reading(settings, ids[-1])
    if read != count:
        raise Trouble(f"The journal has {count:,} entries, the catch-up has read {read:,}.")
    return reading_s, whole_s, savepoint.removeprefix("file://")


@click.command()
@click.option("--decisions", type=click.IntRange(1), default=200_000, show_default=True)
@click.option("--parallelism", type=click.IntRange(1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@options
def main(**given: Any) -> None:
    """Fill a journal and make the conversation's state of it, again and again."""
    parallelism = given["parallelism"]
    with session(given, APP, (), spare=parallelism) as run:
        where = replace(run.settings, parallelism=parallelism)
        packed = pack(Layout(where.state_dir), APP)
        count = Filling(
            where.bootstrap, where.namespace, where.registry_url, given["decisions"], given["seed"]
        ).run(2)  # fmt: skip
        click.echo(f"  {count:,} decisions in the journal")
        rounds = []
        for _ in range(given["rounds"]):
            rounds.append(rebuild(where, packed, count))
            click.echo(f"  read in {rounds[-1][0]:.1f} s, a savepoint after {rounds[-1][1]:.1f} s")
        found = [
            Figure("rebuild.decisions", "decisions/s", [count / reading_s for reading_s, _, _ in rounds]),
            Figure("rebuild.decisions_to_savepoint", "decisions/s", [count / whole_s for _, whole_s, _ in rounds]),
            Figure("rebuild.to_savepoint", "s", [whole_s for _, whole_s, _ in rounds]),
        ]
        size = file_bytes(Path(rounds[-1][2]), "*")
        run.report("rebuild", found, decisions=count, parallelism=parallelism, savepoint_bytes=size)


if __name__ == "__main__":
    main()
