# SPDX-License-Identifier: Apache-2.0
"""What an agent hears of calls whose attempts went wrong, without any crash of ours."""

from __future__ import annotations

from tests.stack.world import World, fresh


def test_call_of_unknown_end_is_in_doubt_and_not_failed(world: World) -> None:
    """The callee had its effect, the line was cut, and a second attempt is denied: nobody may pay again."""
    [told] = world.wait_replied([event := world.go("pay:cut")])
    assert told == "InDoubt"
    arrived = world.lines("arrived", event.id)
    assert len(arrived) == 2 and len({line["key"] for line in arrived}) == 1
    assert len(world.lines("paid", event.id)) == 1


def test_call_that_is_turned_away_is_tried_again_under_its_key(world: World) -> None:
    """A busy callee proves that nothing happened: the call waits, and happens once."""
    gate = fresh("busy")
    event = world.go(f"pay:busy.{gate} queue:busy.{gate}")
    world.wait_arrived(gate, 3)
    world.open(gate)
    assert world.wait_replied([event])[0].count("paid") == 2
    assert len({line["key"] for line in world.lines("arrived", event.id)}) == 2


def test_branches_of_a_gather_are_calls_of_their_own(world: World) -> None:
    """Two equal calls side by side have two keys."""
    [told] = world.wait_replied([event := world.go("both")])
    assert told.startswith("paid ") and " and " in told
    assert len({line["key"] for line in world.lines("paid", event.id)}) == 2
