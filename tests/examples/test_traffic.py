# SPDX-License-Identifier: Apache-2.0
"""Traffic is a function of its seed and has every awkward case in it, at the demo's own size, seed and rate."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from examples.support_desk import app, orders, payments, traffic
from ops.commands.demo import Plan

Event = dict[str, Any]


@pytest.fixture(scope="module")
def sent() -> list[Event]:
    """What the demo sends when nothing is asked otherwise."""
    return traffic.events(Plan.seed, Plan.conversations)


def refunds(sent: list[Event]) -> list[Event]:
    """The first sending of each readable request for money."""
    return [e for e in sent if e["data"].get("intent") == "refund" and not e["bad"] and not e["copy"]]


def test_traffic_of_a_seed_is_always_the_same() -> None:
    """Same seed, same events; another seed, others."""
    assert traffic.events(7, 100) == traffic.events(7, 100)
    assert traffic.events(7, 100) != traffic.events(8, 100)


def test_traffic_has_every_bad_record(sent: list[Event]) -> None:
    """Each way to spoil a record is there, beside both types of event in each of the conversations."""
    assert {event["bad"] for event in sent} == {"", *traffic.BAD}
    assert {event["type"] for event in sent} == {traffic.MESSAGE, traffic.CONFIRMATION}
    assert len({event["thread"] for event in sent if not event["bad"]}) == Plan.conversations


def test_traffic_spoils_a_record_as_it_says(sent: list[Event]) -> None:
    """A bad record differs from its good self in key, value or headers; no two in the same way."""
    ids = {traffic.MESSAGE: 1, traffic.CONFIRMATION: 2}
    good = next(event for event in sent if event["bad"] == "" and event["type"] == traffic.MESSAGE)
    spoilt = [traffic.encode({**good, "bad": bad}, ids) for bad in ("", *traffic.BAD)]
    assert len({repr(record) for record in spoilt}) == len(traffic.BAD) + 1


def test_traffic_has_several_messages_a_thread(sent: list[Event]) -> None:
    """Most conversations go on after the first message."""
    messages = Counter(e["thread"] for e in sent if e["type"] == traffic.MESSAGE and not e["bad"] and not e["copy"])
    assert {1, 2, 3} == set(messages.values())
    assert sum(count > 1 for count in messages.values()) > Plan.conversations / 2


def test_traffic_has_second_messages_while_a_run_waits(sent: list[Event]) -> None:
    """Many second messages come sooner than the payment service answers the first: their runs must queue."""
    first: dict[str, Event] = {}
    waiting = 0
    for event in (e for e in sent if e["type"] == traffic.MESSAGE and not e["copy"] and not e["bad"]):
        before = first.setdefault(event["thread"], event)
        since_s = (event["n"] - before["n"]) / Plan.rate
        waiting += 0 < since_s < orders.temper(Plan.seed, before["data"]["order_id"]).delay_s
    assert waiting > 50


def test_traffic_has_duplicates_at_once_and_late(sent: list[Event]) -> None:
    """Copies are equal to what they repeat, some right behind it and some long after."""
    first = {event["id"]: event for event in sent if not event["copy"]}
    copies = [event for event in sent if event["copy"]]
    assert all({**event, "n": 0, "copy": False} == {**first[event["id"]], "n": 0} for event in copies)
    behind = [event["n"] - first[event["id"]]["n"] for event in copies]
    assert sum(distance == 1 for distance in behind) > 10 and sum(distance > 20 for distance in behind) > 10


def test_traffic_has_large_refunds_confirmed_declined_and_left_unanswered(sent: list[Event]) -> None:
    """The desk asks before large refunds, and customers say yes, no, and nothing."""
    said = {e["data"]["order_id"]: e["data"]["approved"] for e in sent if e["type"] == traffic.CONFIRMATION}
    large = [e["data"]["order_id"] for e in refunds(sent) if e["data"]["amount"] >= app.LARGE]
    assert {said.get(order) for order in large} == {True, False, None}
    assert said.keys() <= set(large)


def test_traffic_asks_an_order_back_by_one_event_only(sent: list[Event]) -> None:
    """So a payment tells which event it was made for."""
    asked = {(event["data"]["order_id"], event["id"]) for event in refunds(sent)}
    assert len(asked) == len({order for order, _ in asked})


def test_traffic_meets_every_temper_of_the_payment_service(sent: list[Event]) -> None:
    """Slow refunds, failures, 429s and dropped connections each meet a good part of what is really asked."""
    met = Counter(orders.temper(Plan.seed, event["data"]["order_id"]).kind for event in refunds(sent))
    assert set(met) == set(orders.TEMPERS)
    assert min(met.values()) > 20
    assert max(orders.temper(Plan.seed, event["data"]["order_id"]).delay_s for event in refunds(sent)) > 1
    assert any(event["data"]["amount"] > orders.order(event["data"]["order_id"])["total"] for event in refunds(sent))


@pytest.mark.parametrize(("kind", "status"), [("busy", 429), ("fails", 500), ("drops", 0), ("prompt", 200)])
def test_traffic_provokes_what_a_temper_stands_for(sent: list[Event], tmp_path: Path, kind: str, status: int) -> None:
    """The first request for such an order of the traffic gets that answer (0: none), the second is paid."""
    asked = next(e["data"] for e in refunds(sent) if orders.temper(Plan.seed, e["data"]["order_id"]).kind == kind)
    desk = payments.Desk(payments.Ledger(tmp_path / "ledger.jsonl"), Plan.seed, dedup=True)
    body = json.dumps({"order_id": asked["order_id"], "amount": asked["amount"]}).encode()
    answers = [asyncio.run(desk.answer(desk.arrive("k", body)))[0] for _ in range(2)]
    assert answers == [status, 200]
