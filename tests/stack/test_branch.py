# SPDX-License-Identifier: Apache-2.0
"""A wanted rewind: another namespace with the same history, which goes on in another way and has no effect."""

from __future__ import annotations

import dataclasses

import pytest

from ops.reading import Journal, codec_of
from schemas.topics import kafka_name
from tests.stack.world import World, fresh, wait_until
from wire.kafka import bounds, producer, read_topic

NEW = "rewound"


@pytest.mark.chaos
def test_branch_goes_on_with_the_history_and_without_effects(world: World) -> None:
    """A thread's next event is decided behind the last one that the branch has of it; a read is performed, a call with
    an effect is rejected, and nobody is paid. The original goes on as if nothing had been."""
    thread, source = fresh("branched"), kafka_name(world.settings.namespace, "agent-decisions")
    world.wait_replied([world.go("look pay", thread)])
    until = bounds(world.settings.bootstrap, source)
    shared = len(world.log.threads[thread])
    world.wait_replied([world.go("look", thread)])
    offsets = ",".join(f"{partition}:{end}" for partition, (_, end) in until.items())
    [made] = world.cli("branch", NEW, "--until", offsets)
    assert (made["branch"], made["branch_of"]) == (NEW, world.settings.namespace)
    world.cli("stop")
    settings = dataclasses.replace(world.settings, namespace=NEW)
    try:
        world.cli("--namespace", NEW, "start")
        event = world.event(thread, "it.Go", {"plan": f"look:{NEW} pay:{NEW}"})
        sender = producer(settings.bootstrap)
        sender.produce(kafka_name(NEW, "agent-events"), event.value, event.key, headers=event.headers)
        assert sender.flush(30) == 0
        codec, replies = codec_of(settings), kafka_name(NEW, "agent-replies")

        def told() -> list[str]:
            return [codec.decode(record.value)[2]["text"] for record in read_topic(settings.bootstrap, replies)]

        wait_until("a reply in the branch", lambda: bool(told()))
        [text] = told()
        assert (text.startswith("saw "), text.endswith("; CallRejected")) == (True, True), text
    finally:
        world.cli("--namespace", NEW, "stop")
        world.cli("start")
    assert (len(world.lines("arrived", f"{NEW}/")), world.lines("paid", f"{NEW}/")) == (1, [])
    journal = Journal(settings, thread)
    entries = list(journal)
    assert journal.voids == []
    assert [entry.hash for entry in entries[:shared]] == [
        seen.entry.hash for seen in world.log.threads[thread][:shared]
    ]
    assert (entries[shared].input.id, entries[shared].seq) == (event.id, shared + 1)
    world.wait_replied([world.go("look pay", thread)])
