# SPDX-License-Identifier: Apache-2.0
"""What the jobs wrote through Kafka, a crash in between, is decided again to the bit: the journal, a file, a fork."""

from __future__ import annotations

from pathlib import Path

from ops.replay.pool import replay
from ops.replay.work import Job, Told
from tests.stack.world import World, fresh, thread_of
from threadlog.replay import Divergence

APP = ("--app", "it_app:app")
PLANS = ("look pay both nap:0.1 wait queue", "pay:cut look", "nap:0.2 both", "wait pay", "unknown")


def test_replay_of_what_a_crash_interrupted_is_equal_to_the_bit(world: World, tmp_path: Path) -> None:
    """Reads, effects, doubts, timers, messages that waited; nothing more arrives at the service."""
    gate = fresh("replay")
    world.wait_running()
    before = world.attempts()
    events = [world.go(plan) for plan in PLANS for _ in range(4)]
    events += [world.go("look", thread_of(event)) for event in events[:8]]
    held = [world.go(f"pay:after.{gate} look") for _ in range(4)]
    world.wait_arrived(gate, 4)
    world.kill_host("conversation")
    world.wait_restarted("conversation", before)
    world.open(gate)
    for event in events:
        world.more(event, "go on")
    world.wait_replied([*events, *held])
    threads = sorted({thread_of(event) for event in [*events, *held]})
    arrived = len(world.lines("arrived"))

    file = str(tmp_path / "histories.jsonl")
    [made] = world.cli("histories", "export", *threads, "-o", file)
    decided = sum(len(world.log.threads[thread]) for thread in threads)
    assert (made["threads"], made["entries"]) == (len(threads), decided)
    for given in (("--workers", "2"), ("--cold",)):
        [told] = world.cli("replay", "--file", file, *APP, *given)
        assert told["standings"] == {"equal": decided}
    [told] = world.cli("replay", threads[0], *APP)
    assert told["standings"] == {"equal": len(world.log.threads[threads[0]])}

    told_of: list[Told] = []
    tally = replay(Job(APP[1], world.settings), 2, told_of.append)
    assert tally.decisions == len(world.log.journal)
    assert {one.thread for one in told_of if isinstance(one, Divergence)} & set(threads) == set()

    fork, length = str(tmp_path / "fork.jsonl"), len(world.log.threads[threads[0]])
    [told] = world.cli("fork", threads[0], "--at", str(length), "--as", "a-fork", "-o", fork, *APP)
    assert (told["entries"], told["waits_for"]) == (length, [])
    [told] = world.cli("replay", "--file", fork, *APP)
    assert told["standings"] == {"equal": length}
    assert len(world.lines("arrived")) == arrived
