# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.rebuild`: how fast the conversation's state is made of its journal alone.

    a journal that no job wrote (bench/filling.py) ─► the catch-up of `threadlog start --rebuild` ─► savepoint

The live job is not started after it: it would decide overdue timers, and the next round would find another journal. A
round is told twice: from when every task ran until the last entry was read, and from the submission to the savepoint.
What lies in buffers when the last entry is read, a thousand at most, is applied after it.

The source's own end is later: it waits for a checkpoint, which a long catch-up takes every five seconds. Flink's counts
of records are up to ten seconds old. So the TaskManagers' logs are asked when the last split was finished.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
from confluent_kafka import KafkaException

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
from schemas.errors import WireError
from wire.control import CONVERSATION, plain_path

APP = "bench.app:app"
FINISHED, STAMP = "Finished reading split(s) [", len("2026-01-01 00:00:00,000")  # a line of Flink's source reader
BEFORE_RUNNING = ("DEPLOYING", "INITIALIZING")  # what a task does from its start until it takes its first record


class Round(NamedTuple):
    """One rebuild: seconds of reading, seconds from the submission to the savepoint, its bytes, and how far apart the
    catch-up's checkpoints were set to be."""

    reading_s: float
    whole_s: float
    savepoint_bytes: int
    interval_ms: int


def reading(settings: Settings, job_id: str) -> tuple[int, float]:
    """Entries that a catch-up has read, and the seconds from when all of its tasks ran until the last one was.

    Raises HttpError; Trouble where no log tells."""
    base = f"{settings.flink_rest}/jobs/{job_id}"
    vertices = http.call(base)["vertices"]
    tasks = {one["id"]: http.call(f"{base}/vertices/{one['id']}")["subtasks"] for one in vertices}
    (journal,) = (one for one in vertices if "journal-" in one["name"])
    began_s = max(_runs_from(task) for ones in tasks.values() for task in ones) / 1000
    ended_s = max(int(task["end-time"]) for task in tasks[journal["id"]]) / 1000
    times = {split: at for at, split in sorted(_finished_splits(settings)) if began_s <= at <= ended_s}
    if missing := set(range(settings.partitions)) - times.keys():  # without its last line a reading would be short
        why = f"No TaskManager's log tells when the last entry of the journal's partitions {sorted(missing)} was read."
        raise Trouble(why, "Read the logs of the stack.")
    return int(journal["metrics"]["write-records"]), max(times.values()) - began_s


def _finished_splits(settings: Settings) -> Iterator[tuple[float, int]]:
    """When sources had handed on the last entry of a partition of the journal, by the clock; and which it was."""
    split = re.compile(rf"{re.escape(starting.journal_of(settings))}-(\d+)[,\]]")
    for log in Layout(settings.state_dir).logs.glob("taskmanager-*.log*"):
        for line in log.read_text("utf-8", "replace").splitlines():
            if FINISHED in line:
                at_s = datetime.strptime(line[:STAMP], "%Y-%m-%d %H:%M:%S,%f").timestamp()
                yield from ((at_s, int(number)) for number in split.findall(line))


def _runs_from(task: dict[str, Any]) -> int:
    spent: dict[str, int] = task["status-duration"]  # -1 for what a task never did
    start_ms: int = task["start-time"]
    return start_ms + sum(max(0, spent[state]) for state in BEFORE_RUNNING)


def rebuild(settings: Settings, packed: tuple[Path, str], count: int) -> Round:
    """One of them. Raises Trouble where not all of so many entries were read, or the savepoint is empty."""
    layout, ids, told = Layout(settings.state_dir), list[str](), list[str]()

    def run(point: str, more: list[str]) -> str:
        ids.append(run_job(settings, layout, APP, flink.CATCH_UP, packed[0], point, more))
        told[:] = more
        return ids[-1]

    began = time.monotonic()
    try:
        mine = records.Record(CONVERSATION, "", APP, packed[1])
        savepoint = starting.ready(settings, layout, "", mine, run, click.echo)
        whole_s = time.monotonic() - began
        read, reading_s = reading(settings, ids[-1])
    except (SubmitFailed, http.HttpError, KafkaException, WireError) as error:
        raise Trouble(str(error), "Read the logs under the stack's folder.") from error
    if read != count:
        raise Trouble(f"The journal has {count:,} entries, the catch-up has read {read:,}.")
    if not (size := file_bytes(Path(plain_path(savepoint)), "*")):
        raise Trouble(f"The savepoint {savepoint} has no bytes.")
    return Round(reading_s, whole_s, size, _interval_ms(settings, told))


def _interval_ms(settings: Settings, told: list[str]) -> int:
    """Between the checkpoints of a job with these arguments."""
    name = "--checkpoint-interval-ms"
    return int(told[told.index(name) + 1]) if name in told else settings.checkpoint_interval_ms


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
        rounds = list[Round]()
        for _ in range(given["rounds"]):
            rounds.append(rebuild(where, packed, count))
            click.echo(f"  read in {rounds[-1].reading_s:.1f} s, a savepoint after {rounds[-1].whole_s:.1f} s")
        found = [
            Figure("rebuild.decisions", "decisions/s", [count / one.reading_s for one in rounds]),
            Figure("rebuild.decisions_to_savepoint", "decisions/s", [count / one.whole_s for one in rounds]),
            Figure("rebuild.to_savepoint", "s", [one.whole_s for one in rounds]),
        ]
        last = rounds[-1]
        run.report(
            "rebuild", found, decisions=count, parallelism=parallelism, savepoint_bytes=last.savepoint_bytes,
            checkpoint_interval_ms=last.interval_ms,
        )  # fmt: skip


if __name__ == "__main__":
    main()
