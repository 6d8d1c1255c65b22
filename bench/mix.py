# SPDX-License-Identifier: Apache-2.0
"""The mix of a round: thousands of customers in step, and as records what each phase sends."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import fastavro

from bench.customer import EVENTS, FOREIGN, RESULT, SOURCE, WORDS_CHARS, Customer, Planned
from examples.support_desk.traffic import SCHEMAS, schema_text
from schemas.cloudevents import child_traceparent, root_traceparent, write_headers
from schemas.codec import Codec, encode_note

NOTE = "threadlog.Note"
Headers = list[tuple[str, bytes | None]]
Sent = tuple[str, bytes, bytes, Headers]  # topic without namespace, key, value, headers
Verdicts = Counter[tuple[str, str]]  # (kind of input, verdict) → entries


@dataclass
class Phase:
    """What is sent at once, and the journal entries that must come of it."""

    records: list[Planned]
    verdicts: Verdicts

    @property
    def entries(self) -> int:
        """How many, timers included."""
        return self.verdicts.total()

    @property
    def turns(self) -> int:
        """How many are of an input record."""
        return sum(count for (kind, _), count in self.verdicts.items() if kind != "timer")


def plan(seed: int, name: str, threads: int, phases: int) -> list[Phase]:
    """A round. Threads are named after it: a second round with other threads repeats no event."""
    customers = [Customer(f"{name}-{n:06d}", random.Random(f"{seed}/{name}/{n}"), phases) for n in range(threads)]
    scripts = [customer.slots() for customer in customers]
    planned, before = [], Verdicts()
    for _ in range(phases):
        records = [record for script in scripts for record in next(script)]
        after = sum((customer.verdicts for customer in customers), Verdicts())
        planned.append(Phase(records, after - before))
        before = after
    return planned


class Encoder:
    """Planned records as a good producer, or the tools job, writes them."""

    def __init__(self, codec: Codec, ids: dict[str, int], time_ms: int) -> None:
        """ids: of the customers' schemas and of `threadlog.Note`; time_ms: what the envelopes say."""
        self._codec, self._ids, self._time_ms = codec, ids, time_ms

    def records(self, phase: Phase) -> Iterator[Sent]:
        """The phase, encoded."""
        return (self._result(one) if one.type == RESULT else self.event(one) for one in phase.records)

    def event(self, one: Planned) -> Sent:
        """An event, encoded."""
        if one.type == NOTE:
            value = encode_note(self._ids[NOTE], one.data["text"])
        elif one.type == FOREIGN:
            value = self._codec.encode(one.type, one.data)
        else:
            body = io.BytesIO()
            fastavro.schemaless_writer(body, _parsed(one.type), one.data)
            value = b"\0" + self._ids[one.type].to_bytes(4, "big") + body.getvalue()
        return self._enveloped(one, value[:-3] if one.cut else value, SOURCE, root_traceparent(SOURCE, one.id))

    def _result(self, one: Planned) -> Sent:
        ask: Any = one.ask
        trace = child_traceparent(ask["traceparent"], "result", "1")
        keys = {"idempotency_key": ask["call_id"], "quota_key": ask["quota_key"]}
        return self._enveloped(one, self._codec.encode(RESULT, one.data), "/threadlog/tools", trace, **keys)

    def _enveloped(self, one: Planned, value: bytes, source: str, trace: str, **keys: str) -> Sent:
        headers = write_headers(
            id=one.id, source=source, type=one.type, thread=one.thread, time_ms=self._time_ms, value=value,
            traceparent=trace, **keys,
        )  # fmt: skip
        return one.topic, one.thread.encode(), value, headers


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(json.loads(schema_text(name)))


CUSTOMER_TYPES = tuple(SCHEMAS)


def bare_records(phase: Phase, topic: str, number_from: int) -> Iterator[Sent]:
    """As many records for the bare job, on the same threads, of the shape that its frozen operator reads."""
    for number, one in enumerate(phase.records, number_from):
        text = (one.data["text"] if one.topic == EVENTS and "intent" in one.data else "x" * WORDS_CHARS)[:WORDS_CHARS]
        body = {"id": f"{one.thread[:2]}-{number}", "thread": one.thread, "t0": 1_700_000_000.123456, "text": text}
        yield topic, one.thread.encode(), json.dumps(body).encode(), []


def shares(phases: list[Phase]) -> dict[str, float]:
    """The mix in fractions of the turns: by kind of input and verdict; timers over turns."""
    verdicts = sum((phase.verdicts for phase in phases), Verdicts())
    turns = sum(phase.turns for phase in phases)
    return {f"{kind} {verdict}": round(count / turns, 4) for (kind, verdict), count in sorted(verdicts.items())}
