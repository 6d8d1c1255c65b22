# SPDX-License-Identifier: Apache-2.0
"""What must be true of logs and ledger after any history, kills included. Checked after every test of this folder.

The reader of committed records that these laws look through has followed the topics since the stack began, so a record
that was readable once and is gone, or has changed, breaks the last law."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

from ops.reading import whole_topic
from schemas.topics import kafka_name
from tests.stack.follower import INPUTS, Place, reasons
from tests.stack.world import World, wait_until
from wire.frames import thread_in
from wire.kafka import bounds

NO_THREAD = "the key names no thread"
# After so long an attempt of a tool of the app under test is over, and the next one comes. A little less than that.
ATTEMPT_S = 55
# What the service does to a request after which the same reactor has to ask again.
TURNED_AWAY = ("busy", "cut")


def check(world: World) -> None:
    """Every law."""
    decided = set(world.log.entries)  # seen before the inputs are, so that those must hold all of it
    given = inputs(world)
    each_decision_has_its_input(world, decided, set(given))
    each_input_is_decided_once(world, set(given))
    each_spawn_is_sent_once(world)
    each_thread_is_one_chain(world)
    each_run_ends_once(world)
    each_effect_happens_once(world, set(given.values()))
    no_call_is_repeated_without_cause(world, set(given.values()))
    what_was_readable_stays(world)


def inputs(world: World) -> dict[Place, str]:
    """Where every committed input lies, and the thread that it is for."""
    return {
        (topic, r.partition, r.offset): thread_in(r.key)
        for topic, growing in world.log.inputs.items()
        for r in growing.records()
    }


def each_decision_has_its_input(world: World, decided: set[Place], given: set[Place]) -> None:
    """Nothing is decided on what no input holds, but for what retention has deleted since."""
    settings = world.settings
    lows = {
        (topic, partition): low
        for topic in INPUTS
        for partition, (low, _) in bounds(settings.bootstrap, kafka_name(settings.namespace, topic)).items()
    }
    assert {place for place in decided - given if place[2] >= lows.get(place[:2], 0)} == set()


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
    twice = {place: len(seen) for place, seen in list(log.entries.items()) if len(seen) != 1}
    assert twice == {}


def each_spawn_is_sent_once(world: World) -> None:
    """Of each event that a decision has for another thread there is one record."""
    effects = [effect for seen in list(world.log.journal) for effect in seen.effects]
    wanted = Counter(effect["signal_id"] for effect in effects if effect["do"] == "signal")
    assert [signal for signal, count in wanted.items() if count > 1] == []

    def wrong() -> dict[str, int]:
        records = world.log.inputs["agent-signals"].records()
        sent = Counter((dict(record.headers).get("ce_id") or b"").decode("utf-8", "replace") for record in records)
        return {signal: sent[signal] for signal in wanted if sent[signal] != 1}

    wait_until("one record of every event that was spawned", lambda: not wrong(), 30, wrong)


def each_thread_is_one_chain(world: World) -> None:
    """In the order of the log each entry continues its thread, carries its own hash, and none is void."""
    for thread, seens in list(world.log.threads.items()):
        head, length = "", 0
        for seen in list(seens):
            entry = seen.entry
            assert (thread, entry.seq, entry.prev) == (thread, length + 1, head)
            assert seen.is_intact
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


def no_call_is_repeated_without_cause(world: World, threads: set[str]) -> None:
    """A reactor asks once for each effect, unless it was turned away or the attempt took all its time: what was asked
    twice without that would be paid twice by a service that knows no keys."""
    asked: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in world.lines("arrived"):
        how = line["item"].partition("/")[0].partition(".")[0]
        if line.get("life") and line["tool"] != "look" and line["thread"] in threads and how not in TURNED_AWAY:
            asked[line["key"], line["life"]].append(line["at_s"])
    soon = {
        key: times
        for (key, _), times in asked.items()
        if any(later - earlier < ATTEMPT_S for earlier, later in itertools.pairwise(times))
    }
    assert soon == {}


def what_was_readable_stays(world: World) -> None:
    """A reader that begins now sees what the one saw that has followed all the time, at the same places."""
    followed = {(s.record.partition, s.record.offset): s.record.value for s in list(world.log.journal)}
    now = {(r.partition, r.offset): r.value for r in whole_topic(world.settings, "agent-decisions")}
    assert [place for place, value in followed.items() if now.get(place) != value] == []
