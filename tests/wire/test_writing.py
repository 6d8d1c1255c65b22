# SPDX-License-Identifier: Apache-2.0
"""Records that are written whole, or not said to be: over a producer in memory."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.udfs.fakes import FakeBroker, FakeProducer
from wire import writing
from wire.writing import Writing

TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    made = FakeBroker()
    monkeypatch.setattr(writing, "producer", made.producer)
    return made


def send(count: int) -> int:
    """Write so many records; the offset of the last."""
    with Writing("b") as to:
        for number in range(count):
            to.send("t", b"%d" % number, b"k", [("h", b"v")])
    return to.offset


def test_writing_ends_with_every_record_acknowledged(broker: FakeBroker) -> None:
    """In order, each once, also where the producer was full for a while; the last one's offset is known."""
    broker.troubles = [None, ("full",), ("full",), None]
    assert send(3) == 2
    assert broker.taken == [("t", b"k", b"%d" % number, [("h", b"v")]) for number in range(3)]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_writing_raises_for_a_record_that_is_not_acknowledged(broker: FakeBroker, at: int) -> None:
    """Whichever it is, the last one of all included, which is reported only by the flush."""
    broker.troubles = [None] * at + [("fails", TIMED_OUT)]
    with pytest.raises(KafkaException) as raised:
        send(3)
    assert raised.value.args[0] is TIMED_OUT


def test_writing_hands_over_nothing_after_a_failure(broker: FakeBroker) -> None:
    """What the producer reports while it still takes records ends the writing."""
    broker.troubles = [("fails", TIMED_OUT)]
    with pytest.raises(KafkaException):
        send(10)
    assert broker.taken == []


def test_writing_raises_where_the_flush_leaves_records(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is silent says nothing of a failure either."""
    monkeypatch.setattr(FakeProducer, "poll", lambda self, timeout: None)
    monkeypatch.setattr(FakeProducer, "flush", lambda self, timeout: 2)
    with pytest.raises(KafkaException, match="2 records were not acknowledged"):
        send(2)


def test_writing_keeps_the_error_of_its_owner(broker: FakeBroker) -> None:
    """It is not replaced by that of a record that failed besides."""
    broker.troubles = [("fails", TIMED_OUT)]
    with pytest.raises(ValueError, match="mine"), Writing("b") as to:
        to.send("t", b"", b"k")
        raise ValueError("mine")
