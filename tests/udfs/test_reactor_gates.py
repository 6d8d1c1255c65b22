# SPDX-License-Identifier: Apache-2.0
"""Calls of one quota key share its rate and its breaker; calls of another key have their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.udfs.acting import app_with, ask, clock, scripted
from tests.udfs.test_reactor import Sink
from threadlog import Quota, Retry
from udfs.attempts import BREAKER_FAILURES, BREAKER_PAUSE_S
from udfs.reactor import Reactor

CUT = ConnectionResetError("reset")


class Calls:
    """Calls of a tool that are made one after the other, each at once tried or after a pause that takes no time."""

    def __init__(self, *steps: Any, **options: Any) -> None:
        self.pauses, self.sink, self.number = list[float](), Sink(), 0
        app = app_with(scripted(*steps), retry=Retry(attempts=1), **options)
        self.reactor = Reactor(app, self.sink, clock, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def call(self, quota_key: str = "act") -> list[float]:
        """Make one to its end; the pauses before it was tried."""
        self.number += 1
        self.pauses.clear()
        self.reactor.fire(ask(call_id=f"{self.number:040}", quota_key=quota_key))
        self.sink.results.get(timeout=10)
        return list(self.pauses)


@pytest.fixture
def made() -> Iterator[list[Calls]]:
    found = list[Calls]()
    yield found
    for calls in found:
        calls.reactor.close()


def test_calls_of_one_quota_key_share_its_rate(made: list[Calls]) -> None:
    """At one a second the second waits one second and the third two, on a clock that stands still."""
    made.append(calls := Calls(*range(5), quota=Quota(rate_per_s=1)))
    assert [calls.call() for _ in range(3)] == [[], [1.0], [2.0]]
    assert [calls.call("act:other") for _ in range(2)] == [[], [1.0]]


def test_calls_of_one_quota_key_share_its_breaker(made: list[Calls]) -> None:
    """Behind so many calls that did not reach the callee each waits; an answer ends that."""
    made.append(calls := Calls(*[CUT] * BREAKER_FAILURES, 1, 2, 3))
    assert [calls.call() for _ in range(BREAKER_FAILURES)] == [[]] * BREAKER_FAILURES
    assert calls.call("act:other") == []
    assert (calls.call(), calls.call()) == ([BREAKER_PAUSE_S], [])
