# SPDX-License-Identifier: Apache-2.0
"""Decisions that are lost: inputs that were passed over (`inputs`), once nothing is open that may still bring their
entry or their dead letter, and the log up to there has neither.

A journal may be kept shorter than its inputs. Where a partition of it begins above 0, what is as old as the first
record that is left there may have had an entry before that, and is not called lost. In which partition a thread lies is
not asked: the youngest of these records counts for all.

Nor is an input called lost that retention has taken meanwhile. A job that had not read it passes over it, which `lag`
tells of, and no state made anew could decide it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.reading import name_of
from ops.settings import Settings
from ops.watching.inputs import TOPICS, Given, Place, Undecided
from schemas.codec import Codec
from threadlog.entry import Entry
from wire.decided import LETTERS, decided, place_of
from wire.frames import Record
from wire.journal import TOPIC as JOURNAL
from wire.kafka import first_offsets

Ends = Mapping[tuple[str, int], tuple[int, int]]


@dataclass
class Lost:
    """What is known of it. Times are monotonic seconds, given by the caller.

    `count`: how many decisions were found to be lost."""

    settings: Settings
    codec: Codec
    count: int = 0
    _inputs: Undecided = field(init=False)
    _healed: Mapping[int, int] = field(default_factory=dict)
    # When the first record that is left of each partition of the journal was written whose beginning is deleted. Until
    # it is read, or where none is left, this moment: no later decision can be deleted yet.
    _left_ms: dict[int, int] = field(default_factory=dict)
    _unread: set[int] = field(default_factory=set)
    _open_until: dict[Place, dict[tuple[str, int], int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {topic: name_of(self.settings, topic) for topic in TOPICS}
        firsts = {topic: first_offsets(self.settings.bootstrap, name) for topic, name in names.items()}
        self._inputs = Undecided({(topic, p): first for topic, of in firsts.items() for p, first in of.items()})
        lows, now_ms = first_offsets(self.settings.bootstrap, name_of(self.settings, JOURNAL)), int(time.time() * 1000)
        self._left_ms = {partition: now_ms for partition, low in lows.items() if low > 0}
        self._unread = set(self._left_ms)

    def given(self, topic: str, record: Record, now: float) -> None:
        """An input was read."""
        self._inputs.given(topic, record.partition, record.offset, record.key, record.timestamp_ms, now)

    def read(self, record: Record) -> None:
        """A record of the journal was read, valid or not."""
        if record.partition in self._unread:
            self._unread.remove(record.partition)
            self._left_ms[record.partition] = min(self._left_ms[record.partition], record.timestamp_ms)

    def decided(self, entry: Entry, record: Record) -> None:
        """A valid entry was read."""
        if (place := place_of(entry)) is not None:
            self._inputs.decided(*place, counts=record.offset >= self._healed.get(record.partition, 0))

    def healed(self, until: Mapping[int, int]) -> None:
        """The state was made anew from the journal up to there, and inputs are decided from their beginning again."""
        self._healed = dict(until)
        self._inputs.reached.clear()

    def look(self, now: float, ends: Ends) -> dict[Place, Given]:
        """The inputs whose decision is lost, each told once.

        What was open when the suspicion arose has ended since, and the log up to there has nothing of it. Raises
        KafkaException, RegistryUnavailable."""
        written = {name_of(self.settings, topic) for topic in (JOURNAL, LETTERS)}
        stable = {place: stable for place, (stable, _) in ends.items() if place[0] in written}
        end = {place: end for place, (_, end) in ends.items() if place[0] in written}
        since_ms = max(self._left_ms.values(), default=-1)
        passed_over = self._inputs.passed_over(now)
        suspects = {place: given for place, given in passed_over.items() if given.timestamp_ms > since_ms}
        if not self._unread:
            self._inputs.settle(passed_over.keys() - suspects.keys())
        self._open_until = {place: self._open_until.get(place, end) for place in suspects}
        certain = {
            place: given
            for place, given in suspects.items()
            if all(stable.get(p, -1) >= until for p, until in self._open_until[place].items())
        }
        left = self._left(certain)
        found = self._decided(left) if left else set[Place]()
        self._inputs.settle(certain)
        lost = {place: given for place, given in sorted(left.items()) if place not in found}
        self.count += len(lost)
        return lost

    def _left(self, suspects: Mapping[Place, Given]) -> dict[Place, Given]:
        """Those of them that retention has not taken: a job that had not read the others goes on without them."""
        firsts = {
            topic: first_offsets(self.settings.bootstrap, name_of(self.settings, topic))
            for topic in {topic for topic, _, _ in suspects}
        }
        return {of: given for of, given in suspects.items() if of[2] >= firsts[of[0]].get(of[1], 0)}

    def _decided(self, suspects: Mapping[Place, Given]) -> set[Place]:
        """Those of them of which any entry was made, or a dead letter, by the whole log as of now: a void one is told
        of as such."""
        first = min(given.timestamp_ms for given in suspects.values())
        return decided(self.settings.bootstrap, self.settings.namespace, self.codec, suspects, first, void=True)
