# SPDX-License-Identifier: Apache-2.0
"""A producer that sends an event twice."""

from __future__ import annotations

from tests.stack.world import World, fresh


def test_duplicate_is_journaled_as_one_and_does_nothing(world: World) -> None:
    """The same source and id again, in whatever bytes, is an entry that says so; the run and its effect happen once."""
    thread, id = fresh("twice"), fresh("e")
    first = world.event(thread, "it.Go", {"plan": "pay"}, id=id)
    again = world.event(thread, "it.Go", {"plan": "pay pay"}, id=id)
    other = world.event(thread, "it.Go", {"plan": "pay"})
    places = world.produce([first, first, again, other, first])
    world.wait_replied([first, other])
    world.log.wait("five entries", lambda: all(place in world.log.entries for place in places))
    verdicts = [world.log.entries[place][0].entry.verdict for place in places]
    assert verdicts == ["began", "duplicate", "duplicate", "queued", "duplicate"]
    assert len(world.lines("paid", id)) == 1


def test_duplicate_is_told_by_source_and_id_of_its_thread(world: World) -> None:
    """The same id on another thread is another event."""
    id = fresh("e")
    events = [world.event(fresh("twin"), "it.Go", {"plan": ""}, id=id) for _ in range(2)]
    places = world.produce(events)
    world.log.wait("two entries", lambda: all(place in world.log.entries for place in places))
    assert [world.log.entries[place][0].entry.verdict for place in places] == ["began", "began"]
