# SPDX-License-Identifier: Apache-2.0
"""Calls that kill their process: the queue closes them although each crash sets its state back."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.threadlog.desk import app_of
from tests.udfs.test_queueing import BEGAN_MS, HOLD_MS, NOW_MS, Slots, ask, handler, nothing, queue, restarted
from threadlog.queueing import RESTARTS_MAX, SUSPECT_MS, Action, Queue


@dataclass
class Crashes:
    """Processes one after the other, each over the state and the positions of the last checkpoint of those before.

    The call `killer` ends its process `fuse_ms` after it was fired. Every other call answers after `slow_ms`."""

    killer: int
    fuse_ms: int
    slow_ms: int
    log: list[tuple[int, str, Any]] = field(default_factory=list)
    now: int = BEGAN_MS
    fired: int = 0
    ends: dict[str, str] = field(default_factory=dict)
    checkpoint: tuple[dict[str, Any], dict[str, Any], int] = ({}, {}, 0)

    def ask(self, n: int) -> None:
        self.log.append((self.now, "ask", ask(n, asked_ms=self.now, clock_ms=self.now)))

    def process(self, life_ms: int) -> None:
        """Run one to its death, or for so long; then eight seconds pass."""
        waiting, pending, self.position = copy.deepcopy(self.checkpoint)
        self.waiting, self.pending = Slots(waiting), Slots(pending)
        self.queue = Queue(self.waiting, self.pending, app_of(handler), self.now, HOLD_MS, nothing)
        self.live, self.dies, began = set[str](), self.now + life_ms, self.now
        while self.now < self.dies:
            if (self.now - began) % 1_000 == 0:
                self.carry_out(self.queue.recover(self.live, self.now))
            self.read()
            if (self.now - began) % 200 == 190:
                self.checkpoint = copy.deepcopy((dict(self.waiting), dict(self.pending), self.position))
            self.now += 10
        self.now += 8_000

    def read(self) -> None:
        self.log.sort(key=lambda record: record[0])
        while self.position < len(self.log) and self.log[self.position][0] <= self.now < self.dies:
            _, kind, said = self.log[self.position]
            self.position += 1
            self.carry_out(self.queue.accept(said, self.now) if kind == "ask" else self.queue.finished(said, self.now))

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            call_id = action.ask["call_id"]
            self.live.add(call_id)
            if action.do == "answer":
                self.ends.setdefault(action.ask["ordinal"], action.status)
                self.log.append((self.now + 1, "result", call_id))
            elif action.ask["ordinal"] != str(self.killer):
                self.ends.setdefault(action.ask["ordinal"], "done")
                self.log.append((self.now + self.slow_ms, "result", call_id))
            else:
                self.fired += 1
                self.dies = min(self.dies, self.now + self.fuse_ms)


@pytest.mark.parametrize("slow_ms", [10, 7_000])
@pytest.mark.parametrize("fuse_ms", [0, 500, 5_000])
@pytest.mark.parametrize("killer", [0, 1, 2])
def test_queue_closes_a_call_that_kills_its_process(killer: int, fuse_ms: int, slow_ms: int) -> None:
    """In doubt, although a crash sets the state back: alone, behind other calls, at once, or after some checkpoints."""
    crashes = Crashes(killer, fuse_ms, slow_ms)
    for n in range(4):
        crashes.ask(n)
    for _ in range(30):
        crashes.process(12_000)
    assert crashes.ends[str(killer)] == "in_doubt" and len(crashes.ends) == 4
    assert crashes.fired <= SUSPECT_MS // 8_000 + RESTARTS_MAX + 2
    assert not crashes.queue.busy()


def test_queue_is_not_slowed_by_restarts_of_another_cause() -> None:
    """A queue of old asks goes on at once after an ordinary restart; only a long silence makes the first ones wait."""
    pays = queue()
    for n in range(3):
        pays.accept(ask(n))
    ten_minutes = 600_000
    pays.recover({ask(0)["call_id"]}, NOW_MS + ten_minutes)
    later = restarted(pays, ten_minutes + 20_000)
    now = later._began_ms
    assert [a.do for a in later.recover(set(), now)] == ["fire"]
    assert [a.do for a in later.finished(ask(0)["call_id"], now)] == ["fire"]
    much_later = restarted(later, ten_minutes)
    now = much_later._began_ms
    assert much_later.recover(set(), now) == []
    assert [a.do for a in much_later.recover(set(), now + HOLD_MS)] == ["fire"]
    assert [a.do for a in much_later.finished(ask(1)["call_id"], now + SUSPECT_MS)] == ["fire"]
