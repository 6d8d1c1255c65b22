# SPDX-License-Identifier: Apache-2.0
"""One decision as the journal holds it: `threadlog.Decision`, hash-chained per thread.

The hash is taken over the carried bytes themselves (patch and effects are strings of canonical JSON), so a verifier in
any language needs neither our code nor a JSON library.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from threadlog.canonical import chain
from threadlog.inputs import Input


class InputRef(msgspec.Struct, frozen=True):
    """The input a decision was made of, complete enough to be decided again."""

    topic: str
    partition: int
    offset: int
    log_time_ms: int
    source: str
    id: str
    type: str
    schema_id: int
    value: bytes
    traceparent: str
    clock_ms: int

    @classmethod
    def of(cls, input: Input, by_reference: bool = False) -> InputRef:
        """The reference of an input; `by_reference` leaves the bytes out because they would not fit."""
        return cls(
            input.topic, input.partition, input.offset, input.log_time_ms, input.source, input.id, input.type,
            input.schema_id, b"" if by_reference else input.value, input.traceparent, input.clock_ms,
        )  # fmt: skip


class Entry(msgspec.Struct, frozen=True):
    """One journal entry. Fields as in the schema `threadlog.Decision`; times in milliseconds of the Unix epoch."""

    thread: str
    seq: int
    prev: str
    kind: str
    verdict: str
    reason: str
    input: InputRef
    time_ms: int
    agent: str
    version: int
    run_id: str
    app_digest: str
    limits_digest: str
    effects: str
    patch: str
    state_hash: str
    outbox: str
    snapshot: str | None = None
    hash: str = ""

    def sealed(self) -> Entry:
        """The same entry with its hash set."""
        return replace(self, hash=self.computed_hash())

    def computed_hash(self) -> str:
        """SHA-256 chained from `prev` over every other field in the order of the schema, 64 hex digits."""
        ref = self.input
        return chain(
            self.prev, self.thread, b"%d" % self.seq, self.kind, self.verdict, self.reason,
            ref.topic, b"%d" % ref.partition, b"%d" % ref.offset, b"%d" % ref.log_time_ms, ref.source, ref.id, ref.type,
            b"%d" % ref.schema_id, ref.value, ref.traceparent, b"%d" % ref.clock_ms,
            b"%d" % self.time_ms, self.agent, b"%d" % self.version, self.run_id, self.app_digest, self.limits_digest,
            self.effects, self.patch, self.state_hash, self.outbox, self.snapshot or b"",
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The entry as the codec takes it."""
        return {**asdict(self), "input": asdict(self.input)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Entry:
        """The entry from a decoded record."""
        return cls(**{**record, "input": InputRef(**record["input"])})
