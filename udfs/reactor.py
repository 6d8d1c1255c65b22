# SPDX-License-Identifier: Apache-2.0
"""The reactor: one asyncio loop in a thread of its own, where tools run. Nothing here waits in Flink's thread.

Globals and threads outlive a task in its process, and `close()` may never run. So there is one reactor per operator and
process, and a new attempt of the task ends what the one before it left running; its calls are fired again under their
keys. A reactor that has ended, or whose results cannot be written, says so to whoever asks it for anything: the task
fails, and Flink starts it again. To take a call and do nothing with it would hold its slot for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from threadlog.app import App
from udfs.attempts import CallRun, Clock, Gate, Sleep, result_of
from udfs.blocking import BlockingThreads

GATES_MAX = 1_000  # quota keys with a tenant come and go: when there are more, those that nobody waits at are forgotten
END_S = 1.0  # for tools to hear that they are cancelled; one that does not listen is left behind
JOIN_S = 10.0  # for a tool that holds up the loop
BEAT_S, SILENT_S = 1.0, 30.0  # the loop shows that it goes round; after so long without, a tool holds it up
_current: dict[str, Reactor] = {}


def now_ms() -> int:
    """Unix epoch in milliseconds."""
    return int(time.time() * 1000)


class Sink(Protocol):
    """Where results go. `send` may be called from any thread and must not lose a result."""

    def send(self, ask: dict[str, Any], result: dict[str, Any]) -> None: ...
    def check(self) -> None:
        """Raises where a result cannot be written, now or ever."""

    def close(self) -> None: ...


class ReactorEnded(RuntimeError):
    """The task must be started again: its reactor takes no more calls."""


@dataclass(eq=False)
class Firing:
    """An ask that was fired. over: another process has answered it, so no further attempt is to begin."""

    ask: dict[str, Any]
    again: bool
    over: bool = False


class Reactor:
    """Fires asks; each ends as exactly one result per firing. Thread-safe.

    `fire`, `answer` and `in_hand` raise ReactorEnded when nothing would come of it.
    """

    def __init__(self, app: App, sink: Sink, clock: Clock = now_ms, sleep: Sleep = asyncio.sleep) -> None:
        self._app, self._sink, self._clock, self._sleep = app, sink, clock, sleep
        self._gates: dict[str, Gate] = {}
        self._gates_max = GATES_MAX
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_hand: set[str] = set()
        self._fired: dict[str, Firing] = {}
        self._beat_s = time.monotonic()
        self._lost: BaseException | None = None
        self._closed = False
        self._threads = BlockingThreads()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="threadlog-reactor", daemon=True)
        self._thread.start()

    def fire(self, ask: dict[str, Any], again: bool = False) -> None:
        """Begin a call. `again`: an earlier process may have made an attempt whose end nobody knows."""
        self._check()
        self._in_hand.add(ask["call_id"])
        firing = self._fired[ask["call_id"]] = Firing(ask, again)
        self._loop.call_soon_threadsafe(self._begin, firing)

    def answer(self, ask: dict[str, Any], status: str, reason: str) -> None:
        """End a call without an attempt."""
        self._check()
        self._in_hand.add(ask["call_id"])
        self._sink.send(ask, result_of(ask, status, self._clock(), [], error=NotTried(reason)))

    def in_hand(self) -> frozenset[str]:
        """What was fired here and has not come back through the log."""
        self._check()
        return frozenset(self._in_hand)

    def forget(self, call_id: str) -> None:
        """Its result has come back through the log; if it is of another process, this one makes no further attempt."""
        self._in_hand.discard(call_id)
        if (firing := self._fired.pop(call_id, None)) is not None:
            firing.over = True

    def close(self) -> None:
        """End all calls without results; whoever takes over fires them again. Safe to repeat."""
        self._closed = True
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(JOIN_S)
        self._threads.close()
        self._sink.close()

    def _check(self) -> None:
        if self._closed:
            raise ReactorEnded(
                "this task was closed, or another task of the tools job has opened in its process and took over: "
                "a TaskManager must have one slot (taskmanager.numberOfTaskSlots: 1)"
            )
        if self._lost is not None or not self._thread.is_alive():
            raise ReactorEnded(f"calls were lost here and are fired again: {self._lost!r}") from self._lost
        if (silent_s := time.monotonic() - self._beat_s) > SILENT_S:
            held = ", ".join(sorted({firing.ask["tool"] for firing in self._fired.values()}))
            raise ReactorEnded(
                f"no tool has gone on for {silent_s:.0f} s: one of {held} holds up the loop of all `async def` tools; "
                f"what blocks belongs into a plain `def` tool, which has a thread of its own"
            )
        self._sink.check()

    def _work(self) -> None:
        """The thread. The loop goes on for the other calls when a tool stops it, or ends a task of its own."""
        self._loop.call_soon(self._beat)
        while not self._closed:
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue
            except BaseException as error:
                self._lost = error
                break
        with contextlib.suppress(BaseException):
            self._loop.run_until_complete(self._end())
        with contextlib.suppress(Exception):
            self._loop.close()

    def _beat(self) -> None:
        self._beat_s = time.monotonic()
        self._loop.call_later(BEAT_S, self._beat)

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_S)
        await self._loop.shutdown_asyncgens()

    def _begin(self, firing: Firing) -> None:
        task = self._loop.create_task(self._run(firing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, firing: Firing) -> None:
        try:
            result = await self._result(firing)
            # Of a call that another process has answered only a success is news; for all else its answer stands.
            if not self._closed and (not firing.over or result["status"] == "done"):
                self._sink.send(firing.ask, result)
        except BaseException as error:
            if self._closed:
                raise
            self._lost = error

    async def _result(self, firing: Firing) -> dict[str, Any]:
        ask, tool = firing.ask, self._app.tools[firing.ask["tool"]]
        with self._gate(ask["quota_key"], tool.quota.rate_per_s) as gate:
            call = CallRun(tool, ask, gate, self._clock, self._sleep, self._threads.run, lambda: firing.over)
            try:
                if firing.again:
                    call.note_cut_off()
                    if tool.quota.strict:  # what the dead process began may still be running there
                        await self._sleep(tool.timeout_s)
                return await call.run()
            except BaseException as error:  # a mistake of ours, or a tool that cancels what is not its own
                if self._closed:
                    raise
                return call.result("failed" if ask["effect"] == "read" else "in_doubt", error=error)

    @contextlib.contextmanager
    def _gate(self, quota_key: str, rate_per_s: float | None) -> Iterator[Gate]:
        """The gate of a quota key, kept at least as long as a call is under way there."""
        if quota_key not in self._gates and len(self._gates) >= self._gates_max:
            now = self._clock()
            self._gates = {key: gate for key, gate in self._gates.items() if gate.users or gate.next_ms > now}
            self._gates_max = max(GATES_MAX, 2 * len(self._gates))
        gate = self._gates.setdefault(quota_key, Gate(rate_per_s, self._clock, self._sleep))
        gate.users += 1
        try:
            yield gate
        finally:
            gate.users -= 1


class NotTried(Exception):
    """A call that was answered without an attempt; the message says why."""


def take_over(name: str, make: Callable[[], Reactor]) -> Reactor:
    """The reactor of this attempt of an operator, after ending the one of the attempt before it in this process."""
    before = _current.pop(name, None)
    if before is not None:
        before.close()
    _current[name] = make()
    return _current[name]
