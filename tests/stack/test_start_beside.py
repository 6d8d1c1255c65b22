# SPDX-License-Identifier: Apache-2.0
"""A conversation and a catch-up of it have the same sinks and the same lease: neither begins beside the other."""

from __future__ import annotations

import subprocess

import pytest

from ops.settings import Settings
from ops.stack import flink
from ops.stack.layout import Layout
from ops.stack.starting import catch_up_arguments, journal_of
from ops.stack.submit import pack
from tests.stack.test_start import assert_refused, flink_run, mark, some_runs
from tests.stack.world import World, fresh, wait_until
from wire.kafka import bounds


def catch_up(settings: Settings, point: str) -> subprocess.CompletedProcess[str]:
    """Plain `flink run` of a catch-up over the whole journal."""
    folder, _ = pack(Layout(settings.state_dir), settings.app)
    more = catch_up_arguments(fresh("beside"), bounds(settings.bootstrap, journal_of(settings)))
    return flink_run(settings, folder, point, flink.CATCH_UP, more)


def follows(settings: Settings) -> bool:
    """Whether the tasks of a catch-up run; the source of what there was before ends."""
    job = flink.live_jobs(settings).get(flink.CATCH_UP)
    return job is not None and 0 < job.tasks["total"] == job.tasks["running"] + job.tasks["finished"]


def test_catch_up_is_refused_while_the_conversation_runs(world: World) -> None:
    """It would end the transactions of the one that runs; that one goes on undisturbed."""
    world.wait_running()
    before = world.attempts()
    assert_refused(catch_up(world.settings, ""), "renews its lease")
    some_runs(world)
    assert world.attempts() == before
    assert flink.CATCH_UP not in flink.live_jobs(world.settings)


@pytest.mark.chaos
def test_conversation_is_refused_while_a_catch_up_runs(world: World) -> None:
    """Even from where it was stopped, with nothing decided since; once the catch-up has ended it goes on from there."""
    world.cli("stop", "--job", "conversation")
    point = mark(world.settings).savepoint
    folder, _ = pack(Layout(world.settings.state_dir), world.settings.app)
    try:
        assert catch_up(world.settings, point).returncode == 0
        wait_until("the catch-up runs", lambda: follows(world.settings))
        assert_refused(flink_run(world.settings, folder, point), "renews its lease")
        assert "conversation" not in flink.live_jobs(world.settings)
    finally:
        if (job := flink.live_jobs(world.settings).get(flink.CATCH_UP)) is not None:
            flink.cancel(world.settings, job)
        world.cli("start", "--job", "conversation")
    some_runs(world)
