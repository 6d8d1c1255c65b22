# SPDX-License-Identifier: Apache-2.0
"""What a broker does not acknowledge is no success: whoever sent it hears so, in a sentence and by the exit code."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from confluent_kafka import KafkaError

import ops.sending
from ops.sending import stable_id
from tests.ops.fakes import FakeKafka, run
from tests.threadlog.desk import Desk
from tests.udfs.fakes import FakeBroker, FakeProducer

TIMED_OUT = ("fails", KafkaError(KafkaError._MSG_TIMED_OUT))
REFUSED = ("raises", KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
LINES = b"".join(b'{"thread": "t", "data": {"text": "%d", "data": "{}"}}\n' % n for n in range(3))


class Client(FakeProducer):
    """A producer that says how much is left, as librdkafka does."""

    def flush(self, timeout: float) -> int:
        super().flush(timeout)
        return len(self.held)

    def __len__(self) -> int:
        return len(self.held)


@pytest.fixture
def broker(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    made = FakeBroker()
    monkeypatch.setattr(ops.sending, "producer", lambda bootstrap, log_level: Client(made))
    return made


SEND = ("send", "t", "hi")
FILE = ("send", "--file", "-")


def test_send_of_what_is_acknowledged_succeeds(broker: FakeBroker) -> None:
    """The rule to which the rest are exceptions."""
    assert (run(*SEND).exit_code, run(*FILE, input=LINES).exit_code, len(broker.taken)) == (0, 0, 4)


@pytest.mark.parametrize(
    ("troubles", "said"),
    [
        ((TIMED_OUT,), "). KafkaError"),
        ((("held",),), "1 of the events ("),
        ((REFUSED,), "does not take the event"),
    ],
    ids=["failed", "never told", "refused"],
)
def test_send_fails_where_its_event_is_not_acknowledged(broker: FakeBroker, troubles: Any, said: str) -> None:
    """Reported as failed, not reported at all within the time, or not taken."""
    broker.troubles += troubles
    told = run(*SEND)
    assert (told.exit_code, said in told.output, broker.taken) == (1, True, []), told.output


@pytest.mark.parametrize("trouble", [TIMED_OUT, ("held",)], ids=["failed", "never told"])
@pytest.mark.parametrize("given", [(), ("--id", "order 1")], ids=["own id", "given id"])
def test_event_that_is_not_acknowledged_can_be_sent_again(
    broker: FakeBroker, trouble: Any, given: tuple[str, ...]
) -> None:
    """Its id is told, and sent with that it is the same event, should the first arrive yet."""
    broker.troubles.append(trouble)
    told = run(*SEND, *given)
    again = shlex.split(told.stderr.partition("`")[2].partition("`")[0])
    assert (again[0], told.stderr.count(again[1]) >= 2 or "order 1" in again) == ("--id", True), told.output
    broker.back()
    assert run(*SEND, *again).exit_code == 0
    assert {dict(headers)["ce_id"].decode() for _, _, _, headers in broker.taken} == {again[1]}


def test_events_of_a_file_that_are_not_acknowledged_are_named(broker: FakeBroker) -> None:
    """A program is told of those that were, and of no other, that they were sent."""
    broker.troubles += [None, TIMED_OUT, ("held",)]
    told = run("--json", *FILE, input=LINES)
    ids = [stable_id(line + "\n") for line in LINES.decode().splitlines()]
    assert [json.loads(line)["sent"] for line in told.stdout.splitlines()] == ids[:1]
    error = json.loads(told.stderr)
    assert f"2 of the events ({ids[1]}, {ids[2]})." in error["error"]
    assert error["hint"].startswith("The same lines again are the same events.")


@pytest.mark.parametrize("place", range(3))
def test_send_fails_where_one_of_many_events_is_not_acknowledged(broker: FakeBroker, place: int) -> None:
    """Whichever it is: what is acknowledged behind it does not make up for it."""
    broker.troubles += [*[None] * place, TIMED_OUT]
    told = run(*FILE, input=LINES)
    assert (told.exit_code, "Not acknowledged" in told.output, len(broker.taken)) == (1, True, 2), told.output


def test_send_that_is_too_far_ahead_of_failures_ends(broker: FakeBroker) -> None:
    """Nobody waits for room in a queue whose records fail."""
    broker.troubles += [TIMED_OUT, ("full",), ("full",)]
    told = run(*FILE, input=LINES)
    assert (told.exit_code, "Not acknowledged" in told.output, broker.taken) == (1, True, []), told.output


@pytest.mark.parametrize("action", ["retry", "abandon"])
@pytest.mark.parametrize("trouble", [TIMED_OUT, ("held",)], ids=["failed", "never told"])
def test_command_to_a_parked_run_fails_where_it_is_not_acknowledged(
    broker: FakeBroker, journal: dict[str, Desk], action: str, trouble: Any
) -> None:
    """A person would wait for what nobody was asked to do."""
    broker.troubles.append(trouble)
    told = run("parked", action, "parked")
    assert (told.exit_code, "Not acknowledged" in told.output) == (1, True), told.output
    assert "Asked to" not in told.output
    assert run("parked", action, "parked").exit_code == 0
