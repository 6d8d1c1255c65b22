# SPDX-License-Identifier: Apache-2.0
"""The leases of the conversation, as they come: no copy that lives, or more than there should be."""

from __future__ import annotations

from dataclasses import dataclass, field

from ops.watching.alarms import Wrong
from schemas.codec import Codec
from schemas.errors import Unreadable
from wire.control import CONVERSATION
from wire.frames import Record
from wire.leases import HELD, OBSERVE_S, TYPE

AFTER_S = 15.0


@dataclass
class Leases:
    """Who renewed a lease, where he runs, and when that was read last."""

    copies: int
    job: str = CONVERSATION
    seen: dict[str, tuple[str, float]] = field(default_factory=dict)

    def take(self, record: Record, codec: Codec, now: float) -> None:
        """Take one record of `agent-leases` into account; what is none of this job's changes nothing."""
        try:
            data = codec.decode_own(record.value, TYPE)
        except Unreadable:
            return
        if data["job"] == self.job:
            self.seen.pop(data["holder"], None)
            if data["state"] == HELD:
                self.seen[data["holder"]] = (data["place"], now)

    def living(self, now: float) -> list[str]:
        """Where those run that have renewed one lately."""
        return [place for place, at in self.seen.values() if now - at < OBSERVE_S]

    def wrong(self, now: float) -> list[Wrong]:
        """What the leases of now say."""
        living = self.living(now)
        if not living:
            do = "`threadlog status` tells whether it runs, `threadlog start` starts it"
            return [Wrong("lease", f"Nobody holds the lease of the {self.job}", do, AFTER_S)]
        if len(living) > self.copies:
            places = sorted(set(living))
            told = ", ".join(places)
            what = f"{len(living)} copies of the {self.job} renew leases ({told}), expected {self.copies}"
            do = "End all but one: each voids what the other decides"
            return [Wrong("copies", what, do, AFTER_S, fields={"places": places})]
        return []
