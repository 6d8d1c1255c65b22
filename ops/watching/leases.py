# SPDX-License-Identifier: Apache-2.0
"""The leases of the conversation, as they come: no copy that lives, or more than there should be."""

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
    """What a holder said last: whether it holds a lease, where it runs, when the log took that, when it was read."""

    state: str
    place: str
    timestamp_ms: int
    read_s: float


@dataclass
class Leases:
    """What each holder said last.

    The topic is read from its beginning, so what lies far behind its newest record is history, by the log's clock."""

    copies: int
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
                self.said[data["holder"]] = Said(data["state"], data["place"], record.timestamp_ms, now)

    def _lately(self, state: str, within_s: float, now: float) -> list[str]:
        since_ms = self.newest_ms - within_s * 1000
        return [
            said.place
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
        if len(living) > self.copies:
            told, places = _told(living)
            what = f"{len(living)} copies of the {self.job} renew leases ({told}), expected {self.copies}"
            do = "End all but one: each voids what the other decides"
            found.append(Wrong("copies", what, do, AFTER_S, fields={"places": places}))
        if overtaken:
            told, places = _told(overtaken)
            what = f"A copy of the {self.job} that was overtaken, or stopped, tries again and again to begin ({told})"
            do = "Cancel its Flink job, for each of its tries fences the transactions of a later one; or, where none "
            do += f"runs, {self.hints.again}"
            found.append(Wrong("copies", what, do, where="overtaken", fields={"places": places}))
        return found


def _told(places: list[str]) -> tuple[str, list[str]]:
    each = sorted(set(places))
    return ", ".join(each), each
