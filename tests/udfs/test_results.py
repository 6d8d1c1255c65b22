# SPDX-License-Identifier: Apache-2.0
"""Results reach the log whatever the producer goes through, or the sink says that they do not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError

from schemas.cloudevents import read_headers
from schemas.codec import Codec, FixedSchemas
from tests.udfs.fakes import FakeBroker
from tests.udfs.test_queueing import ask
from udfs.attempts import result_of
from udfs.results import ResultSink, ResultsLost

CODEC = Codec(FixedSchemas())
TIMED_OUT, TOO_LARGE = KafkaError(KafkaError._MSG_TIMED_OUT), KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
FATAL = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True)
Start = Callable[[FakeBroker], ResultSink]


@pytest.fixture
def start() -> Iterator[Start]:
    """Sinks over a broker; closed after the test."""
    made: list[ResultSink] = []

    def sink(broker: FakeBroker) -> ResultSink:
        made.append(ResultSink(broker.producer, CODEC, "ns"))  # type: ignore[arg-type]
        return made[-1]

    yield sink
    for one in made:
        one.close()


def send(sink: ResultSink, n: int = 1) -> None:
    """The result of the ask number `n`."""
    asked = {**ask(n), "ask": 1, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    sink.send(asked, result_of(asked, "done", 7, [], value=n))


def eventually(true: Callable[[], Any]) -> None:
    """Wait for the sink's thread."""
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until
        time.sleep(0.001)


def values(broker: FakeBroker) -> set[str]:
    return {CODEC.decode(value)[2]["value"] for _, _, value, _ in broker.taken}


def lost(sink: ResultSink) -> str:
    """What the sink says of itself, or ""."""
    try:
        sink.check()
    except ResultsLost as error:
        return str(error)
    return ""


def test_result_is_a_record_of_its_thread(start: Start) -> None:
    """Keyed by the thread, under the call's key and quota, in the trace of its ask."""
    sink = start(broker := FakeBroker())
    send(sink)
    [(topic, key, value, headers)] = broker.taken
    envelope = read_headers(headers)
    assert (topic, key, CODEC.decode(value)[0]) == ("ns.tool-results", b"t", "threadlog.ToolResult")
    assert (envelope.idempotency_key, envelope.quota_key) == (ask(1)["call_id"], "pay")
    assert envelope.traceparent.startswith(f"00-{'a' * 32}-") and "b" * 16 not in envelope.traceparent


@pytest.mark.parametrize(
    "trouble",
    [("full",), ("fails", TIMED_OUT), ("raises", FATAL), ("fails", FATAL)],
    ids=["queue full", "timed out", "fatal at once", "fatal later"],
)
def test_result_is_sent_again_until_it_is_acknowledged(start: Start, trouble: Any) -> None:
    """A full queue, an outage, a producer that has failed for good: nothing is lost, and nobody waits in `send`."""
    sink = start(broker := FakeBroker(*[trouble] * 3))
    for n in range(5):
        send(sink, n)
    eventually(lambda: values(broker) == {"0", "1", "2", "3", "4"})
    assert lost(sink) == ""
    assert (len(broker.producers) > 1) == (trouble[-1] is FATAL)


def test_result_that_nobody_takes_costs_no_thread(start: Start) -> None:
    """Thousands of failed deliveries at once wait in one queue."""
    sink = start(broker := FakeBroker(*[("fails", TIMED_OUT)] * 2000))
    threads = [threading.active_count()]
    for n in range(2000):
        send(sink, n)
        threads.append(threading.active_count())

    def written() -> bool:
        threads.append(threading.active_count())
        return len(broker.taken) == 2000

    eventually(written)
    assert set(threads) == {threads[0]}


@pytest.mark.parametrize(
    "trouble",
    [("raises", TOO_LARGE), ("fails", FORBIDDEN), ("poll", RuntimeError("can't start new thread"))],
    ids=["too large", "forbidden", "the thread ends"],
)
def test_result_that_cannot_be_written_is_told(start: Start, trouble: Any) -> None:
    """What will not pass ends the task that looks: its calls are in hand here, and nobody would fire them again."""
    sink = start(FakeBroker(trouble))
    send(sink)
    eventually(lambda: lost(sink))
    assert str(trouble[1]) in lost(sink)


def test_sink_that_is_closed_has_written_what_was_taken(start: Start) -> None:
    """A graceful end loses no result of a finished call; closing twice is no error."""
    sink = start(broker := FakeBroker())
    send(sink)
    sink.close()
    sink.close()
    assert values(broker) == {"1"}


def test_result_that_was_not_written_is_given_up_with_its_sink(start: Start) -> None:
    """The producer lives on for minutes; a "no" that it wrote when the call has been fired again would be a lie."""
    sink = start(broker := FakeBroker(("held",)))
    send(sink)
    sink.close()
    broker.back()
    assert broker.taken == []
