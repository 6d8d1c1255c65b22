# SPDX-License-Identifier: Apache-2.0
"""The findings of a replay in the cluster, read back from their topic as the tally that a local replay makes.

Two questions are asked of them before they are believed. Are they whole: does each partition's sum say as many
divergences and void entries as there are? And was all of the journal verified: does no record lie before the first
verified one of a partition, or between the last one and the end?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from ops.context import Trouble
from ops.reading import codec_of, reading, whole_topic
from ops.replay.tally import Tally
from ops.settings import Settings
from schemas.errors import Unreadable
from threadlog.replay import Divergence, Outcome
from threadlog.verifying import Checked
from wire.findings import DIVERGENCE, SUMMARY, TOPIC, TYPE, VOID
from wire.kafka import TopicReader

_SHOWN = 5
_PARTED = ("diverged", "void")  # standings that have findings of their own


class Summary(Checked):
    """What a partition's sum says; `ends`: where each partition of the journal ended for the replay."""

    ends: dict[str, int] = msgspec.field(default_factory=dict)


_summary = msgspec.json.Decoder(Summary).decode
_divergence = msgspec.json.Decoder(Divergence).decode


@dataclass
class Findings:
    """What a run found. `doubled`: partitions that were summed up twice."""

    run: str
    app: str = ""
    tally: Tally = field(default_factory=Tally)
    summaries: dict[int, Summary] = field(default_factory=dict)
    doubled: list[int] = field(default_factory=list)
    _known: dict[str, set[str]] = field(default_factory=dict)

    @property
    def ends(self) -> dict[int, int]:
        """Where each partition of the journal ended for it."""
        return {int(p): end for one in self.summaries.values() for p, end in one.ends.items()}

    @property
    def is_there(self) -> bool:
        """Whether the run has left anything."""
        return bool(self.app)

    @property
    def has_ended(self) -> bool:
        """Whether every partition that held anything is summed up."""
        return bool(self.summaries) and all(p in self.summaries for p, end in self.ends.items() if end)

    def add(self, found: dict[str, Any]) -> Divergence | None:
        """Take a finding in; it, if it is the first divergence of its thread."""
        self.app = found["app"]
        if found["what"] == SUMMARY:
            self._sum(found["partition"], _summary(found["detail"]))
        elif found["what"] == VOID:
            self.tally.void(f"{found['thread']} at {found['partition']}/{found['offset']}: {found['reason']}")
        elif found["what"] == DIVERGENCE:
            divergence = _divergence(found["detail"])
            known = self._known.setdefault(divergence.thread, set())
            if self.tally.add(Outcome("diverged", divergence), known):
                return divergence
        return None

    def _sum(self, partition: int, summary: Summary) -> None:
        if partition in self.summaries:
            self.doubled.append(partition)
        self.summaries[partition] = summary
        self.tally.standings.update({k: n for k, n in summary.standings.items() if k not in _PARTED})
        self.tally.other_limits.update(summary.other_limits)
        for name in ("threads", "cut", "lost", "older_states"):
            setattr(self.tally, name, getattr(self.tally, name) + getattr(summary, name))

    def complaints(self) -> list[str]:
        """Why the findings are not whole; nothing if they are."""
        if not self.summaries:
            return ["it has summed nothing up, so it has not ended"]
        said = {name: sum(one.standings.get(name, 0) for one in self.summaries.values()) for name in _PARTED}
        there = {"diverged": self.tally.standings["diverged"], "void": self.tally.voids}
        told = [
            f"{there[name]:,} findings say {name}, its sums {said[name]:,}"
            for name in _PARTED
            if there[name] != said[name]
        ]
        return told + [f"partition {partition} is summed up twice" for partition in self.doubled]


def read(settings: Settings, run: str, tell: Callable[[Divergence], None] = lambda found: None) -> Findings:
    """What a run has found so far. Raises Trouble without a broker."""
    codec, findings = codec_of(settings), Findings(run)
    for record in whole_topic(settings, TOPIC):
        try:
            found = codec.decode_own(record.value, TYPE)
        except Unreadable:
            continue
        if found["run"] == run and (first := findings.add(found)) is not None:
            tell(first)
    return findings


def check(settings: Settings, findings: Findings) -> None:
    """Raises Trouble where the findings are not whole, or not of the whole journal."""
    told = findings.complaints() or uncovered(settings, findings)
    if told:
        lines = "\n".join(f"  {line}" for line in told)
        raise Trouble(f"Run {findings.run!r} has not verified the whole journal:\n{lines}", "Replay it once more.")


def uncovered(settings: Settings, findings: Findings) -> list[str]:
    """Records of the journal that the run was to verify and has not."""
    ends, done = findings.ends, findings.summaries
    with reading(settings, "agent-decisions") as name, TopicReader(settings.bootstrap, name) as topic:
        lows = dict.fromkeys(ends, 0) | {partition: low for partition, (low, _) in topic.marks().items()}
        before = {p: (lows[p], done[p].first) for p in ends if p in done}
        behind = {p: (max(lows[p], done[p].last + 1 if p in done else 0), ends[p]) for p in ends}
        left = [record for gaps in (before, behind) for record in islice(topic.read(*_bounds(gaps)), _SHOWN)]
    return [f"partition {record.partition}, offset {record.offset} is left out" for record in left]


def _bounds(gaps: dict[int, tuple[int, int]]) -> tuple[dict[int, int], dict[int, int]]:
    open_ = {p: gap for p, gap in gaps.items() if gap[0] < gap[1]}
    return {p: first for p, (first, _) in open_.items()}, {p: end for p, (_, end) in open_.items()}
