# SPDX-License-Identifier: Apache-2.0
"""Records in, committed records out: a phase is sent as fast as the broker takes it, and over when all of it came."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.mix import Sent
from ops.context import Trouble
from wire.kafka import consumer, producer

STALLED_S = 60
_POLL_S = 0.05
_BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Committed:
    """One committed record; `at_s` is the broker's clock when it was appended, `seen_s` ours when it could be read."""

    partition: int
    offset: int
    at_s: float
    value: bytes
    seen_s: float


@dataclass
class Follower:
    """Keeps every committed record of a topic from now on."""

    bootstrap: str
    topic: str
    seen: list[Committed] = field(default_factory=list)

    def __enter__(self) -> Follower:
        self._stop = threading.Event()
        self._reader: Consumer = consumer(self.bootstrap, "bench")
        self._reader.assign(ends(self._reader, self.topic))
        self._thread = threading.Thread(target=self._run, name=f"follow {self.topic}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            # A single poll first: `consume` waits for a whole batch, which would look like latency.
            first = self._reader.poll(_POLL_S)
            messages = [] if first is None else [first, *self._reader.consume(_BATCH, 0)]
            now = time.time()
            for message in messages:
                if message.error() is None:
                    place = message.partition() or 0, message.offset() or 0
                    self.seen.append(Committed(*place, message.timestamp()[1] / 1000, message.value() or b"", now))

    def wait(self, count: int) -> None:
        """Wait until so many records were seen. Raises Trouble when none came for a minute."""
        last, since = len(self.seen), time.monotonic()
        while len(self.seen) < count:
            time.sleep(_POLL_S / 5)
            if len(self.seen) > last:
                last, since = len(self.seen), time.monotonic()
            elif time.monotonic() - since > STALLED_S:
                raise Trouble(f"{self.topic} has {last} of {count} records, and none came for {STALLED_S} s.")

    def reached(self, count: int, until: float) -> bool:
        """Wait until so many records were seen, or the clock (time.monotonic) says `until`; whether they were."""
        while len(self.seen) < count and time.monotonic() < until:
            time.sleep(_POLL_S / 5)
        return len(self.seen) >= count


def ends(reader: Consumer, topic: str) -> list[TopicPartition]:
    """Where each partition of a topic ends now, after its last committed record."""
    partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
    highs = {p: reader.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
    return [TopicPartition(topic, partition, high) for partition, high in highs.items()]


class Feeder:
    """Sends what was encoded before."""

    def __init__(self, bootstrap: str, namespace: str) -> None:
        self._producer: Producer = producer(bootstrap)
        self._names = f"{namespace}."

    def send(self, records: Iterable[Sent]) -> None:
        """Send all and wait until the broker has them. Raises Trouble when it does not take them."""
        for topic, key, value, headers in records:
            while True:
                try:
                    self._producer.produce(self._names + topic, value, key, headers=headers)  # type: ignore[arg-type]
                    break
                except BufferError:
                    self._producer.poll(_POLL_S)
        if self._producer.flush(STALLED_S):
            raise Trouble("The broker did not take all records within a minute.")

    def close(self) -> None:
        """Let go of the broker: a producer that is left would ask for it again and again when it is gone."""
        self._producer.purge()  # else it would first wait for what nobody waits for any more
        self._producer.close()
