# SPDX-License-Identifier: Apache-2.0
"""A catch-up whose TaskManager is killed while it reads leaves the state that the jobs had."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.conversation import THREADS_UID
from ops.stack import flink, processes, records, starting
from ops.stack.layout import Layout
from ops.stack.submit import run_job
from tests.stack.cutting import cut
from tests.stack.test_rebuilt_state import dumped
from tests.stack.test_start import mark, some_runs
from tests.stack.world import World, wait_until
from wire.control import CAUGHT_UP, CONVERSATION
from wire.journal import catch_up_group, left_behind
from wire.kafka import bounds

pytestmark = pytest.mark.chaos
# Many slices, which take their time: so a kill finds some that are read, some on their way, and some not begun.
SHORT = ("jobs/catchup.py", "SLICE = 5_000\n", "SLICE = 10\n")
READ = "        piece = Slice.unpack(value)\n"
SLOW = ("udfs/journal_slices.py", READ, f'{READ}        __import__("time").sleep(0.2)\n')


def test_catch_up_that_is_killed_while_it_reads_has_the_same_state(world: World, tmp_path: Path) -> None:
    """Each thread is equal to the last field: nothing that was between two operators was lost, or came twice."""
    settings, layout = world.settings, Layout(world.settings.state_dir)
    for _ in range(3):
        some_runs(world)
    world.cli("stop")
    before = dumped(world, records.restore_point(layout, CONVERSATION), THREADS_UID, tmp_path)
    folder, jobs = cut(settings, "slices", SHORT, SLOW), dict[str, str]()
    held = bounds(settings.bootstrap, starting.journal_of(settings))
    begin, total = {p: low for p, (low, _) in held.items()}, sum(high - low for low, high in held.values())

    def run(point: str, more: list[str]) -> str:
        job = run_job(settings, layout, settings.app, flink.CATCH_UP, folder, point, more)
        jobs[job] = more[more.index("--generation") + 1]
        return job

    def read(share: float) -> bool:
        group = catch_up_group(settings.namespace, *jobs.values()) if jobs else ""
        return bool(jobs) and left_behind(settings.bootstrap, settings.namespace, group, begin) >= share * total

    def kill() -> None:
        for share in (1 / 4, 1 / 2):
            wait_until(f"{share} of the journal is read", lambda share=share: read(share))
            for host in flink.hosts(settings, *jobs):
                processes.send(world.process(host), signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        mine = records.Record(CONVERSATION, "", settings.app, folder.name)
        savepoint = starting.ready(settings, layout, "", mine, run, print)
        killing.result()
    assert flink.last_failure(settings, *jobs)
    assert mark(settings).what == CAUGHT_UP
    assert dumped(world, savepoint, THREADS_UID, tmp_path) == before
    world.cli("start")
    world.wait_running()
    some_runs(world)
