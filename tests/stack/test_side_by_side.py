# SPDX-License-Identifier: Apache-2.0
"""A second stack beside the first: another folder, namespace and ports."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ops.settings import Settings
from ops.stack import health, lifecycle, processes
from ops.stack.layout import Layout
from tests.stack.world import World

PORT_BASE = 22_100


@pytest.mark.chaos
def test_second_stack_comes_and_goes_beside_the_first(world: World, folder: Path) -> None:
    """Its parts work; without its supervisor `down` ends them all the same, and nothing of it is left."""
    settings = Settings(state_dir=folder / "second", namespace="second", port_base=PORT_BASE, taskmanagers=1)
    layout = Layout(settings.state_dir)
    try:
        lifecycle.up(settings, print, with_jobs=False)
        assert [health.checks(settings)[name](settings) for name in ("kafka", "registry", "jobmanager")] == [None] * 3
        supervisor = processes.supervisor(layout)
        assert supervisor is not None
        processes.send(supervisor, signal.SIGKILL)
        assert processes.wait_gone([supervisor], 10) == []
    finally:
        before = processes.living(layout)
        lifecycle.down(settings, print, purge=True)
    assert before and [part.name for part in before if part.alive()] == []
    assert not settings.state_dir.exists()
    world.wait_replied([world.go("look")])
