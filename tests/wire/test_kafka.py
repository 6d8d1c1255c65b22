# SPDX-License-Identifier: Apache-2.0
"""Offsets by time: what a broker does not tell is an error, and never "nothing there"."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from wire import kafka

TIME_MS = 1_700_000_000_000


def told(*places: tuple[int, int, KafkaError | None]) -> Any:
    """A consumer that answers with (partition, offset, error)."""
    found = [SimpleNamespace(partition=p, offset=offset, error=error) for p, offset, error in places]
    return SimpleNamespace(offsets_for_times=lambda asked, timeout: found, close=lambda: None)


@pytest.fixture(autouse=True)
def topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two partitions that end at 9."""
    monkeypatch.setattr(kafka, "bounds", lambda bootstrap, topic: {0: (0, 9), 1: (0, 9)})


def test_offsets_since_a_time_are_told_by_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is as late, the partition's end."""
    monkeypatch.setattr(kafka, "consumer", lambda bootstrap: told((0, 4, None), (1, -1, None)))
    assert kafka.offsets_since("b", "t", TIME_MS) == {0: 4, 1: 9}


@pytest.mark.parametrize("place", [(1, -1001, KafkaError(KafkaError._TIMED_OUT)), (1, TIME_MS, None)])
def test_offsets_since_a_time_that_are_not_told_are_an_error(monkeypatch: pytest.MonkeyPatch, place: Any) -> None:
    """A partition that failed, and one that the answer leaves out, which keeps what was asked for."""
    monkeypatch.setattr(kafka, "consumer", lambda bootstrap: told((0, 4, None), place))
    with pytest.raises(KafkaException):
        kafka.offsets_since("b", "t", TIME_MS)
