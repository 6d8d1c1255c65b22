# SPDX-License-Identifier: Apache-2.0
"""Jobs that are stopped with savepoints and go on. The last test leaves a job that `submit` cannot restore."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace

import pytest

from ops import http
from ops.stack import flink, processes, records
from ops.stack.command_line import run_command
from ops.stack.layout import Layout
from ops.stack.submit import client_environment, pack, stop_jobs
from tests.stack.console import Console
from tests.stack.cutting import cut
from tests.stack.world import Event, World, fresh, thread_of, wait_until

NAP_S = 2
RELEASE = "Upgrade threadlog"


def open_work(world: World, gate: str, nap_s: int = NAP_S) -> dict[str, Event]:
    """Runs in every way of waiting: for a timer, an event, a quota, a call before and after its effect, a retry."""
    work = {
        "timer": world.go(f"nap:{nap_s} pay"),
        "event": world.go("wait pay"),
        "read in flight": world.go(f"look:before.{gate}"),
        "effect in flight": world.go(f"pay:before.{gate}"),
        "effect done": world.go(f"pay:after.{gate}"),
        "retry": world.go(f"pay:busy.{gate}"),
        "at its turn": world.go(f"queue:before.{gate}"),
    }
    world.wait_arrived(gate, 5)
    work["queued"] = world.go(f"queue:before.{gate}")
    work["queued second"] = world.go(f"queue:before.{gate}")
    work["message behind it"] = world.go("pay", thread=thread_of(work["effect in flight"]))
    world.log.wait("all begun", lambda: all(world.log.threads.get(thread_of(event)) for event in work.values()))
    return work


def check_all_end(world: World, work: dict[str, Event], gate: str) -> None:
    """Let everything go on; each run tells its end, and the laws say that each ends once."""
    world.more(work["event"], "go on")
    world.open(gate)
    told = dict(zip(work, world.wait_replied(list(work.values())), strict=True))
    assert told["timer"].startswith("slept; paid")
    assert "go on; paid" in told["event"]
    assert {name: words for name, words in told.items() if "paid" not in words and "saw" not in words} == {}
    assert len(world.lines("arrived", f"busy.{gate}")) > 1


def test_restore_from_savepoints_goes_on_with_open_work(world: World) -> None:
    """Timers that came due and events that came meanwhile are handled, calls of every kind end, all of it once."""
    gate, layout = fresh("stop"), Layout(world.settings.state_dir)
    work = open_work(world, gate)
    assert stop_jobs(world.settings, layout, list(flink.JOBS), print) == []
    assert flink.live_jobs(world.settings) == {}
    work["meanwhile"] = world.go("look pay")
    world.more(work["event"], "go on")
    time.sleep(NAP_S)  # the timer comes due while nothing runs
    assert not any(world.replied(event) for event in work.values())
    world.cli("submit", "--app", world.settings.app)
    check_all_end(world, work, gate)


@pytest.mark.chaos
def test_restore_after_down_and_up_goes_on_with_open_work(world: World, console: Console) -> None:
    """The same over an end and a start of the whole stack; nothing is left running in between."""
    gate, layout = fresh("down"), Layout(world.settings.state_dir)
    work = open_work(world, gate)
    console.run(RELEASE, 0)
    assert processes.living(layout) == [] and processes.supervisor(layout) is None
    console.run(RELEASE, 1)
    check_all_end(world, work, gate)


@pytest.mark.chaos
def test_restored_threads_drop_what_a_source_gives_again(world: World) -> None:
    """A source that begins at the start of its topics again changes nothing: each thread knows what it has handled. Of
    a record without a thread nobody knows that, so the start takes along which dead letters there are."""
    layout = Layout(world.settings.state_dir)
    [place] = world.produce([replace(world.event(fresh("t"), "it.Go", {"plan": ""}), key=None)])
    world.log.wait("a dead letter", lambda: world.log.letters.get(place))
    folder, _ = pack(layout, world.settings.app)
    again = cut(
        world.settings, "again", ("jobs/conversation.py", 'UID = "thread-inputs"', 'UID = "thread-inputs-again"')
    )
    for source, code in (("thread-inputs-again", again), ("thread-inputs", folder)):  # then it has its name again
        assert stop_jobs(world.settings, layout, ["conversation"], print) == []
        before = sum(len(growing.records()) for growing in world.log.inputs.values())
        savepoint = records.restore_point(layout, "conversation")
        command = run_command(world.settings, layout, world.settings.app, "conversation", code, savepoint)
        command.insert(command.index("-s"), "--allowNonRestoredState")
        environment = client_environment(layout, "conversation")
        subprocess.run(command, env=environment, cwd=code, check=True, capture_output=True, timeout=120)
        world.wait_running()
        wait_until("all of it is given again", lambda source=source, before=before: given(world, source) >= before)
        # Enough of them to reach the end of every partition of events and of results.
        world.wait_replied([world.go("look pay") for _ in range(60)])
    assert len(world.log.letters[place]) == 1


def given(world: World, source: str) -> int:
    """How many records a source of the conversation has given, by counts that Flink renews every ten seconds."""
    job = flink.live_jobs(world.settings)["conversation"].id
    vertices = http.call(f"{world.settings.flink_rest}/jobs/{job}")["vertices"]
    return sum(int(v["metrics"]["write-records"]) for v in vertices if v["name"].endswith(f": {source}"))
