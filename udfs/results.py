# SPDX-License-Identifier: Apache-2.0
"""Results to the log: an idempotent producer, and a result is sent again until the broker has acknowledged it."""

from __future__ import annotations

import threading
import time
from typing import Any

from confluent_kafka import Producer

from schemas.cloudevents import child_traceparent, write_headers
from schemas.codec import Codec
from schemas.topics import kafka_name

SOURCE = "/threadlog/tools"
TYPE = "threadlog.ToolResult"
_AGAIN_S = 0.5
_FLUSH_S = 5.0


class ResultSink:
    """Writes ToolResults to tool-results."""

    def __init__(self, producer: Producer, codec: Codec, namespace: str) -> None:
        self._producer, self._codec = producer, codec
        self._topic = kafka_name(namespace, "tool-results")
        self._closed = threading.Event()
        threading.Thread(target=self._poll, name="threadlog-results", daemon=True).start()

    def send(self, ask: dict[str, Any], result: dict[str, Any]) -> None:
        """Write a result; it is kept and sent again until it is acknowledged or this sink is closed."""
        value = self._codec.encode(TYPE, result)
        trace = child_traceparent(ask.get("traceparent", ""), "result", str(ask["ask"]))
        headers = write_headers(
            id=f"{ask['call_id']}/result/{ask['ask']}", source=SOURCE, type=TYPE, thread=ask["thread"],
            time_ms=result["finished_ms"], value=value, traceparent=trace, idempotency_key=ask["call_id"],
            quota_key=ask["quota_key"],
        )  # fmt: skip
        self._produce(ask["thread"].encode(), value, headers)

    def _produce(self, key: bytes, value: bytes, headers: list[tuple[str, bytes | None]]) -> None:
        def delivered(error: Any, message: Any) -> None:
            if error is not None and not self._closed.is_set():
                threading.Timer(_AGAIN_S, self._produce, (key, value, headers)).start()

        while not self._closed.is_set():
            try:
                self._producer.produce(self._topic, value, key, headers=[*headers], on_delivery=delivered)
                return
            except BufferError:
                time.sleep(_AGAIN_S / 10)

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.2)

    def close(self) -> None:
        """Stop; what is not acknowledged is fired again by whoever takes over."""
        self._producer.flush(_FLUSH_S)
        self._closed.set()
