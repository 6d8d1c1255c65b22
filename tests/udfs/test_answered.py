# SPDX-License-Identifier: Apache-2.0
"""What the log says is over, read from a topic in memory: as far back as it is asked, and each record once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import pytest

from schemas.codec import Codec, FixedSchemas
from schemas.errors import RegistryUnavailable
from tests.udfs.test_queueing import BEGAN_MS, ask
from udfs import answered
from udfs.answered import LOOK_BACK_MS, RESULT, Answered
from udfs.attempts import result_of
from wire.frames import Record

CODEC = Codec(FixedSchemas())


class Topic:
    """`tool-results`, one partition; its clock is a second a record."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.values, self.read_offsets = list[bytes](), list[int]()
        patch.setattr(answered, "bounds", lambda bootstrap, topic: {0: (0, len(self.values))})
        patch.setattr(answered, "offsets_since", lambda bootstrap, topic, time_ms: {0: self.offset_at(time_ms)})
        patch.setattr(answered, "TopicReader", lambda bootstrap, topic: self)

    def offset_at(self, time_ms: int) -> int:
        return min(max(0, (time_ms - BEGAN_MS) // 1_000), len(self.values))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None: ...

    def read(self, first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        for offset in range(first[0], end[0]):
            self.read_offsets.append(offset)
            yield Record("ns.tool-results", 0, offset, 0, b"t", self.values[offset], [])

    def add(self, number: int, status: str, **changed: Any) -> None:
        self.values.append(CODEC.encode(RESULT, {**result_of(ask(number), status, 1, []), **changed}))


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    return Topic(monkeypatch)


def asked(number: int, second: int) -> dict[str, Any]:
    """An ask of so many seconds after the first record."""
    return ask(number, clock_ms=BEGAN_MS + 1_000 * second + LOOK_BACK_MS)


def test_calls_are_over_that_were_done_or_did_not_happen(topic: Topic) -> None:
    """What is in doubt is not, for the same key may settle it; nor is what is forged, or no result at all."""
    for number, status in enumerate(("failed", "refused", "rejected", "done", "in_doubt")):
        topic.add(number, status)
    topic.add(5, "refused", thread="another")
    topic.values.append(b"junk")
    found = Answered("b", "ns", CODEC)
    assert [number for number in range(7) if found.has(asked(number, 0))] == [0, 1, 2, 3]


def test_answers_are_read_back_as_far_as_they_are_asked_and_nothing_twice(topic: Topic) -> None:
    """What comes after the first question is of this process itself."""
    for number in range(6):
        topic.add(number, "refused")
    found = Answered("b", "ns", CODEC)
    assert found.has(asked(5, 4)) and topic.read_offsets == [4, 5]
    assert not found.has(asked(1, 4)) and topic.read_offsets == [4, 5]
    topic.add(6, "refused")
    assert found.has(asked(2, 2)) and topic.read_offsets == [4, 5, 2, 3]
    assert not found.has(asked(6, 3)) and not found.has(asked(0, 2))
    assert found.has(asked(0, 0)) and sorted(topic.read_offsets) == [0, 1, 2, 3, 4, 5]


def test_look_that_breaks_off_is_made_anew_to_where_the_topic_ends_then(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was taken for dead may have answered meanwhile, and its agent asked under a new key."""
    topic.add(0, "done")
    found, decode = Answered("b", "ns", CODEC), CODEC.decode
    away = RegistryUnavailable("away")
    monkeypatch.setattr(CODEC, "decode", lambda value: (_ for _ in ()).throw(away))
    with pytest.raises(RegistryUnavailable):
        found.has(asked(1, 0))
    monkeypatch.setattr(CODEC, "decode", decode)
    topic.add(1, "refused")
    assert found.has(asked(1, 0)) and found.has(asked(0, 0))


def test_of_what_was_done_the_last_results_count(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done long ago is repeated under its key, so that memory is bounded; what did not happen never is."""
    monkeypatch.setattr(answered, "DONE_LAST", 2)
    for number, status in enumerate(("refused", "done", "done", "done", "failed")):
        topic.add(number, status)
    found = Answered("b", "ns", CODEC)
    assert found.has(asked(4, 4)) and found.has(asked(3, 3))
    assert [number for number in range(5) if found.has(asked(number, 0))] == [0, 3, 4]


def test_answer_to_an_ask_without_a_clock_goes_by_its_time(topic: Topic) -> None:
    """Asks of an older version have none; read from the beginning rather than too late."""
    topic.add(1, "refused")
    assert Answered("b", "ns", CODEC).has(ask(1, clock_ms=0, asked_ms=1_000))
