# SPDX-License-Identifier: Apache-2.0
"""The topic agent-leases in memory."""

from __future__ import annotations

import threading
from typing import Any

from schemas.codec import Codec, FixedSchemas
from wire.frames import Record
from wire.leases import living, record_of

CODEC = Codec(FixedSchemas())
NOW_S = 1_700_000_000.0


class Topic:
    """The topic, with what will yet come; a producer of it; and a clock that goes on while it is followed."""

    def __init__(self) -> None:
        self.now_s, self.records, self.to_come, self.lost = NOW_S, list[Record](), list[Record](), False
        self.news = threading.Condition()
        self.later: list[Any] | None = None  # where reports of delivery wait
        self.told_later: list[Record] = []

    def record(
        self, holder: str, state: str, ago_s: float = 1, job: str = "conversation", generation: int = 0
    ) -> Record:
        value, key, _ = record_of(CODEC, job, holder, state, generation)
        offset = len(self.records) + len(self.to_come)
        return Record("ns.agent-leases", 0, offset, int((NOW_S - ago_s) * 1000), key, value, [])

    def produce(self, topic: str, value: bytes, key: bytes, headers: Any, on_delivery: Any) -> None:
        if self.later is None:
            on_delivery("no broker" if self.lost else None, None)
        else:
            self.later.append(on_delivery)
        with self.news:
            self.records.append(Record(topic, 0, len(self.records), int(NOW_S * 1000), key, value, headers))
            self.news.notify_all()

    def purge(self) -> None: ...
    def flush(self, seconds: float) -> None: ...

    def states(self) -> list[str]:
        return [CODEC.decode_own(record.value, "threadlog.Lease")["state"] for record in self.records]

    def wait(self, count: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: len(self.records) >= count, 20)

    def living(self) -> str:
        return living("b", "ns", CODEC, "conversation", lambda: self.now_s).place
