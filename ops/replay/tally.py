# SPDX-License-Identifier: Apache-2.0
"""What a replay found, counted; the tallies of several workers make one."""

from __future__ import annotations

from collections import Counter

import msgspec

from threadlog.replay import Divergence, Outcome
from threadlog.upgrade import Breach

VOIDS_KEPT = 20


class Group(msgspec.Struct):
    """Divergences of one kind that are about one thing: in how many threads and decisions; the earliest by time."""

    kind: str
    about: str
    threads: int
    decisions: int
    first: Divergence


class Tally(msgspec.Struct):
    """Counts of decisions by their standing, of threads, and what they are about."""

    standings: Counter[str] = msgspec.field(default_factory=Counter)
    threads: int = 0
    diverged: int = 0  # threads that do
    cut: int = 0  # threads that begin at a snapshot
    lost: int = 0  # entries before a thread's first snapshot, where the history before them is cut
    left_out: int = 0  # threads that have lost their beginning and have no snapshot yet
    groups: dict[str, Group] = msgspec.field(default_factory=dict)
    other_limits: Counter[str] = msgspec.field(default_factory=Counter)
    older_states: int = 0  # decisions made on a state of an older version, compared without their patches
    voids: int = 0
    voids_told: list[str] = msgspec.field(default_factory=list)
    ends: Counter[str] = msgspec.field(default_factory=Counter)  # of the runs of a what-if that went on
    answered: Counter[str] = msgspec.field(default_factory=Counter)  # calls of it that the log could not answer
    open_runs: int = 0
    parked_runs: int = 0
    breaches: list[Breach] = msgspec.field(default_factory=list)

    @property
    def decisions(self) -> int:
        """Entries that count."""
        return self.standings.total() - self.standings["void"] - self.standings["repeat"]

    def first(self) -> Divergence | None:
        """The earliest divergence of all."""
        return min((group.first for group in self.groups.values()), key=_when, default=None)

    def add(self, outcome: Outcome, known: set[str] | None) -> bool:
        """Count an outcome; `known` collects the groups of its thread. True for the first divergence of a thread."""
        self.standings[outcome.standing] += 1
        if (found := outcome.divergence) is None or known is None:
            return False
        return self.differs(found, known)

    def differs(self, found: Divergence, known: set[str]) -> bool:
        """The same for a difference that is no decision's."""
        of, first = found.differences, not known
        key = f"{of.kind}: {of.about}"
        self._group(Group(of.kind, of.about, int(key not in known), 1, found))
        known.add(key)
        self.diverged += first
        return first

    def merge(self, other: Tally) -> None:
        """Take another worker's counts over."""
        self.standings.update(other.standings)
        for mine, others in (
            (self.other_limits, other.other_limits), (self.ends, other.ends), (self.answered, other.answered),
        ):  # fmt: skip
            mine.update(others)
        for group in other.groups.values():
            self._group(group)
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.voids_told = [*self.voids_told, *other.voids_told][:VOIDS_KEPT]
        self.breaches = sorted([*self.breaches, *other.breaches], key=lambda one: one.thread)

    def void(self, told: str) -> None:
        """Count an entry that is void, and say why."""
        self.voids += 1
        if len(self.voids_told) < VOIDS_KEPT:
            self.voids_told.append(told)

    def _group(self, group: Group) -> None:
        key = f"{group.kind}: {group.about}"
        known = self.groups.get(key)
        if known is None:
            self.groups[key] = msgspec.structs.replace(group)
        else:
            known.threads += group.threads
            known.decisions += group.decisions
            known.first = min(known.first, group.first, key=_when)


_SUMS = (
    "threads", "diverged", "cut", "lost", "left_out", "older_states", "voids", "open_runs", "parked_runs",
)  # fmt: skip


def _when(found: Divergence) -> tuple[int, str, int]:
    return found.time_ms, found.thread, found.seq
