# SPDX-License-Identifier: Apache-2.0
"""Threads for tools that block.

An attempt whose function got no thread in its time did not run, and is refused; the time of one that got it late begins
with it. No thread can be ended from outside: an attempt that times out while its function runs keeps its thread until
that returns. Such a thread is *stuck*. When all are, nothing that blocks can run any more, so attempts are refused at
once; and stderr, which is the TaskManager's log, says so. It ends when a function returns, or with the process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from threadlog.errors import Retryable

BLOCKING_THREADS = 32
NO_THREAD = (
    "all {threads} threads for blocking tools of this process are held by attempts that timed out and whose functions "
    "have not returned; give what such a tool calls a timeout below its timeout_s"
)


class BlockingThreads:
    """A pool of threads; `run` belongs to one event loop."""

    def __init__(self, threads: int = BLOCKING_THREADS, log: Callable[[str], object] | None = None) -> None:
        self._pool, self._threads = ThreadPoolExecutor(threads, "threadlog-blocking"), threads
        self._stuck = set[Future[Any]]()
        self._log = log or _to_stderr

    @property
    def stuck(self) -> int:
        """How many threads are held by attempts that nobody waits for."""
        return len(self._stuck)

    async def run(self, function: Callable[[], Any]) -> Any:
        """What the function returns, from a thread. Raises Retryable where all threads are stuck: it did not run."""
        if self.stuck >= self._threads:
            raise Retryable(NO_THREAD.format(threads=self._threads))
        future = self._pool.submit(function)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancel() and not future.done():  # it runs, and goes on
                self._leave(future)
            raise

    def close(self) -> None:
        """Begin nothing any more; what runs is left to itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, future: Future[Any]) -> None:
        self._stuck.add(future)
        if self.stuck == self._threads:
            self._log(NO_THREAD.format(threads=self._threads))
        future.add_done_callback(self._stuck.discard)


def _to_stderr(line: str) -> None:
    print(f"threadlog: {line}", file=sys.stderr, flush=True)
