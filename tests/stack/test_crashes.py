# SPDX-License-Identifier: Apache-2.0
"""TaskManagers killed with calls in flight. What must be true afterwards is in `laws.py`, for every test here."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.stack.world import Traffic, World, fresh

CALLS = 8


@pytest.mark.parametrize("kind", ["conversation", pytest.param("tools", marks=pytest.mark.chaos)])
def test_crash_of_a_taskmanager_loses_nothing_and_pays_nothing_twice(
    world: World, kind: str, record_property: pytest.RecordProperty
) -> None:
    """With calls in flight before and after their effect, each event is answered once and each effect happens once."""
    gate = fresh("crash")
    world.wait_running()
    before = world.attempts()
    with Traffic(world) as traffic:
        held = [world.go(f"look pay:{when}.{gate}") for when in ("before", "after", "gone") for _ in range(CALLS)]
        world.wait_arrived(gate, 3 * CALLS)
        killed = time.monotonic()
        world.kill_host(kind)
        during = [world.go("look pay") for _ in range(CALLS)]
        world.wait_restarted(kind, before)
        world.wait_replied([world.go("pay")])
    world.report_silence(f"TaskManager of {kind}", killed, record_property)
    world.open(gate)
    told = world.wait_replied([*held, *during, *traffic.sent])
    assert world.wait_spawned(traffic.sent) > 0
    assert len(world.lines("paid", gate)) == 3 * CALLS
    # A callee that denies a cut-off attempt proves nothing: that is a doubt, and never a failure to be tried anew.
    assert sum("InDoubt" in words for words in told) == (CALLS if kind == "tools" else 0)
    arrived = Counter(line["key"] for line in world.lines("arrived", gate))
    assert (max(arrived.values()) > 1) == (kind == "tools"), "only the tools job's calls are repeated, and they are"
