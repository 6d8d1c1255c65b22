# SPDX-License-Identifier: Apache-2.0
"""Four elements through PyFlink's AsyncDataStream, two of whose coroutines raise; prints those that came out as JSON.

Run as `python -m tests.jobs.async_loss`: a bounded job in a process of its own, because a JVM comes with it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

from pyflink.common import Configuration, Time, Types
from pyflink.datastream import AsyncDataStream, AsyncFunction, FlatMapFunction, StreamExecutionEnvironment

ELEMENTS = 4


class Burst(FlatMapFunction):  # type: ignore[misc]
    """The elements at once, then quiet in the same bundle: what a source does whose next record takes a moment."""

    def flat_map(self, count: int) -> Iterator[int]:
        """0 to count - 1."""
        yield from range(count)
        time.sleep(2)


class OddOnesRaise(AsyncFunction):  # type: ignore[misc]
    """Waits until it has all elements in hand; then the even ones have results, and the odd ones raise."""

    def __init__(self) -> None:
        self.in_hand = 0
        self.all_here = asyncio.Event()

    async def async_invoke(self, value: int) -> list[int]:
        """The element, or ValueError."""
        self.in_hand += 1
        if self.in_hand == ELEMENTS:
            self.all_here.set()
        await self.all_here.wait()
        if value % 2:
            raise ValueError(f"no {value}")
        return [value]

    def timeout(self, value: int) -> list[int]:
        """What comes out for an element that takes too long."""
        return [-value]


def main() -> None:
    """Run the job. Raises when Flink says that it failed."""
    settings = {"restart-strategy.type": "none", "python.execution-mode": "process"}
    settings |= {"python.executable": sys.executable, "python.client.executable": sys.executable}
    configuration = Configuration()
    for key, value in settings.items():
        configuration.set_string(key, value)
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    env.set_parallelism(1)
    elements = env.from_collection([ELEMENTS], Types.INT()).flat_map(Burst(), Types.INT())
    out = AsyncDataStream.unordered_wait(elements, OddOnesRaise(), Time.seconds(30), 100, Types.INT())
    with out.execute_and_collect("async-loss") as results:
        print(json.dumps(sorted(results)))


if __name__ == "__main__":
    main()
