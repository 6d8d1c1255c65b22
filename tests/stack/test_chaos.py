# SPDX-License-Identifier: Apache-2.0
"""Faults that may break a journal, and the repair. Each in a namespace of its own: a broken journal stays one for ever.

`make chaos` runs these. What is only slower than the rest, but leaves whole journals, is in test_outages and
test_crashes: a broker, a JobManager or a TaskManager killed under load."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ops.stack import flink, processes
from ops.stack.layout import layout_of
from ops.stack.submit import stop_jobs
from tests.stack import chaos
from tests.stack.test_start import savepoint
from tests.stack.world import Event, Traffic, World, wait_until
from wire.kafka import producer

pytestmark = pytest.mark.chaos
OUTAGES_MAX = 8
# After a checkpoint was written; the interval is 200 ms, so the last ones lie in or behind the next.
DELAYS_MS = (0, 100, 190, 210, 230)
# Below what Flink takes for dead a pause is none; the last ones wake up long after the job has gone on elsewhere.
PAUSES_S = (4, 6, 8, 10)
FENCES_MAX = 8
# An input that was passed over is told of after 10 s and two looks.
PATIENCE_S = 25
# A stop asks after a hundred inputs of each partition: so many come meanwhile that what was lost lies before them.
SINCE_S = 30


@pytest.fixture
def world(empty: World) -> World:
    """A world in a new namespace, in which both jobs run."""
    chaos.start(empty)
    return empty


def test_outage_beyond_the_transaction_timeout_is_seen_and_healed(world: World, tmp_path: Path) -> None:
    """All TaskManagers stop between a checkpoint and its commit, until the broker has aborted what they wrote: the job
    goes on from a state that the journal lacks, and nothing but the watch says so. It makes the state anew; then every
    input has one valid entry, and each payment is made once."""
    sent, lost, outages = list[Event](), False, 0
    with chaos.watching(world, tmp_path / "watch", "--heal") as watch:
        while not lost and outages < OUTAGES_MAX:
            outages += 1
            with Traffic(world, pause_s=0.01) as traffic:
                wait_until("a good start", lambda sent=traffic.sent: len(sent) > 200)
                left_open = chaos.stop_after_checkpoint(world)
                seconds = chaos.outlast_the_timeout(world)
                world.wait_running()
                time.sleep(3)
                lost = bool(watch.lines(heal="begun"))
            sent += traffic.sent
            print(f"outage {outages}: {seconds:.1f} s, {left_open} transactions open, commit lost: {lost}")
            time.sleep(10)
            lost = lost or bool(watch.lines(heal="begun"))
        assert lost, f"no commit was lost in {outages} outages"
        healed = watch.wait(heal="done")
        chaos.check(world, sent)
        assert watch.lines(heal="failed") == []
        assert len(watch.lines(heal="done")) == 1
    journal = chaos.valid(world.settings)[2]
    print(f"healed in {healed['seconds']} s; void {len(journal.voids)} of {len(sent)} events and their results")
    assert chaos.told_of_all(world, watch)


def test_taskmanager_that_hangs_and_wakes_up(empty: World, tmp_path: Path) -> None:
    """Stopped past its heartbeat and woken, again and again: the job goes on elsewhere, and what the woken one still
    had in hand takes nothing from it. Should a commit be lost all the same, it is seen and healed."""
    world, sent = empty, list[Event]()
    world.settings = replace(world.settings, transaction_timeout_ms=600_000)
    chaos.start(world)
    with chaos.watching(world, tmp_path / "watch", "--heal") as watch:
        for pause_s in PAUSES_S:
            world.wait_running()
            with Traffic(world, pause_s=0.01) as traffic:
                wait_until("a good start", lambda sent=traffic.sent: len(sent) > 200)
                process = world.process(flink.job_hosts(world.settings)["conversation"][0])
                processes.send(process, signal.SIGSTOP)
                time.sleep(pause_s)
                processes.send(process, signal.SIGCONT)
                world.wait_replied([world.go("look pay")], 180)
            sent += traffic.sent
            told = Counter(line["alarm"] for line in watch.lines() if "alarm" in line)
            print(f"stopped for {pause_s} s; alarms so far: {dict(told)}, heals: {len(watch.lines(heal='done'))}")
        chaos.check(world, sent)
        assert watch.lines(heal="failed") == []
        wait_until("the watch tells of each void entry", lambda: chaos.told_of_all(world, watch))


@pytest.mark.parametrize("sign", ["void", "lost"])
def test_commit_that_a_second_producer_took_away_is_seen_and_healed(world: World, tmp_path: Path, sign: str) -> None:
    """Whoever begins under the name of a transaction aborts it. The job goes on without what it was about to commit:
    where a thread has more entries, they are void; where it has none, the inputs that were passed over tell of it."""
    more = Traffic(world, 0.01) if sign == "void" else Traffic(world, 0.01, threads=20_000, plans=[""])
    with chaos.watching(world, tmp_path / "watch", "--heal") as watch:
        with more as traffic:
            for number in range(1, FENCES_MAX + 1):
                world.wait_running()
                count = len(traffic.sent) + 200
                wait_until("a good start", lambda count=count: len(traffic.sent) > count)
                print(f"fenced, held for {chaos.fence(world):.1f} s, number {number}")
                with contextlib.suppress(AssertionError):
                    watch.wait(PATIENCE_S, heal="begun")
                    break
            assert watch.lines(heal="begun"), f"no commit was lost, {FENCES_MAX} times fenced"
        watch.wait(heal="done")
        chaos.check(world, traffic.sent)
        assert watch.lines(heal="failed") == []
        wait_until("the watch tells of each void entry", lambda: chaos.told_of_all(world, watch))
    print(f"void {len(watch.lines(alarm='void'))}, lost {len(watch.lines(alarm='lost'))} of {len(traffic.sent)}")
    assert watch.lines(heal="begun")[0]["cause"] == sign


def test_transaction_that_hangs_is_seen_and_ended_by_the_next_start(empty: World, tmp_path: Path) -> None:
    """A job that is killed and cancelled leaves its transactions open, at whatever moment of a checkpoint that is: the
    watch and `threadlog doctor` tell of them, and the next start ends or commits each."""
    world, sent = empty, list[Event]()
    world.settings = long_ = replace(world.settings, transaction_timeout_ms=600_000)
    chaos.start(world)
    for delay_ms in DELAYS_MS:
        with chaos.watching(world, tmp_path / "watch") as watch:
            with Traffic(world, pause_s=0.005) as traffic:
                wait_until("a good start", lambda sent=traffic.sent: len(sent) > 200)
                chaos.stop_after_checkpoint(world, delay_ms / 1000)
            sent += traffic.sent
            left = {one.name: one.state for one in chaos.open_of(world)}
            flink.cancel(long_, flink.live_jobs(long_)["conversation"])
            chaos.Managers(world).send(signal.SIGKILL)
            if left:
                watch.wait(alarm="transaction", over=False)
                assert {line["transaction"] for line in world.cli("--namespace", long_.namespace, "doctor")} == set(
                    left
                )
            began = time.monotonic()
            world.cli("--namespace", long_.namespace, "start", "--job", "conversation")
            took = time.monotonic() - began
            print(f"stopped {delay_ms} ms after a checkpoint: open {left}; started after {took:.1f} s")
            if left:
                watch.wait(alarm="transaction", over=True)
    chaos.check(world, sent)
    assert chaos.valid(world.settings)[2].voids == []


def test_state_that_is_ahead_of_the_journal_is_discarded_by_the_next_start(empty: World) -> None:
    """A job that is stopped between a checkpoint and its commit, and cancelled when the broker has aborted what it
    wrote: its last inputs are handled in a state that is the newest there is, and decided nowhere. `threadlog start`
    makes it anew."""
    world, sent, rebuilt, tried = empty, list[Event](), False, 0
    chaos.start(world)
    while not rebuilt and tried < OUTAGES_MAX:
        tried += 1
        world.wait_running()
        with Traffic(world, pause_s=0.005) as traffic:
            wait_until("a good start", lambda sent=traffic.sent: len(sent) > 200)
            left_open = chaos.stop_after_checkpoint(world)
        sent += traffic.sent
        wait_until("the transactions time out", lambda: not chaos.open_of(world), 60)
        flink.cancel(world.settings, flink.live_jobs(world.settings)["conversation"])
        chaos.Managers(world).send(signal.SIGKILL)
        world.cli("--namespace", world.settings.namespace, "start", "--job", "conversation")
        rebuilt = chaos.is_rebuilt(world)
        print(f"end {tried}: {left_open} transactions open, the state was ahead: {rebuilt}")
    assert rebuilt, f"no commit was lost at {tried} ends"
    chaos.check(world, sent)
    assert chaos.valid(world.settings)[2].voids == []


def test_commit_that_was_lost_long_before_a_stop_is_seen_at_the_stop(world: World) -> None:
    """Nobody watches, and all that the job has read of late has entries, void or not. The tools job has told of the
    void ones, or the inputs behind them do: the stop is not taken for the journal's end, and the next start finds that
    the state is none of the journal's, and makes it anew."""
    said, layout = list[str](), layout_of(world.settings)
    with Traffic(world, 0.01) as traffic:
        for number in range(1, FENCES_MAX + 1):
            world.wait_running()
            count = len(traffic.sent) + 200
            wait_until("a good start", lambda count=count: len(traffic.sent) > count)
            print(f"fenced, held for {chaos.fence(world):.1f} s, number {number}")
            time.sleep(PATIENCE_S / 2)
            if chaos.valid(world.settings)[2].voids:
                break
        time.sleep(SINCE_S)
    assert chaos.valid(world.settings)[2].voids, f"no commit was lost, {FENCES_MAX} times fenced"
    stop_jobs(world.settings, layout, ["conversation"], said.append)
    assert len([line for line in said if ": the next start will " in line]) == 1, said
    world.cli("--namespace", world.settings.namespace, "start", "--job", "conversation")
    assert chaos.is_rebuilt(world)
    chaos.check(world, traffic.sent)
    said.clear()
    stop_jobs(world.settings, layout, ["conversation"], said.append)
    # What was void is healed, and is no reason again.
    assert [line for line in said if ": the next start will " in line] == []


def three_topics(world: World, count: int) -> list[Event]:
    """Events to three inputs of a few threads, one after the other: results of their calls come as a fourth."""
    sender, events = producer(world.settings.bootstrap), list[Event]()
    for number in range(count):
        event = world.event(f"u{number % 8}", "it.Go", {"plan": ("pay", "", "look")[number // 8 % 3]})
        topic = ("agent-events", "human-feedback", "agent-signals")[number % 3]
        name = f"{world.settings.namespace}.{topic}"
        sender.produce(name, event.value, event.key, headers=event.headers)
        sender.flush(10)
        events.append(event)
    return events


def all_decided(world: World) -> None:
    """Wait until every input has a valid entry."""
    wait_until("all are decided", lambda: not chaos.undecided(world.settings))


def test_older_savepoint_with_inputs_of_several_topics_is_caught_up(world: World) -> None:
    """`threadlog start` from it: the journal is followed, whatever order its topics would be read in; nothing is void.
    tests/stack/test_start.py shows the fork that the same steps make where nothing guards the start."""
    events = three_topics(world, 60)
    all_decided(world)
    older = savepoint(world.settings)
    events += three_topics(world, 120)
    all_decided(world)
    world.cli("--namespace", world.settings.namespace, "stop", "--job", "conversation")
    events += three_topics(world, 30)
    start = ("start", "--job", "conversation", "--from-savepoint", older)
    world.cli("--namespace", world.settings.namespace, *start)
    events += three_topics(world, 30)
    chaos.check(world, events)
    assert chaos.valid(world.settings)[2].voids == []
