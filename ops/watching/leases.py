# SPDX-License-Identifier: Apache-2.0
"""The leases of the conversation, as they come: no copy that lives, or more than one.

Each subtask holds one. How many a copy has may change with each start, so it is not asked: a copy is what has one
generation. Two of one generation there are not beside each other, for Flink ends the one before it begins the other."""

from __future__ import annotations

from dataclasses import dataclass, field

from ops.hints import LOCAL, Hints
from ops.watching.alarms import Wrong
from schemas.codec import Codec
from schemas.errors import Unreadable
from wire.control import CONVERSATION
from wire.frames import Record
from wire.leases import HELD, OBSERVE_S, OVERTAKEN, TYPE

# Who died without a word seems to live for OBSERVE_S, beside the one that went on.
AFTER_S = 15.0
# Longer than Flink lets a copy that fails wait before it tries it again.
TRIES_S = 20.0


@dataclass(frozen=True)
class Said:
    """What a holder said last: whether it holds a lease, where it runs, as part of which start, when the log took that,
    when it was read."""

    state: str
    place: str
    generation: int
    timestamp_ms: int
    read_s: float


@dataclass
class Leases:
    """What each holder said last.

    The topic is read from its beginning, so what lies far behind its newest record is history, by the log's clock."""

    job: str = CONVERSATION
    hints: Hints = LOCAL
    said: dict[str, Said] = field(default_factory=dict)
    newest_ms: int = 0

    def take(self, record: Record, codec: Codec, now: float) -> None:
        """Take one record of `agent-leases` into account; what is none of this job's changes nothing."""
        try:
            data = codec.decode_own(record.value, TYPE)
        except Unreadable:
            return
        self.newest_ms = max(self.newest_ms, record.timestamp_ms)
        if data["job"] == self.job:
            self.said.pop(data["holder"], None)
            if data["state"] in (HELD, OVERTAKEN):
                generation = data.get("generation", 0)  # an older version wrote none
                said = Said(data["state"], data["place"], generation, record.timestamp_ms, now)
                self.said[data["holder"]] = said

    def _lately(self, state: str, within_s: float, now: float) -> list[Said]:
        since_ms = self.newest_ms - within_s * 1000
        return [
            said
            for said in self.said.values()
            if said.state == state and now - said.read_s < within_s and said.timestamp_ms > since_ms
        ]

    def wrong(self, now: float) -> list[Wrong]:
        """What the leases of now say."""
        living, overtaken = self._lately(HELD, OBSERVE_S, now), self._lately(OVERTAKEN, TRIES_S, now)
        found = list[Wrong]()
        if not living:
            what = f"Nobody holds the lease of the {self.job}"
            found.append(Wrong("lease", what, self.hints.start, AFTER_S))
        if len(copies := {said.generation for said in living}) > 1:
            told, places = _told(living)
            starts = ", ".join(map(str, sorted(copies)))
            what = f"{len(copies)} copies of the {self.job} renew leases ({told}), of the starts {starts}"
            do = "End all but one: each voids what the other decides"
            found.append(Wrong("copies", what, do, AFTER_S, fields={"places": places}))
        if overtaken:
            told, places = _told(overtaken)
            what = f"A copy of the {self.job} that was overtaken, or stopped, tries again and again to begin ({told})"
            do = "Cancel its Flink job, for each of its tries fences the transactions of a later one; or, where none "
            do += f"runs, {self.hints.again}"
            found.append(Wrong("copies", what, do, where="overtaken", fields={"places": places}))
        return found


def _told(several: list[Said]) -> tuple[str, list[str]]:
    each = sorted({said.place for said in several})
    return ", ".join(each), each
