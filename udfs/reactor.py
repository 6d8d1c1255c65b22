# SPDX-License-Identifier: Apache-2.0
"""The reactor: one asyncio loop in a thread of its own, where tools run. Nothing here waits in Flink's thread.

Globals and threads outlive a task in its process, and `close()` may never run. So there is one reactor per operator and
process, and a new attempt of the task ends what the one before it left running; its calls are fired again under their
keys.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from threadlog.app import App
from udfs.attempts import CallRun, Clock, Gate, Sleep, result_of

BLOCKING_THREADS = 32
_current: dict[str, Reactor] = {}


def now_ms() -> int:
    """Unix epoch in milliseconds."""
    return int(time.time() * 1000)


class Sink(Protocol):
    """Where results go. `send` may be called from any thread and must not lose a result."""

    def send(self, ask: dict[str, Any], result: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class Reactor:
    """Fires asks; each ends as exactly one result per firing. Thread-safe."""

    def __init__(self, app: App, sink: Sink, clock: Clock = now_ms, sleep: Sleep = asyncio.sleep) -> None:
        self._app, self._sink, self._clock, self._sleep = app, sink, clock, sleep
        self._gates: dict[str, Gate] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_hand: set[str] = set()
        self._closed = False
        self._pool = ThreadPoolExecutor(BLOCKING_THREADS, "threadlog-blocking")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="threadlog-reactor", daemon=True)
        self._thread.start()

    def fire(self, ask: dict[str, Any], again: bool = False) -> None:
        """Begin a call. `again`: an earlier process may have made an attempt whose end nobody knows."""
        self._in_hand.add(ask["call_id"])
        self._loop.call_soon_threadsafe(self._begin, ask, again)

    def answer(self, ask: dict[str, Any], status: str, reason: str) -> None:
        """End a call without an attempt."""
        self._in_hand.add(ask["call_id"])
        self._sink.send(ask, result_of(ask, status, self._clock(), [], error=NotTried(reason)))

    def in_hand(self) -> frozenset[str]:
        """What was fired here and has not come back through the log."""
        return frozenset(self._in_hand)

    def forget(self, call_id: str) -> None:
        """Its result has come back through the log."""
        self._in_hand.discard(call_id)

    def close(self) -> None:
        """End all calls without results; whoever takes over fires them again."""
        self._closed = True
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(timeout=10)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._sink.close()

    def _begin(self, ask: dict[str, Any], again: bool) -> None:
        task = self._loop.create_task(self._run(ask, again))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, ask: dict[str, Any], again: bool) -> None:
        tool = self._app.tools[ask["tool"]]
        if again and tool.quota.strict:  # what the dead process began may still be running there
            await self._sleep(tool.timeout_s)
        gate = self._gates.setdefault(ask["quota_key"], Gate(tool.quota.rate_per_s, self._clock, self._sleep))
        call = CallRun(tool, ask, gate, self._clock, self._sleep, self._blocking)
        if again:
            call.note_cut_off()
        try:
            result = await call.run()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a mistake of ours must not cost the element
            result = call.result("failed" if ask["effect"] == "read" else "in_doubt", error=error)
        if not self._closed:
            self._sink.send(ask, result)

    async def _blocking(self, function: Callable[[], Any]) -> Any:
        return await self._loop.run_in_executor(self._pool, function)

    def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._loop.call_soon(self._loop.stop)


class NotTried(Exception):
    """A call that was answered without an attempt; the message says why."""


def take_over(name: str, make: Callable[[], Reactor]) -> Reactor:
    """The reactor of this attempt of an operator, after ending the one of the attempt before it in this process."""
    before = _current.pop(name, None)
    if before is not None:
        before.close()
    _current[name] = make()
    return _current[name]
