# SPDX-License-Identifier: Apache-2.0
"""Inputs that were passed over: the sign of a lost commit before the thread says anything more.

A job reads a partition in its order, and a checkpoint commits all that was decided before it. So an input without an
entry, in a partition of which a later one has its entry, was decided and the decision is gone. A gap in the thread's
chain tells the same, but only with the thread's next entry, which may never come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wire.frames import thread_in

TOPICS = ("agent-events", "human-feedback", "tool-results", "agent-signals")
# Before that a suspicion is not worth reading for: two subtasks commit apart, and a reader may be behind.
PASSED_S = 10.0

Place = tuple[str, int, int]


@dataclass(frozen=True)
class Given:
    """An input without an entry: whose it is, when the log took it (ms), when it was read here (monotonic s)."""

    thread: str
    timestamp_ms: int
    read_s: float


@dataclass
class Undecided:
    """The inputs that have no entry yet. `first`: the first offset that is left of each topic and partition.

    Inputs and journal are read side by side, so an entry may come before what it was decided on."""

    first: Mapping[tuple[str, int], int]
    waiting: dict[tuple[str, int], dict[int, Given]] = field(default_factory=dict)
    early: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    reached: dict[tuple[str, int], int] = field(default_factory=dict)
    read: dict[tuple[str, int], int] = field(default_factory=dict)

    def given(self, topic: str, partition: int, offset: int, key: bytes | None, timestamp_ms: int, now: float) -> None:
        """An input was read."""
        thread, of = thread_in(key), (topic, partition)
        self.read[of] = offset
        if offset in (early := self.early.get(of, set())):
            early.remove(offset)
        elif thread:
            self.waiting.setdefault(of, {})[offset] = Given(thread, timestamp_ms, now)

    def decided(self, topic: str, partition: int, offset: int, counts: bool = True) -> None:
        """An entry that was decided on this input was read. `counts`: what lies before it must be decided, too."""
        of = topic, partition
        if counts:
            self.reached[of] = max(offset, self.reached.get(of, -1))
        self.waiting.get(of, {}).pop(offset, None)
        if offset > self.read.get(of, -1) and offset >= self.first.get(of, offset + 1):
            self.early.setdefault(of, set()).add(offset)

    def passed_over(self, now: float) -> dict[Place, Given]:
        """Those that look lost. To be confirmed: the transaction may still be open, or the journal read less far."""
        return {
            (*of, offset): given
            for of, waiting in self.waiting.items()
            for offset, given in waiting.items()
            if offset < self.reached.get(of, -1) and now - given.read_s >= PASSED_S
        }

    def settle(self, places: Iterable[Place]) -> None:
        """These are accounted for."""
        for topic, partition, offset in places:
            self.waiting.get((topic, partition), {}).pop(offset, None)
