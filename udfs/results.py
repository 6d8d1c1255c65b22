# SPDX-License-Identifier: Apache-2.0
"""Results to the log: an idempotent producer, and a result is sent again until the broker has acknowledged it.

`send` hands over and never waits. What the producer did not take or the broker did not acknowledge comes into one
queue, which the polling thread empties. A producer in its fatal state takes nothing any more: it is replaced by a new
one. Whatever else goes wrong would lose a result in silence, so it ends the sink, and `check` says so: the task fails,
and what it had in hand is fired again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.cloudevents import child_traceparent, write_headers
from schemas.codec import Codec
from schemas.topics import kafka_name

SOURCE = "/threadlog/tools"
TYPE = "threadlog.ToolResult"
POLL_S = 0.2
FLUSH_S = 5.0
AGAIN_POLLS = 3  # between two rounds of sending again, so that an outage is no busy loop
# What passes: the producer itself has tried until its own timeout, or was replaced meanwhile.
PASSING = frozenset({
    KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN,
    KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT,
})  # fmt: skip

Kept = tuple[bytes, bytes, list[tuple[str, bytes | None]]]


class ResultsLost(RuntimeError):
    """The task must be started again: results of finished calls could not be written."""


class ResultSink:
    """Writes ToolResults to tool-results. `make` gives a producer, and another one when that has failed for good."""

    def __init__(self, make: Callable[[], Producer], codec: Codec, namespace: str) -> None:
        self._make, self._codec = make, codec
        self._topic = kafka_name(namespace, "tool-results")
        self._producer = make()
        self._lock = threading.Lock()  # over handing over and replacing: nothing is given to a producer that is gone
        self._again: deque[Kept] = deque()
        self._fatal, self._closed = False, False
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="threadlog-results", daemon=True)
        self._thread.start()

    def send(self, ask: dict[str, Any], result: dict[str, Any]) -> None:
        """Write a result; it is kept and sent again until it is acknowledged or this sink ends."""
        value = self._codec.encode(TYPE, result)
        trace = child_traceparent(ask.get("traceparent", ""), "result", str(ask["ask"]))
        headers = write_headers(
            id=f"{ask['call_id']}/result/{ask['ask']}", source=SOURCE, type=TYPE, thread=ask["thread"],
            time_ms=result["finished_ms"], value=value, traceparent=trace, idempotency_key=ask["call_id"],
            quota_key=ask["quota_key"],
        )  # fmt: skip
        self._hand_over((ask["thread"].encode(), value, headers))

    def check(self) -> None:
        """Raises ResultsLost once a result cannot be written, now or ever."""
        if self._broken is not None:
            raise ResultsLost(f"results could not be written, their calls are fired again: {self._broken}") from (
                self._broken
            )

    def close(self) -> None:
        """Stop; what is not acknowledged is fired again by whoever takes over. Safe to repeat.

        And not written any more: the producer would go on by itself, and a "no" that came when its call has been fired
        again would be a lie."""
        self._closed = True
        self._thread.join(FLUSH_S)
        self._producer.flush(FLUSH_S)
        self._producer.purge()
        self._producer.flush(0)

    def _hand_over(self, kept: Kept) -> None:
        key, value, headers = kept
        with self._lock:
            try:
                self._producer.produce(
                    self._topic, value, key, headers=[*headers], on_delivery=partial(self._delivered, kept)
                )
            except BufferError:
                self._again.append(kept)
            except KafkaException as error:
                self._failed(kept, error.args[0])

    def _delivered(self, kept: Kept, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failed(kept, error)

    def _failed(self, kept: Kept, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._fatal = True
        elif error.code() not in PASSING:
            self._broken = KafkaException(error)
        self._again.append(kept)

    def _work(self) -> None:
        """The thread: it serves acknowledgements, replaces a failed producer and sends again what came back."""
        polls = 0
        try:
            while not self._closed:
                self._producer.poll(POLL_S)
                polls += 1
                if self._fatal:
                    self._replace()
                if polls % AGAIN_POLLS == 0:
                    for _ in range(len(self._again)):
                        self._hand_over(self._again.popleft())
        except BaseException as error:
            self._broken = error

    def _replace(self) -> None:
        """A new producer; what the old one held comes back as not acknowledged and is sent again."""
        with self._lock:
            self._producer.purge()
            self._producer.flush(FLUSH_S)
            self._producer, self._fatal = self._make(), False
