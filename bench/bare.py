# SPDX-License-Identifier: Apache-2.0
"""The bare job that every ratio is taken against. Frozen: whoever changes it changes what all ratios mean.

    bare-in ──► by key ──► Bare: one JSON string of keyed state ──► bare-out, one transaction per checkpoint

Its operator is the least that still decides: JSON in, a duplicate check against the last 32 ids, the last ten texts and
a counter in one value state, a SHA-256 over the state, one JSON record out with five headers. No schema, no envelope
that is checked, no journal, no chain, no history, no user code, no map state, no timer, no second output.

Only the operator is frozen. Source, key, sink and Flink's settings are the product's own, so both jobs pay the same
for them, and the operator cuts frames itself, so that a faster `wire.frames` cannot move the yardstick.
"""

from __future__ import annotations

import hashlib
import json
import struct
from argparse import Namespace
from typing import Any

from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.state import ValueStateDescriptor

from jobs.arguments import parse
from udfs.flink_io import FRAME, environment, keyed, source, write_transactional

INPUT, OUTPUT = "bare-in", "bare-out"


class Bare(KeyedProcessFunction):
    """Frozen; `tests/bench/test_bare.py` has its bytes."""

    def __init__(self, output: str) -> None:
        self._output = output

    def open(self, context: RuntimeContext) -> None:
        """Flink's."""
        self._state = context.get_state(ValueStateDescriptor("bare", Types.STRING()))

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> list[bytes]:
        """Flink's."""
        topic, partition, offset, key, body = _cut(value)
        stored = self._state.value()
        state: dict[str, Any] = json.loads(stored) if stored else {"v": 1, "seq": 0, "msgs": [], "seen": []}
        event = json.loads(body)
        if event["id"] in state["seen"]:
            return []
        state["seq"] += 1
        state["seen"] = (state["seen"] + [event["id"]])[-32:]
        state["msgs"] = (state["msgs"] + [event["text"]])[-10:]
        blob = json.dumps(state)
        self._state.update(blob)
        decision = {
            "thread": event["thread"], "seq": state["seq"], "event": event["id"], "ref": [topic, partition, offset],
            "hash": hashlib.sha256(blob.encode()).hexdigest(), "t0": event["t0"],
            "actions": [{"reply": "ok " + event["text"][:40]}],
        }  # fmt: skip
        headers = {
            "ce_id": event["id"].encode(), "ce_type": b"agent.decision", "ce_source": b"/conv",
            "ce_specversion": b"1.0", "content-type": b"application/json",
        }  # fmt: skip
        return [_pack(self._output, key, json.dumps(decision).encode(), headers)]


def _cut(frame: bytes) -> tuple[str, int, int, bytes, bytes]:
    """Topic, partition, offset, key and value of a frame; the layout is in connector/…/KafkaInput.java."""
    (size,) = struct.unpack_from(">H", frame, 0)
    topic = frame[2 : 2 + size].decode()
    partition, offset, _, key_size = struct.unpack_from(">iqqi", frame, 2 + size)
    at = 2 + size + 24
    (value_size,) = struct.unpack_from(">i", frame, at + key_size)
    return topic, partition, offset, frame[at : at + key_size], frame[at + key_size + 4 :][:value_size]


def _pack(topic: str, key: bytes, value: bytes, headers: dict[str, bytes]) -> bytes:
    """One record in a pack; the layout is in connector/…/KafkaOutput.java."""
    name = topic.encode()
    parts = [struct.pack(">H", len(name)), name, struct.pack(">i", len(key)), key, struct.pack(">i", len(value)), value]
    parts.append(struct.pack(">H", len(headers)))
    for header, content in headers.items():
        raw = header.encode()
        parts += [struct.pack(">H", len(raw)), raw, struct.pack(">i", len(content)), content]
    body = b"".join(parts)
    return struct.pack(">I", len(body)) + body


def build(args: Namespace) -> StreamExecutionEnvironment:
    """The job's graph."""
    env = environment(args.parallelism, args.checkpoint_interval_ms, args.checkpoint_dir)
    output = f"{args.namespace}.{OUTPUT}"
    records: Any = source(env, "bare-in", args.bootstrap, [f"{args.namespace}.{INPUT}"], group=f"{args.namespace}.bare")
    decisions = keyed(records).process(Bare(output), FRAME).uid("bare").name("bare")
    write_transactional(decisions, "bare-out", args.bootstrap, [output], prefix=f"{args.namespace}-bare")
    return env


def main() -> None:
    """Submitted by the benches, with the arguments of the product's jobs."""
    args = parse("bare")
    build(args).execute_async(f"{args.namespace}.bare")


if __name__ == "__main__":
    main()
