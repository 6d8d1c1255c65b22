# SPDX-License-Identifier: Apache-2.0
"""New code of the app on a running stack, with runs open that older code began."""

from __future__ import annotations

from tests.stack.world import Event, World, thread_of
from wire.app_code import digest

MANAGERS = ("taskmanager-1", "taskmanager-2", "taskmanager-3")


def waiting(world: World, plan: str) -> Event:
    """A run that has had the answer of its first call and waits for an event."""
    event = world.go(f"{plan} wait")
    thread = thread_of(event)

    def answered() -> bool:
        return any(seen.entry.kind == "result" for seen in world.log.threads.get(thread, []))

    world.log.wait("the first answer", answered)
    return event


def parked(world: World) -> dict[str, str]:
    """The type of what parked each thread, as the command line lists it."""
    return {run["thread"]: run["type"] for run in world.cli("parked", "list")}


def test_deploy_goes_on_with_open_runs_and_parks_those_that_no_longer_fit(world: World) -> None:
    """Fresh TaskManagers run the new code; a run whose past it repeats ends on it, one whose past it denies is parked,
    listed, and retried on code that fits, or abandoned; its thread then handles what comes next."""
    fits, denied, given_up = waiting(world, "look"), waiting(world, "drift"), waiting(world, "drift")
    before = {name: world.process(name) for name in MANAGERS}
    world.change_app("heard", "understood")
    world.change_app('SHELF = "now"', 'SHELF = "elsewhere"')
    world.cli("submit", "--app", world.settings.app)
    assert [name for name in MANAGERS if world.process(name) == before[name]] == []

    for event in (fits, denied, given_up):
        world.more(event, "go on")
    assert world.wait_replied([fits])[0].endswith("understood go on")
    assert world.log.threads[thread_of(fits)][-1].entry.app_digest == digest(world.settings.app)
    wanted = {thread_of(event): "NondeterminismError" for event in (denied, given_up)}
    world.log.wait("both are parked", lambda: all(ends(world, event, "park_run") for event in (denied, given_up)))
    assert parked(world) == wanted
    assert not world.replied(denied)

    world.change_app('SHELF = "elsewhere"', 'SHELF = "now"')
    world.cli("submit", "--app", world.settings.app)
    world.cli("parked", "retry", thread_of(denied), "--reason", "mended")
    world.cli("parked", "abandon", thread_of(given_up))
    assert world.wait_replied([denied])[0].endswith("understood go on")
    world.log.wait("the end", lambda: ends(world, given_up, "end_run") == ["abandoned"])
    assert parked(world) == {}
    world.wait_replied([world.go("pay", thread=thread_of(given_up))])


def ends(world: World, event: Event, kind: str) -> list[str]:
    """The effects of a kind in the journal of the event's thread: their status."""
    seens = world.log.threads[thread_of(event)]
    return [effect.get("status", kind) for seen in seens for effect in seen.effects if effect["do"] == kind]
