# SPDX-License-Identifier: Apache-2.0
"""Traffic is a function of its seed and has every awkward case in it."""

from __future__ import annotations

from examples.support_desk import traffic


def test_same_seed_same_events() -> None:
    assert traffic.events(7, 100) == traffic.events(7, 100)
    assert traffic.events(7, 100) != traffic.events(8, 100)


def test_every_awkward_case_is_there() -> None:
    found = traffic.events(1, 500)
    assert {event["bad"] for event in found} == {"", *traffic.BAD}
    assert any(event["copy"] for event in found)
    assert {event["type"] for event in found} == {traffic.MESSAGE, traffic.CONFIRMATION}
    assert len({event["thread"] for event in found if not event["bad"]}) == 500


def test_an_order_is_asked_back_by_one_event_only() -> None:
    asked = {(e["data"]["order_id"], e["id"]) for e in traffic.events(1, 500) if e["data"].get("intent") == "refund"}
    assert len(asked) == len({order for order, _ in asked})
