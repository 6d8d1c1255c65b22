# SPDX-License-Identifier: Apache-2.0
"""Bad input is data: a dead letter with its bytes, headers and reason; the jobs go on with the good ones around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer

from schemas.topics import kafka_name
from tests.stack.bad import BATCHES, Bad, good_around
from tests.stack.follower import Place, original_headers, reasons
from tests.stack.world import Event, World, fresh, thread_of
from threadlog.calls import call_key
from threadlog.canonical import chain
from wire.frames import Record


def letters(world: World, bad: Bad, place: Place) -> list[Record]:
    """The dead letters about a place that say this; where both jobs read a topic, each has its own reason."""
    told = [(letter, reasons(letter)) for letter in world.log.letters.get(place, [])]
    return [letter for letter, said in told if said["exception"] == bad.code and bad.words in said["message"]]


def check_letters(world: World, sent: list[tuple[Bad, Event, Place]]) -> None:
    """Wait for each bad record's dead letter, and compare it with what was sent."""
    for bad, event, place in sent:
        found = world.log.wait(f"a dead letter for {bad.name}", lambda bad=bad, at=place: letters(world, bad, at))
        as_it_was = [(letter.key, letter.value, original_headers(letter)) for letter in found]
        assert (bad.name, *as_it_was) == (bad.name, (event.key, event.value, event.headers))


@pytest.mark.parametrize("batch", BATCHES)
def test_bad_input_is_a_dead_letter_as_it_was(world: World, batch: str) -> None:
    """Each bad record is one dead letter with its key, bytes, headers and reason; good ones around it are handled."""
    before, thread = world.attempts(), fresh("bad")
    good = [good_around(world, thread) for _ in range(len(BATCHES[batch]) + 1)]
    made = [(bad, bad.make(world, good_around(world, thread))) for bad in BATCHES[batch]]
    mixed = [event for pair in zip(good, [event for _, event in made], strict=False) for event in pair]
    places = world.produce([*mixed, good[-1]])
    check_letters(world, [(bad, event, place) for (bad, event), place in zip(made, places[1::2], strict=True)])
    world.wait_replied(good)
    assert world.attempts() == before, "no task was restarted"


def test_bad_input_too_large_for_a_dead_letter_is_one_by_reference(world: World) -> None:
    """What a topic took, compressed or to its last byte, and no letter can hold is told by its place; nothing stops."""
    before, thread = world.attempts(), fresh("large")
    small = good_around(world, thread)
    large = {
        "zstd": replace(small, value=small.value + b"\0" * 8_000_000),
        "none": replace(small, value=small.value + b"\0" * (2 * 1024 * 1024 - 1200)),
        "gzip": replace(small, value=b"?", headers=[*small.headers, *((f"h{n}", b"\0" * 30_000) for n in range(100))]),
        "snappy": replace(small, value=b"?", headers=[*small.headers, *[("h", None)] * 65_530]),
        "lz4": replace(small, value=b"?", headers=[*small.headers, ("\ufffd" * 30_000, b"")]),
    }
    places = [produce_large(world, event, compression) for compression, event in large.items()]
    good = good_around(world, thread)
    world.produce([good])
    world.log.wait("a dead letter for each", lambda: all(place in world.log.letters for place in places))
    found = [letter for place in places for letter in world.log.letters[place]]
    assert [(letter.value, original_headers(letter)) for letter in found] == [(None, [])] * len(large)
    assert ["left out" in reasons(letter)["message"] for letter in found] == [True] * len(large)
    world.wait_replied([good])
    assert world.attempts() == before, "no task was restarted"


def produce_large(world: World, event: Event, compression: str) -> Place:
    """Send one record that our own producers would not send; where the log holds it."""
    found: list[Any] = []
    sender = Producer(
        {
            "bootstrap.servers": world.settings.bootstrap,
            "compression.type": compression,
            "message.max.bytes": 64_000_000,
            "partitioner": "murmur2_random",
        }
    )
    name = kafka_name(world.settings.namespace, "agent-events")
    sender.produce(name, event.value, event.key, headers=event.headers, on_delivery=lambda *said: found.append(said))
    assert sender.flush(60) == 0
    [(error, message)] = found
    assert error is None, (compression, error)
    return "agent-events", message.partition(), message.offset()


def open_call(world: World, gate: str, verb: str = "pay") -> tuple[Event, dict[str, Any]]:
    """A run that waits for a call which the service holds; its event and its ask."""
    event = world.go(f"{verb}:before.{gate}")
    world.wait_arrived(event.id, 1)
    seens = world.log.wait("the entry", lambda: world.log.threads.get(thread_of(event)))
    return event, next(effect for seen in seens for effect in seen.effects if effect["do"] == "call")


def result_of(world: World, ask: dict[str, Any], key: str, **changed: Any) -> Event:
    """A record that claims to answer an ask."""
    names = ("thread", "run_id", "ordinal", "call_id", "tool", "args_digest", "quota_key", "asked_ms")
    data = {name: ask[name] for name in names} | {
        "status": "done", "value": '"forged"', "error_type": "", "error_message": "", "finished_ms": 1, "attempts": [],
    }  # fmt: skip
    made = world.event(key, "threadlog.ToolResult", data | changed, "tool-results")
    return replace(made, headers=[*made.headers, ("quota-key", ask["quota_key"].encode())])


def test_bad_results_answer_no_call(world: World) -> None:
    """Forged, foreign and late results are dead letters; only the true one, which came between, ended the call."""
    before, gate = world.attempts(), fresh("forged")
    event, ask = open_call(world, gate)
    thread, other = thread_of(event), fresh("other")
    changes = [
        {"args_digest": "0" * 32},
        {"run_id": "0" * 32},
        {"ordinal": "7"},
        {"tool": "look"},
        {"call_id": "0" * 40},
    ]
    changes += [{"thread": other}, {"status": "fine"}, {"value": "{"}]
    forged = [result_of(world, ask, thread, **changed) for changed in changes]
    foreign = [result_of(world, ask, other), result_of(world, ask, other, thread=other)]
    places = world.produce([*forged, *foreign])
    bads = [Bad(str(changed), lambda _, good: good, "forged") for changed in [*changes, {"key": 1}, {"key": 2}]]
    check_letters(world, list(zip(bads, [*forged, *foreign], places, strict=True)))
    assert not world.replied(event), "the call is open"
    world.open(gate)
    [told] = world.wait_replied([event])
    assert told.startswith(f"paid before.{gate}")
    late = result_of(world, ask, thread)
    [place] = world.produce([late])
    check_letters(world, [(Bad("late", lambda _, good: good, "late", "closed"), late, place)])
    assert world.attempts() == before, "no task was restarted"


def ask_of(
    world: World, ask: dict[str, Any], quota_key: str | None, topic: str = "tool-reads", **changed: Any
) -> Event:
    """A record that claims to be an ask of the conversation."""
    data = {**ask, **changed}
    made = world.event(data["thread"], "threadlog.ToolCall", data, topic, id=fresh("ask"))
    return replace(
        made, headers=[*made.headers, *([("quota-key", quota_key.encode())] if quota_key is not None else [])]
    )


def test_bad_asks_are_never_fired(world: World) -> None:
    """An ask that is forged, altered, unreadable or in a foreign place is a dead letter; the service hears nothing. One
    that continues the outbox is nothing at all: effects are asked for by the journal."""
    before, gate = world.attempts(), fresh("asks")
    (event, look), (effect, pay) = open_call(world, gate, "look"), open_call(world, gate)
    good = ask_of(world, look, "look")
    made = [
        (Bad("no quota", lambda _, e: e, "illegal_key"), ask_of(world, look, None)),
        (Bad("empty quota", lambda _, e: e, "illegal_key"), ask_of(world, look, "")),
        (Bad("foreign quota", lambda _, e: e, "misplaced"), ask_of(world, look, "pay")),
        (Bad("other digest", lambda _, e: e, "forged"), ask_of(world, look, "look", args_digest="0" * 32)),
        (Bad("other arguments", lambda _, e: e, "forged"), ask_of(world, look, "look", args='{"item":"now/other"}')),
        (Bad("other effect", lambda _, e: e, "forged"), ask_of(world, pay, "pay", effect="read")),
        (Bad("other thread", lambda _, e: e, "forged"), ask_of(world, look, "look", thread=fresh("other"))),
        (Bad("other subject", lambda _, e: e, "ce_subject"), with_subject(ask_of(world, look, "look"), "somebody")),
        (Bad("uncommitted", lambda _, e: e, "misplaced", "effect"), ask_of(world, pay, "pay")),
        (Bad("truncated", lambda _, e: e, "truncated"), replace(good, value=(good.value or b"")[:-1])),
        (Bad("an event", lambda _, e: e, "misplaced"), replace(good, value=event.value)),
    ]
    key = call_key(thread_of(effect), pay["run_id"], "7", "pay", pay["args_digest"])
    link = {"outbox_seq": 2, "outbox_prev": pay["outbox_hash"], "outbox_hash": chain(pay["outbox_hash"], key)}
    world.produce([ask_of(world, pay, "pay", "tool-invocations", ordinal="7", call_id=key, **link)])
    places = world.produce([one for _, one in made])
    check_letters(world, [(bad, one, place) for (bad, one), place in zip(made, places, strict=True)])
    world.open(gate)
    world.wait_replied([event, effect])
    assert [len(world.lines("arrived", one.id)) for one in (event, effect)] == [1, 1]
    assert world.lines("arrived", "now/other") == [] and key not in {line["key"] for line in world.lines("arrived")}
    assert world.attempts() == before, "no task was restarted"


def with_subject(event: Event, subject: str) -> Event:
    """The same record for somebody else, as its header says."""
    kept = [(name, value) for name, value in event.headers if name != "ce_subject"]
    return replace(event, headers=[*kept, ("ce_subject", subject.encode())])
