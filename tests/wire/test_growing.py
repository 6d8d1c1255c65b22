# SPDX-License-Identifier: Apache-2.0
"""What the stack's tests have read of a topic, where a reading breaks off in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaException

from ops.settings import Settings
from tests.stack import follower


class Broken:
    """A reader of a topic with two records, whose first reading ends between them."""

    readings = 0

    def __init__(self, *_: str) -> None:
        pass

    def __enter__(self) -> Broken:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def marks(self) -> dict[int, tuple[int, int]]:
        return {0: (0, 2)}

    def read(self, first: dict[int, int], end: dict[int, int]) -> Iterator[Any]:
        Broken.readings += 1
        for offset in range(first[0], end[0]):
            if offset and Broken.readings == 1:
                raise KafkaException("silent")
            yield offset


def test_growing_has_each_record_once_though_a_reading_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before it broke off is read again, and would be there twice."""
    monkeypatch.setattr(follower, "TopicReader", Broken)
    growing = follower.Growing(Settings(), "agent-events")
    with pytest.raises(KafkaException):
        growing.records()
    assert [growing.records(), growing.records()] == [[0, 1], [0, 1]]
