# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.rebuild`: how fast the conversation's state is made of its journal alone.

    a journal that no job wrote (bench/filling.py) ─► the catch-up of `threadlog start --rebuild` ─► savepoint

The live job is not started after it: it would decide overdue timers, and the next round would find another journal. A
round is told twice, to the savepoint each time: from when every task ran, and from the submission.
"""

from __future__ import annotations

import time
from dataclasses import replace
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
from wire.journal import catch_up_group, left_behind

APP = "bench.app:app"
BEFORE_RUNNING = ("DEPLOYING", "INITIALIZING")  # what a task does from its start until it takes its first record


class Round(NamedTuple):
    """One rebuild: seconds to the savepoint from when all tasks ran, and from the submission; its bytes, and how far
    apart the catch-up's checkpoints were set to be."""

    running_s: float
    whole_s: float
    savepoint_bytes: int
    interval_ms: int


def ran_from(settings: Settings, job_id: str) -> float:
    """When the last of a job's tasks began to run, by the clock. Raises HttpError."""
    base = f"{settings.flink_rest}/jobs/{job_id}"
    ids = [vertex["id"] for vertex in http.call(base)["vertices"]]
    return max(_runs_from(task) for id in ids for task in http.call(f"{base}/vertices/{id}")["subtasks"]) / 1000


def _runs_from(task: dict[str, Any]) -> int:
    spent: dict[str, int] = task["status-duration"]  # -1 for what a task never did
    start_ms: int = task["start-time"]
    return start_ms + sum(max(0, spent[state]) for state in BEFORE_RUNNING)


def rebuild(settings: Settings, packed: tuple[Path, str], count: int) -> Round:
    """One of them. Raises Trouble where not so many offsets were read, an attempt failed, or the savepoint is empty."""
    layout, ids, told = Layout(settings.state_dir), list[str](), list[str]()

    def run(point: str, more: list[str]) -> str:
        ids.append(run_job(settings, layout, APP, flink.CATCH_UP, packed[0], point, more))
        told[:] = more
        return ids[-1]

    began = time.monotonic()
    try:
        mine = records.Record(CONVERSATION, "", APP, packed[1])
        savepoint = starting.ready(settings, layout, "", mine, run, click.echo)
        whole_s, ended_s = time.monotonic() - began, time.time()
        running_s = ended_s - ran_from(settings, ids[-1])
        group = catch_up_group(settings.namespace, told[told.index("--generation") + 1])
        read = left_behind(settings.bootstrap, settings.namespace, group)
        failure = flink.last_failure(settings, ids[-1])
    except (SubmitFailed, http.HttpError, KafkaException, WireError) as error:
        raise Trouble(str(error), "Read the logs under the stack's folder.") from error
    if failure:  # the last attempt has read only what the one before had left
        raise Trouble(f"The catch-up has failed once: {failure}")
    if read != count:
        raise Trouble(f"The journal has {count:,} entries, the catch-up has read {read:,}.")
    if not (size := file_bytes(Path(plain_path(savepoint)), "*")):
        raise Trouble(f"The savepoint {savepoint} has no bytes.")
    return Round(running_s, whole_s, size, _interval_ms(settings, told))


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
            click.echo(
                f"  a savepoint after {rounds[-1].whole_s:.1f} s, of which its tasks ran {rounds[-1].running_s:.1f} s"
            )
        figures = [
            Figure("rebuild.decisions", "decisions/s", [count / one.running_s for one in rounds]),
            Figure("rebuild.decisions_to_savepoint", "decisions/s", [count / one.whole_s for one in rounds]),
            Figure("rebuild.to_savepoint", "s", [one.whole_s for one in rounds]),
        ]
        last = rounds[-1]
        run.report(
            "rebuild", figures, decisions=count, parallelism=parallelism, savepoint_bytes=last.savepoint_bytes,
            checkpoint_interval_ms=last.interval_ms,
        )  # fmt: skip


if __name__ == "__main__":
    main()
