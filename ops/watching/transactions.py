# SPDX-License-Identifier: Apache-2.0
"""Open transactions that hang, told by what they do to readers: the last stable offset of a partition stands still
before its end. A working job moves it with every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.watching.alarms import Wrong

# What the conversation writes in its transactions.
TOPICS = ("agent-decisions", "tool-invocations", "agent-replies", "agent-signals", "dead-letters")
# A job that was killed is back, and has ended what it left open, before that.
HELD_S = 15.0
CHECKPOINTS = 20
DO = "`threadlog doctor` tells which transaction that is; the next start of the conversation ends it"

Place = tuple[str, int]


@dataclass
class Held:
    """For how long the last stable offset of each partition has stood before its end."""

    interval_ms: int
    since: dict[tuple[Place, int], float] = field(default_factory=dict)

    def look(self, now: float, ends: Mapping[Place, tuple[int, int]]) -> None:
        """Take the ends of now into account: partition → (last stable offset, end)."""
        held = {(place, stable) for place, (stable, end) in ends.items() if stable < end}
        self.since = {one: self.since.get(one, now) for one in held}

    def oldest_s(self, now: float) -> float:
        """For how long the partition that is held the longest has been held; 0 where none is."""
        return max((now - since for since in self.since.values()), default=0.0)

    def wrong(self, now: float) -> list[Wrong]:
        """One for all partitions that are held too long: a transaction holds several."""
        patience = max(HELD_S, CHECKPOINTS * self.interval_ms / 1000)
        held = sorted((place, stable) for (place, stable), since in self.since.items() if now - since >= patience)
        if not held:
            return []
        (topic, partition), stable = held[0]
        more = f" and in {len(held) - 1} other partitions" if len(held) > 1 else ""
        what = f"A transaction hangs: nothing from {topic} {partition}/{stable} on can be read{more}"
        places = [{"topic": place[0], "partition": place[1], "offset": offset} for place, offset in held]
        lasted = self.oldest_s(now)
        return [Wrong("transaction", what, DO, fields={"held_s": round(lasted, 1), "places": places})]
