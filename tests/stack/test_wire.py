# SPDX-License-Identifier: Apache-2.0
"""The records as they lie in the topics: one trace from an event to its reply, keys, and the outbox chain."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from ops.reading import whole_topic
from schemas.cloudevents import Envelope, child_traceparent, read_headers
from schemas.codec import Codec
from tests.stack.world import Event, World, fresh, thread_of
from threadlog.canonical import chain
from wire.frames import Record
from wire.registry import Registry


@dataclass(frozen=True)
class Read:
    """A record with what it says."""

    record: Record
    envelope: Envelope
    data: dict[str, Any]


def topic(world: World, name: str, thread: str = "") -> list[Read]:
    """The records of a topic, those of one thread or all."""
    codec = Codec(Registry(world.settings.registry_url))
    wanted = [r for r in whole_topic(world.settings, name) if not thread or r.key == thread.encode()]
    return [Read(record, read_headers(record.headers), codec.decode(record.value)[2]) for record in wanted]


def ours(world: World, event: Event, name: str) -> list[Read]:
    """The records of a topic that belong to the thread of an event."""
    return topic(world, name, thread_of(event))


def test_trace_runs_from_event_over_decisions_calls_and_results_to_the_reply(world: World) -> None:
    """One trace id everywhere; each span is derived from the one it is a child of, and no two are the same."""
    world.wait_replied([event := world.go("look pay")])
    came = read_headers(event.headers).traceparent
    decisions, [reply] = ours(world, event, "agent-decisions"), ours(world, event, "agent-replies")
    calls = ours(world, event, "tool-reads") + ours(world, event, "tool-invocations")
    results = {read.data["call_id"]: read for read in ours(world, event, "tool-results")}
    assert [call.data["tool"] for call in calls] == ["look", "pay"]

    run = child_traceparent(came, reply.data["run_id"])
    answered = {call.data["call_id"]: results[call.data["call_id"]].envelope.traceparent for call in calls}
    for call in calls:
        id, span = call.data["call_id"], call.envelope.traceparent
        assert span == child_traceparent(run, id)
        assert answered[id] == child_traceparent(span, "result", "1")
    assert reply.envelope.traceparent == child_traceparent(run, reply.data["reply_id"])
    causes = [came, *(answered[call.data["call_id"]] for call in calls)]
    assert [one.data["input"]["traceparent"] for one in decisions] == causes
    assert [one.envelope.traceparent for one in decisions] == [
        child_traceparent(cause, one.data["hash"]) for cause, one in zip(causes, decisions, strict=True)
    ]

    spans = [came, *(one.envelope.traceparent for one in [*decisions, *calls, *results.values(), reply])]
    assert {span[:36] for span in spans} == {came[:36]}
    assert len({span[36:52] for span in spans}) == len(spans) == 9


def test_outbox_record_carries_its_key_quoted(world: World) -> None:
    """Idempotency-Key is a structured-field string; the key in the value is the same, and the service heard it."""
    world.wait_replied([event := world.go("pay")])
    [call] = ours(world, event, "tool-invocations")
    headers = dict(call.record.headers)
    assert headers["idempotency-key"] == f'"{call.data["call_id"]}"'.encode()
    assert headers["quota-key"] == b"pay"
    assert {line["key"] for line in world.lines("paid", event.id)} == {call.data["call_id"]}


def test_outbox_chain_is_whole_in_every_thread(world: World) -> None:
    """Numbers from 1, each record continuing the one before; an ask that is repeated is the same link again.

    The head is the one that the thread's journal ends with."""
    threads = [fresh("chain") for _ in range(3)]
    world.wait_replied([world.go("pay both look queue", thread) for thread in threads * 2])
    heads: dict[str, list[str]] = defaultdict(lambda: [""])
    for read in topic(world, "tool-invocations"):
        call, links = read.data, heads[read.data["thread"]]
        number, previous, current = call["outbox_seq"], call["outbox_prev"], call["outbox_hash"]
        if number == len(links):
            assert (previous, current) == (links[-1], chain(links[-1], call["call_id"]))
            links.append(current)
        assert (number, current) == (links.index(current), chain(previous, call["call_id"]))
    assert [len(heads[thread]) - 1 for thread in threads] == [8, 8, 8]
    for thread in threads:
        assert heads[thread][-1] == topic(world, "agent-decisions", thread)[-1].data["outbox"]
