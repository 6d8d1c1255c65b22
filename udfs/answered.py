# SPDX-License-Identifier: Apache-2.0
"""What the log says is over: results of an earlier process that a restored state does not know of yet.

A state is older than what was written after its checkpoint. A call that it shows in flight may have ended since. Where
that was as refused, rejected or failed, its agent may have asked for the same under a new key: to fire it again could
have the effect twice. Where it was done, to fire it again rests on a callee that honours the key, for nothing. The
source will deliver that result, but nobody knows when; so it is looked up before anything that an earlier process may
have fired is fired again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.codec import Codec
from schemas.errors import Unreadable
from schemas.topics import kafka_name
from threadlog.calls import DID_NOT_HAPPEN
from threadlog.queueing import forged
from wire.frames import Record
from wire.kafka import TopicReader, bounds, offsets_since

TOPIC, RESULT = "tool-results", "threadlog.ToolResult"
# Asks carry the conversation's clock, results the broker's; a minute more costs little to read.
LOOK_BACK_MS = 60_000
# Of each partition so many results count as done: nearly all of what came behind a checkpoint, and they fill no memory
# though an ask may be days old. One that is older is repeated under its key.
DONE_LAST = 20_000


class Answered:
    """The results that lie in the log when it is first asked. Reads as far back as it has to, each once."""

    def __init__(self, bootstrap: str, namespace: str, codec: Codec) -> None:
        self._bootstrap, self._topic, self._codec = bootstrap, kafka_name(namespace, TOPIC), codec
        self._since_ms, self._until, self._found = 2**63, dict[int, int](), set[str]()
        self._end = dict[int, int]()  # when it was first asked

    def has(self, ask: dict[str, Any]) -> bool:
        """Whether the call of this ask is over. Raises KafkaException, RegistryUnavailable."""
        since_ms = (ask["clock_ms"] or ask["asked_ms"]) - LOOK_BACK_MS
        if since_ms < self._since_ms:
            self._read(max(0, since_ms))
        return ask["call_id"] in self._found

    def _read(self, since_ms: int) -> None:
        """What lies between that time and what was read before."""
        until = self._until or {p: high for p, (_, high) in bounds(self._bootstrap, self._topic).items()}
        end = self._end or until
        since = offsets_since(self._bootstrap, self._topic, since_ms)
        first = {p: min(since[p], high) for p, high in until.items()}
        with TopicReader(self._bootstrap, self._topic) as reader:
            for record in reader.read(first, until):
                try:
                    type_, _, data = self._codec.decode(record.value)
                except Unreadable:
                    continue
                if type_ == RESULT and _over(data["status"], record, end) and not forged(data):
                    self._found.add(data["call_id"])
        # Only now: what breaks off is asked for anew, with what another process has written meanwhile.
        self._end, self._since_ms, self._until = end, since_ms, first


def _over(status: str, record: Record, end: Mapping[int, int]) -> bool:
    late = record.offset >= end[record.partition] - DONE_LAST
    return status in DID_NOT_HAPPEN or (status == "done" and late)
