# SPDX-License-Identifier: Apache-2.0
"""`threadlog audit sign --every`, which follows the journal, against a Kafka in memory and a clock that is played."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import ops.audit.signing
from tests.ops.audits import key_pair, paid
from tests.ops.fakes import FakeKafka, run
from tests.ops.test_audit_sign import stands


class Following:
    """A journal that grows while it is followed, and a clock that goes on by a second at every look."""

    def __init__(self, kafka: FakeKafka, steps: list[Any]) -> None:
        self.kafka, self.steps, self.clock = kafka, steps, count()

    def monotonic(self) -> float:
        return float(next(self.clock))

    def sleep(self, seconds: float) -> None:
        pass

    def time_ns(self) -> int:
        return 1_700_000_000_000_000_000

    def follow(self, bootstrap: str, topics: list[str], after: dict[tuple[str, int], int]) -> Any:
        places = dict(after)
        while self.steps:
            self.steps.pop(0)()  # may raise, as a broker that is away does
            for record in list(self.kafka.topics[topics[0]]):
                if record.offset > places.get((record.topic, record.partition), -1):
                    places[record.topic, record.partition] = record.offset
                    yield record
            yield from [None] * 20
        raise KeyboardInterrupt


def test_sign_every_so_often_signs_what_came(kafka: FakeKafka, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New heads as threads move, none where nothing came, and again after retention has cut."""
    made = paid(kafka)

    def send() -> None:
        made.send(order="o2")

    def nothing() -> None:
        pass

    following = Following(kafka, [send, nothing, lambda: kafka.cut("agent-decisions", 2), send])
    monkeypatch.setattr(ops.audit.signing, "time", following)
    monkeypatch.setattr(ops.audit.signing, "follow", following.follow)
    told = run("audit", "sign", "--key", str(key_pair(alone)), "--every", "5")
    assert (told.exit_code, told.stderr) == (0, "")
    assert stands(kafka) == [("t", 1, 3), ("t", 1, 4), ("t", 3, 4), ("t", 3, 5)]


@pytest.mark.parametrize("where", ["following", "writing"])
def test_sign_every_so_often_outlives_an_outage(
    kafka: FakeKafka, alone: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It tells of it, goes on, and signs what came meanwhile, once."""
    made = paid(kafka)
    gone = KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))

    def fails() -> None:
        made.send(order="o2")
        if where == "following":
            raise gone
        write, broken = ops.audit.signing._write, [True]

        def once(*given: Any) -> None:
            if broken and broken.pop():
                raise gone
            write(*given)

        monkeypatch.setattr(ops.audit.signing, "_write", once)

    following = Following(kafka, [fails, lambda: made.send(order="o3")])
    monkeypatch.setattr(ops.audit.signing, "time", following)
    monkeypatch.setattr(ops.audit.signing, "follow", following.follow)
    told = run("audit", "sign", "--key", str(key_pair(alone)), "--every", "5")
    assert (told.exit_code, told.stdout.count("Nothing can be signed now: ")) == (0, 1), told.output
    assert stands(kafka) == [("t", 1, 3), ("t", 1, 4), ("t", 1, 5)]
