# SPDX-License-Identifier: Apache-2.0
"""What must be true of logs and ledger after any history, kills included. Checked after every test of this folder.

The reader of committed records that these laws look through has followed the topics since the stack began, so a record
that was readable once and is gone, or has changed, breaks the last law."""

from __future__ import annotations

from collections import Counter

from ops.reading import whole_topic
from schemas.codec import Codec
from tests.stack.follower import Place, entry_of, reasons
from tests.stack.world import World, wait_until
from wire.frames import thread_in
from wire.registry import Registry

INPUTS = ("agent-events", "human-feedback", "tool-results", "agent-signals")
NO_THREAD = "the key names no thread"


def check(world: World) -> None:
    """Every law."""
    given = inputs(world)
    each_input_is_decided_once(world, set(given))
    each_thread_is_one_chain(world)
    each_run_ends_once(world)
    each_effect_happens_once(world, set(given.values()))
    what_was_readable_stays(world)


def inputs(world: World) -> dict[Place, str]:
    """Where every committed input lies, and the thread that it is for."""
    records = [(topic, record) for topic in INPUTS for record in whole_topic(world.settings, topic)]
    return {(topic, r.partition, r.offset): thread_in(r.key) for topic, r in records}


def each_input_is_decided_once(world: World, given: set[Place]) -> None:
    """Exactly once visible: one entry for each input, or one dead letter where the record names no thread."""
    log = world.log

    def missing() -> set[Place]:
        decided = {place for place in given if place in log.entries}
        return {
            p
            for p in given - decided
            if not any(NO_THREAD in reasons(one)["message"] for one in log.letters.get(p, []))
        }

    wait_until("an entry or dead letter for every input", lambda: not missing(), 60, missing)
    twice = {place: len(seen) for place, seen in log.entries.items() if len(seen) != 1}
    assert twice == {}
    assert {place for place in log.entries if place not in given and place[0] not in INPUTS} == set()


def each_thread_is_one_chain(world: World) -> None:
    """In the order of the log each entry continues its thread, carries its own hash, and none is void."""
    for thread, seens in list(world.log.threads.items()):
        head, length = "", 0
        for seen in list(seens):
            entry = seen.entry
            assert (thread, entry.seq, entry.prev) == (thread, length + 1, head)
            assert entry.hash == entry.computed_hash()
            head, length = entry.hash, length + 1


def each_run_ends_once(world: World) -> None:
    """No run begins twice or ends twice, and no run says its one reply twice."""
    effects = [effect for seen in list(world.log.journal) for effect in seen.effects]
    for kind in ("begin_run", "end_run"):
        assert [
            run for run, count in Counter(e["run_id"] for e in effects if e["do"] == kind).items() if count > 1
        ] == []
    assert [event for event, replies in list(world.log.replies.items()) if len(replies) > 1] == []


def each_effect_happens_once(world: World, threads: set[str]) -> None:
    """The ledger holds one effect for each key and each item, and only effects that a committed decision asked for, of
    these threads: other namespaces have it too."""
    paid = world.lines("paid")
    assert [key for key, count in Counter(line["key"] for line in paid).items() if count > 1] == []
    assert [item for item, count in Counter(line["item"] for line in paid).items() if count > 1] == []
    asked = {e["call_id"] for seen in list(world.log.journal) for e in seen.effects if e["do"] == "call"}
    here = {line["key"] for line in paid if line["thread"] in threads}
    assert here - asked == set()


def what_was_readable_stays(world: World) -> None:
    """A reader that begins now sees what the one saw that has followed all the time, in the same order."""
    followed = list(world.log.journal)
    codec = Codec(Registry(world.settings.registry_url))
    entries = [entry_of(record, codec) for record in whole_topic(world.settings, "agent-decisions")]
    now = {(e.thread, e.seq): e.hash for e in entries}
    assert {(s.entry.thread, s.entry.seq): s.entry.hash for s in followed}.items() <= now.items()
