# SPDX-License-Identifier: Apache-2.0
"""The broker's own records of transactions, read as far as every version of them begins alike."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from wire import transactions
from wire.frames import Record
from wire.transactions import Open, StableEnds, open_transactions


def record(name: str, state: int | None, at: int = 0, version: int = 0) -> Record:
    """What the broker writes of a transaction; without a state it forgets it."""
    key = struct.pack(">hh", 0, len(name)) + name.encode()
    value = None if state is None else struct.pack(">hqhib", version, 7, 3, 6_000, state) + b"\0" * 30
    return Record("__transaction_state", 0, at, 100 + at, key, value, [])


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    made: list[Record] = []
    monkeypatch.setattr(transactions, "read_topic", lambda bootstrap, topic: iter(made))
    return made


def found(prefix: str = "n-conversation") -> list[Open]:
    return open_transactions("b:1", prefix)


@pytest.mark.parametrize("version", [0, 1])
def test_transactions_open_are_listed(log: list[Record], version: int) -> None:
    """By name, with how long they are unchanged and how long the broker waits, in whatever version they are told."""
    log += [record("n-conversation-0-1", 1, 5, version), record("n-conversation-0-0", 3, 6, version)]
    assert found() == [
        Open("n-conversation-0-0", "to be aborted", 106, 6_000),
        Open("n-conversation-0-1", "ongoing", 105, 6_000),
    ]


@pytest.mark.parametrize("state", [0, 4, 5, 6, None])
def test_transactions_that_have_ended_are_not(log: list[Record], state: int | None) -> None:
    """The last record of a name counts."""
    log += [record("n-conversation-0-0", 1), record("n-conversation-0-0", state, 1)]
    assert found() == []


def test_transactions_of_others_are_not(log: list[Record]) -> None:
    """Neither another namespace's whose name begins alike, nor what is no such record."""
    log += [record("n-conversation2-0-0", 1), record("m-conversation-0-0", 1)]
    log += [Record("__transaction_state", 0, 1, 1, b"\0\1\0\1x", b"", []), Record("__t", 0, 1, 1, None, None, [])]
    assert found() == []


@pytest.mark.parametrize(
    "broken",
    [
        None,
        SimpleNamespace(error=None, partitions={}),
        SimpleNamespace(error=KafkaError(KafkaError.LEADER_NOT_AVAILABLE), partitions={0: None}),
    ],
    ids=["not there", "no partitions", "no leader"],
)
def test_stable_ends_are_told_of_all_topics_or_of_none(monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    """Of a topic that the broker does not know yet it is not told that nothing is open."""
    topics: dict[str, Any] = {"a": SimpleNamespace(error=None, partitions={0: None, 1: None})}
    ends = StableEnds("b:1", ["a", "b"])
    monkeypatch.setattr(ends, "_admin", SimpleNamespace(list_topics=lambda timeout: SimpleNamespace(topics=topics)))
    monkeypatch.setattr(ends, "_latest", lambda places, isolation: {(one.topic, one.partition): 7 for one in places})
    topics |= {} if broken is None else {"b": broken}
    with pytest.raises(KafkaException, match="b is not there"):
        ends.look()
    topics["b"] = SimpleNamespace(error=None, partitions={0: None})
    assert ends.look() == {("a", 0): (7, 7), ("a", 1): (7, 7), ("b", 0): (7, 7)}
