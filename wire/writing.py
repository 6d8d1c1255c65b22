# SPDX-License-Identifier: Apache-2.0
"""Records written so that whoever goes on knows that the broker has them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.limits import JOURNAL_MESSAGE_BYTES
from wire.kafka import SILENT, producer

_FLUSH_S = 60.0
Header = tuple[str, bytes | None]


class Writing:
    """`with Writing(bootstrap) as to: to.send(…)` ends only when every record is acknowledged, and raises otherwise.

    Records of one partition are written in the order in which they were sent. `offset`: of the record that was
    acknowledged last. Raises KafkaException, from `send` as soon as it is known and at the latest at the end; what was
    sent may lie in the log all the same."""

    def __init__(self, bootstrap: str) -> None:
        self._sender: Producer = producer(
            bootstrap, SILENT, JOURNAL_MESSAGE_BYTES
        )  # of all topics' records the largest
        self._failed: KafkaError | None = None
        self.offset = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        left = self._sender.flush(_FLUSH_S)
        if kind is None:
            self._check()
            if left:
                said = f"{left} records were not acknowledged within {_FLUSH_S:g} s"
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, said))

    def send(
        self, topic: str, value: bytes | None, key: bytes | None, headers: Sequence[Header] = (), partition: int = -1
    ) -> None:
        """Hand over a record, for the partition of its key unless it is given; waits while the producer is full."""
        while True:
            self._check()
            try:
                self._sender.produce(
                    topic, value, key, partition=partition, headers=list(headers), on_delivery=self._delivered
                )
                self._sender.poll(0)
                return
            except BufferError:
                self._sender.poll(0.1)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.offset = message.offset() or 0
        else:
            self._failed = self._failed or error

    def _check(self) -> None:
        if self._failed is not None:
            raise KafkaException(self._failed)
