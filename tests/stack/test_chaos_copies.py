# SPDX-License-Identifier: Apache-2.0
"""Two copies of the conversation: kept from writing one journal; where they do, told of, ended by hand, repaired."""

from __future__ import annotations

import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ops.stack import flink
from ops.stack.layout import layout_of
from ops.stack.submit import pack, stop_jobs, submit
from ops.watching.jobs import restarts
from tests.stack import chaos
from tests.stack.cutting import cut
from tests.stack.test_start import assert_refused, flink_run, mark
from tests.stack.world import Traffic, World, wait_until

pytestmark = pytest.mark.chaos
BEGUN = 'Start(begun(args, Mark(STARTED, CONVERSATION, "", "", {}, args.app)), False)'
# The code of a start that finds no other: as if that one had been hanging while it was looked for.
BUILD = "\ndef build("
PAST_THE_LEASE = (
    ("jobs/conversation.py", "acquaint, admit", "acquaint, begun"),
    ("jobs/conversation.py", "admit(args)", BEGUN),
    ("jobs/conversation.py", BUILD, f"from wire.control import CONVERSATION, STARTED, Mark\n\n{BUILD}"),
)
PAST_THE_JOURNAL = ("udfs/thread_function.py", "                generations.alone_since(*where, mine)\n", "")
LOOKED = "    leases = alone(args)\n"
PAUSE = """
    import pathlib, time
    here = pathlib.Path(__file__).parent
    (here / "looked").touch()
    while not (here / "go").exists():
        time.sleep(0.05)
"""


@pytest.fixture
def world(empty: World) -> World:
    """A world in a new namespace, in which both jobs run."""
    chaos.start(empty)
    return empty


def test_two_copies_are_told_of_and_what_they_void_is_healed(world: World, tmp_path: Path) -> None:
    """A second copy begins beside the first, from nothing, and decides again what that has decided, because it does not
    look at the journal either. The first may not go on, and is tried again and again. The watch tells of both; one is
    cancelled, and the repair leaves one valid entry for each input."""
    copy = cut(world.settings, "past-the-lease-and-the-journal", *PAST_THE_LEASE, PAST_THE_JOURNAL)
    with chaos.watching(world, tmp_path / "watch") as watch:
        with Traffic(world) as traffic:
            world.wait_replied([world.go("look pay")])
            [first] = [job for job in flink.jobs(world.settings) if job.kind == "conversation" and job.is_live]
            assert flink_run(world.settings, copy, "").returncode == 0
            watch.wait(60, alarm="copies", job="conversation")
            wait_until(
                "it is tried again", lambda: any("overtaken" in one["what"] for one in watch.lines(alarm="copies"))
            )
            flink.cancel(world.settings, first)
            watch.wait(60, alarm="copies", job="conversation", over=True)
            watch.wait(60, alarm="void")
        told = Counter(line["alarm"] for line in watch.lines() if "alarm" in line)
        print(f"the watch told of {dict(told)}")
    with chaos.watching(world, tmp_path / "heals", "--heal") as watch:
        watch.wait(heal="done")
        chaos.check(world, traffic.sent)
        assert watch.lines(heal="failed") == []
        wait_until("the watch tells of each void entry", lambda: chaos.told_of_all(world, watch))


def test_two_copies_started_at_once_are_refused_or_seen(empty: World, tmp_path: Path) -> None:
    """Neither finds the other's lease, when both ask at the same moment. Where both were let in, the watch tells of two
    copies, and of what they void; with one of them ended, a repair leaves one valid entry for each input."""
    world, layout = empty, layout_of(empty.settings)
    folder, _ = pack(layout, world.settings.app)
    submit(world.settings, layout, world.settings.app, list(flink.JOBS), print, find=lambda *_: "")
    stop_jobs(world.settings, layout, ["conversation"], print)
    with ThreadPoolExecutor(2) as pool:
        point = chaos.last_savepoint(world)
        done = [*pool.map(lambda _: flink_run(world.settings, folder, point), range(2))]
    copies = [job for job in flink.jobs(world.settings) if job.kind == "conversation" and job.is_live]
    print(f"exit codes {[one.returncode for one in done]}; {len(copies)} copies live")
    assert len(copies) >= 1
    with chaos.watching(world, tmp_path / "watch") as watch:
        with Traffic(world) as traffic:
            if len(copies) > 1:
                watch.wait(60, alarm="copies")
            time.sleep(10)
            for job in copies:
                print(job.id, flink.last_failure(world.settings, job.id), restarts(world.settings, job.id))
            for job in copies[1:]:
                flink.cancel(world.settings, job)
            world.wait_running()
        told = {line["alarm"] for line in watch.lines() if "alarm" in line}
        print(f"the watch told of {told or 'nothing'}; {len(watch.lines(alarm='void'))} void entries")
    with chaos.watching(world, tmp_path / "heals", "--heal") as watch:
        chaos.check(world, traffic.sent)
        if "void" in told:
            watch.wait(heal="done")
        chaos.check(world, traffic.sent)
        assert watch.lines(heal="failed") == []


def test_copy_that_begins_beside_another_finds_it_in_the_journal(world: World, tmp_path: Path) -> None:
    """The same second copy, which looks: it decides nothing, nor do its next attempts, and nothing is void. Both are
    taken over, and every input is decided once."""
    copy = cut(world.settings, "past-the-lease", *PAST_THE_LEASE)
    with chaos.watching(world, tmp_path / "watch") as watch, Traffic(world) as traffic:
        world.wait_replied([world.go("look pay")])
        assert flink_run(world.settings, copy, "").returncode == 0
        told = set[str]()

        def neither_goes_on() -> bool:
            told.update(failures(world))
            ends = ("was overtaken", "of generation 2 was ended")  # that it waits for a slot is told in between
            return all(any(end in one for one in told) for end in ends)

        wait_until("neither goes on", neither_goes_on, 120, lambda: told)
        wait_until(
            "the watch tells of it", lambda: any("overtaken" in one["what"] for one in watch.lines(alarm="copies"))
        )
        world.cli("--namespace", world.settings.namespace, "start", "--take-over")
        world.wait_replied([world.go("look pay")])
    chaos.check(world, traffic.sent)
    assert watch.lines(alarm="void") == [] == chaos.valid(world.settings)[2].voids


def failures(world: World) -> list[str]:
    """Why each copy failed last."""
    copies = [job for job in flink.jobs(world.settings) if job.kind == "conversation" and job.is_live]
    return [flink.last_failure(world.settings, job.id) for job in copies]


def test_start_beside_a_copy_that_flink_brings_back_is_refused(world: World) -> None:
    """It has found nobody who renews a lease, and before it has written its mark the first is there again."""
    world.wait_replied([world.go("look pay")])
    stop_jobs(world.settings, layout_of(world.settings), ["conversation"], print)
    world.cli("--namespace", world.settings.namespace, "start", "--job", "conversation")
    before, point = world.attempts(), mark(world.settings).savepoint
    copy = cut(world.settings, "brought-back", ("udfs/start_guard.py", LOOKED, f"{LOOKED}{PAUSE}"))
    managers = chaos.Managers(world)
    managers.send(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(flink_run, world.settings, copy, point)
            wait_until("it has looked", lambda: (copy / "udfs" / "looked").exists())
            managers.send(signal.SIGCONT)
            world.wait_restarted("conversation", before)
            (copy / "udfs" / "go").touch()
            assert_refused(done.result(), "began in process", "at the same moment", "`threadlog start --take-over`")
    finally:
        managers.send(signal.SIGCONT)
    world.cli("--namespace", world.settings.namespace, "start", "--take-over")
    with Traffic(world) as traffic:
        world.wait_replied([world.go("look pay")])
    chaos.check(world, traffic.sent)
    assert chaos.valid(world.settings)[2].voids == []
