# SPDX-License-Identifier: Apache-2.0
"""One run, driven by `send`: the coroutine of a handler, its branches, and the order in which answers reach it.

A run advances in *deliveries*: the start, then one outcome (a call's result, an event, a timer) after the other. Each
delivery lets the handler go on until every branch waits again, and yields what it *asked* for on the way. To go on
after an eviction the handler is executed again from its start and fed the recorded outcomes in the order in which they
came; what it asks for must then be what the log says it asked for, item by item.

Ordinals follow the branch: the second request of a handler is "1", the third request of the first branch of a gather
at "2" is "2.0.2". They depend on the code's path alone, never on which answer came first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from threadlog.asked import Allowed, Asked, ask, can_be_asked
from threadlog.errors import ForeignAwait, LimitError
from threadlog.limits import Limits
from threadlog.memory import Past, check_vars
from threadlog.requests import Gather, Reply, Request, Spawn
from threadlog.thread import Clock

_CLOSE_TRIES = 100  # a handler may swallow GeneratorExit in nested `finally` blocks, but not for ever


@dataclass(slots=True, eq=False)
class _Group:
    """An open gather: who waits for it, what came back so far."""

    parent: _Task
    results: list[Any]
    missing: int
    return_exceptions: bool
    settled: bool = False


@dataclass(slots=True, eq=False)
class _Task:
    """One branch of the handler."""

    prefix: str
    coroutine: Coroutine[Any, Any, Any]
    group: _Group | None = None
    index: int = 0
    next: int = 0


async def _await(item: Any) -> Any:
    return await item


@dataclass(eq=False, slots=True)
class Execution:
    """The live coroutine of one run. A cache of what the log holds; never the truth."""

    coroutine: Coroutine[Any, Any, Any]
    limits: Limits
    clock: Clock
    vars: dict[str, Any]
    allowed: Allowed
    past: Past
    event_bytes: int = 0  # of the event that it began with, as JSON
    deliveries: int = 0
    finished: bool = False
    error: BaseException | None = None
    waiting: dict[str, Request[Any]] = field(default_factory=dict)
    _owners: dict[str, _Task] = field(default_factory=dict)
    _ready: deque[tuple[_Task, Any, BaseException | None]] = field(default_factory=deque)
    _tasks: set[_Task] = field(default_factory=set)
    _asked: list[Asked] = field(default_factory=list)
    _steps: int = 0

    def __post_init__(self) -> None:
        main = _Task("", self.coroutine)
        self._tasks.add(main)
        self._ready.append((main, None, None))

    def start(self) -> list[Asked]:
        """The first delivery: run the handler to its first wait. Returns what it asked for, in order."""
        return self._drive()

    def deliver(self, ordinal: str, value: Any, error: BaseException | None, now_ms: int) -> list[Asked]:
        """Answer the request that waits at `ordinal` and go on. Returns what was asked for on the way.

        An answer for a branch that no longer waits is without effect (the run may have ended, or its gather failed).
        """
        self.clock.now_ms = now_ms
        task = self._owners.pop(ordinal, None)
        self.waiting.pop(ordinal, None)
        if task is not None and not self.finished:
            self._ready.append((task, value, error))
        return self._drive()

    def close(self) -> None:
        """End every coroutine in dead mode: `finally` blocks run, but what they ask for reaches nobody."""
        self.finished = True
        for task in sorted(self._tasks, key=lambda task: task.prefix):
            _close(task.coroutine)
        self._tasks.clear()
        self._owners.clear()
        self.waiting.clear()
        self._ready.clear()

    def _drive(self) -> list[Asked]:
        self.deliveries += 1
        self._asked = []
        while self._ready and not self.finished:
            task, value, error = self._ready.popleft()
            self._resume(task, value, error)
        if self.finished:
            self.close()
        return self._asked

    def _resume(self, task: _Task, value: Any, error: BaseException | None) -> None:
        self.clock.branch = task.prefix
        try:
            request = task.coroutine.throw(error) if error is not None else task.coroutine.send(value)
        except StopIteration as stop:
            self._ended(task, stop.value, None)
        except KeyboardInterrupt:
            raise  # a person at a terminal
        except BaseException as raised:  # whatever a handler raises ends its run, not the job
            self._ended(task, None, ForeignAwait("an event loop") if _wants_a_loop(raised) else raised)
        else:
            try:
                self._ask(task, request)
            except Exception as refusal:  # the branch hears what is wrong with its request
                self._ready.append((task, None, refusal))

    def _ended(self, task: _Task, value: Any, error: BaseException | None) -> None:
        self._tasks.discard(task)
        group = task.group
        if group is None:
            self.finished, self.error = True, error
            return
        group.missing -= 1
        group.results[task.index] = error if error is not None else value
        if group.settled:
            return
        if error is not None and not (group.return_exceptions and isinstance(error, Exception)):
            group.settled = True
            self._ready.append((group.parent, None, error))
        elif group.missing == 0:
            group.settled = True
            self._ready.append((group.parent, tuple(group.results), None))

    def _ask(self, task: _Task, request: Any) -> None:
        self._count()
        if not can_be_asked(request):
            raise ForeignAwait(type(request).__name__)
        ordinal = f"{task.prefix}{task.next}"
        task.next += 1
        if isinstance(request, Gather):
            self._branch(task, ordinal, request)
            return
        asked = ask(ordinal, request, self.allowed, self.limits)
        if isinstance(request, Reply | Spawn):
            self._ready.append((task, None, None))
        else:
            if self.vars:  # they are saved when the handler waits: here it can still be told
                check_vars(self.vars, self.limits)
            waiting = len(self.waiting) + self.allowed.calls_open
            if waiting >= self.limits.open_calls_max:
                raise LimitError("open_calls_max", waiting + 1, self.limits.open_calls_max)
            self.waiting[ordinal] = request
            self._owners[ordinal] = task
        self._asked.append(asked)

    def _count(self) -> None:
        self._steps += 1
        if self._steps > self.limits.run_steps_max:
            self._over("run_steps_max", self._steps, self.limits.run_steps_max)
        if len(self._asked) >= self.limits.burst_requests_max:
            self._over("burst_requests_max", len(self._asked) + 1, self.limits.burst_requests_max)

    def _over(self, limit: str, value: int, maximum: int) -> None:
        error = LimitError(limit, value, maximum)
        if value > maximum + 10:  # a handler that catches it in a loop would never give the operator back
            self.finished, self.error = True, error
        raise error

    def _branch(self, task: _Task, ordinal: str, request: Gather[Any]) -> None:
        if not request.branches:
            self._ready.append((task, (), None))
            return
        if len({id(branch) for branch in request.branches}) != len(request.branches):
            raise RuntimeError("gather was given the same awaitable twice")
        group = _Group(task, [None] * len(request.branches), len(request.branches), request.return_exceptions)
        for index, branch in enumerate(request.branches):
            child = _Task(f"{ordinal}.{index}.", _await(branch), group, index)
            self._tasks.add(child)
            self._ready.append((child, None, None))


def _wants_a_loop(raised: BaseException) -> bool:
    """Whether asyncio refused to work without its loop: it says so before we see that something foreign is awaited."""
    return type(raised) is RuntimeError and raised.args == ("no running event loop",)


def _close(coroutine: Coroutine[Any, Any, Any]) -> None:
    for _ in range(_CLOSE_TRIES):
        try:
            coroutine.close()
            return
        except RuntimeError:
            continue  # it awaited something while being closed: close again
        except BaseException:  # what a dead handler raises is nobody's business
            return
