# SPDX-License-Identifier: Apache-2.0
"""What the tests of the wire begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.wire.agent_leases import Topic
from wire import leases
from wire.frames import Record


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    made = Topic()

    def follow(bootstrap: str, topics: list[str], after: Mapping[tuple[str, int], int]) -> Iterator[Record | None]:
        assert after == {("ns.agent-leases", 0): len(made.records) - 1}
        for record in made.to_come:
            made.now_s += 1
            yield record
        while True:
            made.now_s += 1
            yield None

    monkeypatch.setattr(leases, "bounds", lambda bootstrap, name: {0: (0, len(made.records))})

    def read(bootstrap: str, name: str, first: Mapping[int, int], missing: bool = False) -> Iterator[Record]:
        yield from made.records[first[0] :]
        made.records += made.told_later
        made.told_later = []

    monkeypatch.setattr(leases, "read_topic", read)
    monkeypatch.setattr(leases, "_LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(leases, "follow", follow)
    monkeypatch.setattr(leases, "RENEW_S", 0.01)
    return made
