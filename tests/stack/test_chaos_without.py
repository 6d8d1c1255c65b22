# SPDX-License-Identifier: Apache-2.0
"""Faults of test_chaos and test_outages without what holds against them: what comes of each then.

The others stand beside the tests of what guards: an older savepoint, and what void entries ask for (test_start), two
copies (test_chaos_copies), inputs that are gone (test_retention)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from ops.stack import flink, processes
from tests.stack import chaos
from tests.stack.cutting import cut
from tests.stack.test_start import flink_run
from tests.stack.world import Traffic, World, wait_until

pytestmark = pytest.mark.chaos
# What is decided is written as it comes, in no transaction.
AT_ONCE = (
    "udfs/flink_io.py",
    "_sink(bootstrap, DeliveryGuarantee.EXACTLY_ONCE)",
    "_sink(bootstrap, DeliveryGuarantee.AT_LEAST_ONCE)",
)
PAUSE_S = 8  # past the heartbeat
OUTAGES_MAX = 8
# The watch tells of an input that was passed over after 10 s and two looks.
PAUSE_BETWEEN_S, LOOKS_MAX = 25, 8


def hang(world: World) -> None:
    """The conversation's TaskManager stops past its heartbeat, and wakes up."""
    process = world.process(flink.job_hosts(world.settings)["conversation"][0])
    processes.send(process, signal.SIGSTOP)
    time.sleep(PAUSE_S)
    processes.send(process, signal.SIGCONT)


def die(world: World) -> None:
    """The JobManager is killed, and started again by its supervisor."""
    before = world.process("jobmanager")
    world.kill("jobmanager")
    world.wait_again("jobmanager", before)


def settled(world: World) -> set[chaos.Place]:
    """The inputs that have no valid entry, once for a while there have been no fewer."""
    left = chaos.undecided(world.settings)
    for _ in range(LOOKS_MAX):
        time.sleep(PAUSE_BETWEEN_S)
        before, left = left, chaos.undecided(world.settings)
        if left >= before:
            return left
    raise AssertionError(f"inputs are still being decided; {len(left)} are left")


@pytest.mark.parametrize("fault", [hang, die])
def test_fault_forks_the_journal_without_transactions(empty: World, fault: Callable[[World], None]) -> None:
    """What was decided since the last checkpoint stands in the journal already when the job goes back to that, and is
    decided again, otherwise: void. With transactions the same faults leave no void entry. A broker that is killed makes
    none either way: sources and sinks ask until it is back, and the job does not go back to anything."""
    world = empty
    folder = cut(world.settings, "at-once", AT_ONCE)
    for kind in flink.JOBS:
        assert flink_run(world.settings, folder, "", kind).returncode == 0
    world.wait_running()
    with Traffic(world, 0.01) as traffic:
        wait_until("a good start", lambda: len(traffic.sent) > 200)
        fault(world)
        wait_until("what was decided is decided again", lambda: bool(chaos.valid(world.settings)[2].voids))
    voids = chaos.valid(world.settings)[2].voids
    print(f"{len(voids)} void of {len(traffic.sent)} events and their results; the first: {voids[0].reason}")
    assert any("fork" in void.reason for void in voids)


def test_outage_beyond_the_transaction_timeout_loses_decisions_where_nothing_watches(empty: World) -> None:
    """The job goes on from a state that the journal lacks, runs, and fails nowhere: inputs stay without a valid entry,
    for as long as nobody makes the state anew."""
    world, undecided, outages = empty, set[chaos.Place](), 0
    chaos.start(world)
    while not undecided and outages < OUTAGES_MAX:
        outages += 1
        world.wait_running()
        with Traffic(world, 0.01) as traffic:
            wait_until("a good start", lambda sent=traffic.sent: len(sent) > 200)
            left_open = chaos.stop_after_checkpoint(world)
            chaos.outlast_the_timeout(world)
            world.wait_running()
        world.wait_replied([world.go("look pay")])
        undecided = settled(world)
        print(f"outage {outages}: {left_open} transactions open, {len(undecided)} inputs have no valid entry")
    assert undecided, f"no commit was lost in {outages} outages"
    world.wait_running()
    assert settled(world) >= undecided
