# SPDX-License-Identifier: Apache-2.0
"""What the topics of a cluster keep, compared with what the engine rests on.

A topic's owner may change its retention at any time, and nothing fails then. So it is told, by `threadlog doctor` and
at each `threadlog start`:

    events kept longer than the window of resends   one that is read late, behind a newer one of its thread, is too old
    a journal kept for less than two marks of       what retention leaves of a thread may have no beginning to rebuild
    snapshots                                       it from
"""

from __future__ import annotations

from dataclasses import dataclass

from ops.settings import Settings
from schemas.topics import FOR_EVER_MS, kafka_name
from threadlog.limits import Limits
from wire.admin import retentions
from wire.control import CONVERSATION
from wire.inputs import INPUTS
from wire.journal import TOPIC as JOURNAL

# Results are matched to their calls, by no window.
EVENTS = tuple(topic for topic in INPUTS[CONVERSATION] if topic != "tool-results")
_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Mismatch:
    """A topic that is kept for another time than the engine rests on, in milliseconds; -1: for ever."""

    topic: str
    retention_ms: int
    limit_ms: int

    def __str__(self) -> str:
        kept, limit = _days(self.retention_ms), _days(self.limit_ms)
        if self.topic == JOURNAL:
            return (
                f"{JOURNAL} is kept for {kept} only: a thread that was silent for a while may have no snapshot left to "
                f"be rebuilt from. Keep it for {limit} at least (retention.ms={self.limit_ms})."
            )
        return (
            f"{self.topic} is kept for {kept}, but a resend is told from a new event for {limit} only. What is read "
            f"later than that behind a newer event of its thread becomes a dead letter (too_old), not a decision. Keep "
            f"the topic for {limit} at most (retention.ms={self.limit_ms})."
        )


def mismatches(settings: Settings, limits: Limits | None = None) -> list[Mismatch]:
    """The topics that are kept too long or not long enough; those that are not there are left out.

    Raises KafkaException."""
    limits, names = limits or Limits(), {kafka_name(settings.namespace, topic): topic for topic in (*EVENTS, JOURNAL)}
    found = list[Mismatch]()
    for name, kept_ms in retentions(settings.bootstrap, list(names)).items():
        is_journal = names[name] == JOURNAL
        limit_ms = 2 * limits.snapshot_every_ms if is_journal else limits.seen_window_ms
        if kept_ms != limit_ms and (_is_longer(kept_ms, limit_ms) != is_journal):
            found.append(Mismatch(names[name], kept_ms, limit_ms))
    return found


def _is_longer(kept_ms: int, limit_ms: int) -> bool:
    return kept_ms == FOR_EVER_MS or kept_ms > limit_ms


def _days(ms: int) -> str:
    return "ever" if ms == FOR_EVER_MS else f"{ms / _DAY_MS:g} days"
