# SPDX-License-Identifier: Apache-2.0
"""The parts beside the TaskManagers, killed one after the other: the jobs go on by themselves."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ops.stack import flink, processes
from ops.stack.endings import dirty
from ops.stack.layout import Layout
from schemas.codec import Schema
from tests.stack.bad import by_id
from tests.stack.follower import PATIENCE_S
from tests.stack.world import TYPES, Event, Traffic, World, fresh
from wire.registry import Registry


@pytest.mark.parametrize(
    "part",
    [pytest.param("jobmanager", marks=pytest.mark.chaos), pytest.param("kafka", marks=pytest.mark.chaos), "zookeeper"],
)
def test_outage_is_survived_without_help(world: World, part: str, record_property: pytest.RecordProperty) -> None:
    """The same jobs run again once the part is back; with calls in flight, nothing is lost or happens twice."""
    gate = fresh("outage")
    world.wait_running()
    jobs = {kind: job.id for kind, job in flink.live_jobs(world.settings).items()}
    with Traffic(world) as traffic:
        held = [world.go(f"look pay:{when}.{gate}") for when in ("before", "after") for _ in range(4)]
        world.wait_arrived(gate, 8)
        before, killed = world.process(part), time.monotonic()
        world.kill(part)
        world.wait_again(part, before)
        world.wait_running()
        world.wait_replied([world.go("look pay")])
    world.open(gate)
    world.wait_replied([*held, *traffic.sent])
    world.wait_spawned(traffic.sent)
    assert {kind: job.id for kind, job in flink.live_jobs(world.settings).items()} == jobs
    world.report_silence(part, killed, record_property)


@contextmanager
def killed_behind_an_end(world: World) -> Iterator[None]:
    """Meanwhile the JobManager is killed as soon as it has written down that a job has ended."""
    layout, before, over = Layout(world.settings.state_dir), world.process("jobmanager"), threading.Event()

    def kill() -> None:
        while not over.wait(0.001):
            if dirty(layout.ha):
                processes.send(before, signal.SIGKILL)
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert processes.wait_gone([before], 10) == [], "no job ended that could be seen to"
    world.wait_again("jobmanager", before)


@pytest.mark.chaos
def test_jobmanager_that_dies_behind_the_end_of_a_job_comes_back(world: World) -> None:
    """The ended job is not recovered, which would decide again; the other runs on; a start goes on from the stop."""
    world.wait_running()
    jobs = {kind: job.id for kind, job in flink.live_jobs(world.settings).items()}
    with Traffic(world) as traffic:
        # Who asked for the stop may have got no answer.
        with killed_behind_an_end(world), contextlib.suppress(AssertionError):
            world.cli("stop", "--job", "conversation")
        assert flink.wait_running(world.settings, ["tools"], PATIENCE_S) == []
        assert {kind: job.id for kind, job in flink.live_jobs(world.settings).items()} == {"tools": jobs["tools"]}
        world.cli("start")
    world.wait_running()
    world.wait_replied(traffic.sent)
    world.wait_spawned(traffic.sent)
    layout = Layout(world.settings.state_dir)
    assert dirty(layout.ha) == []
    said = f"job {jobs['conversation']} had ended, and the JobManager that was to tidy up behind it died"
    assert said in (layout.logs / "jobmanager.log").read_text(), "it was killed too late to leave anything"


def newer_go(world: World) -> Event:
    """An event whose schema no TaskManager has asked for yet: a newer version of one that the app handles."""
    schema = {
        **TYPES["it.Go"],
        "fields": [*TYPES["it.Go"]["fields"], {"name": "note", "type": "string", "default": ""}],
    }
    id = Registry(world.settings.registry_url).register("it.Go", Schema("AVRO", json.dumps(schema)))
    good = world.event(fresh("t"), "it.Go", {"plan": "look"})
    value = b"\0" + id.to_bytes(4, "big") + (good.value or b"")[5:] + b"\0"
    return Event(good.key, value, good.headers, id=good.id)


def test_outage_of_the_registry_makes_no_dead_letters(world: World, record_property: pytest.RecordProperty) -> None:
    """Known schemas are cached; a new one is waited for, and only the registry's own no makes a dead letter."""
    world.wait_running()
    newer, unknown = newer_go(world), world.event(fresh("t"), "it.Go", {"plan": ""})
    unknown = Event(unknown.key, by_id(888_888)(world, unknown.value or b""), unknown.headers)
    before, killed = world.process("registry"), time.monotonic()
    world.kill("registry")
    known = world.go("look pay")
    assert world.wait_replied([known])[0].startswith("saw")
    places = world.produce([newer, unknown])
    world.wait_again("registry", before)
    world.wait_running()
    world.wait_replied([newer])
    world.log.wait("the dead letter", lambda: world.log.letters.get(places[1]))
    assert places[0] not in world.log.letters
    world.report_silence("registry", killed, record_property)
