# SPDX-License-Identifier: Apache-2.0
"""At which line of a handler a request was asked for.

Nothing of this runs while decisions are made: a decision that differs from the log is made once more with handlers
that are watched. A watched handler asks for the same, in the same order and at the same ordinals (`_Watch` counts them
as `Execution` does); on the way the line is noted at which it waits.
"""

from __future__ import annotations

import copy
from collections.abc import Coroutine, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from threadlog.app import Agent, App, Handler
from threadlog.requests import Gather, Request
from threadlog.thread import Event, Thread

_OURS = __file__.rpartition("/")[0] + "/"  # the lines of this package are nobody's handler


class Place(msgspec.Struct, frozen=True):
    """A line of user code: file as Python names it, line from 1, and the function that it is in."""

    file: str
    line: int
    function: str


@dataclass(eq=False)
class Places:
    """What watched handlers did. Keys are (run id, ordinal)."""

    asked: dict[tuple[str, str], tuple[Place | None, Request[Any]]] = field(default_factory=dict)
    last: Place | None = None
    raised: Place | None = None

    def of(self, run_id: str, ordinal: str) -> Place | None:
        """Where the request at this ordinal was asked for."""
        return self.asked.get((run_id, ordinal), (None, None))[0]


def watched(app: App, places: Places) -> App:
    """The same app with handlers that note where they ask."""
    agents = {key: replace(agent, handler=_watch(agent.handler, places)) for key, agent in app.agents.items()}
    seen = copy.copy(app)
    seen.agents = agents
    seen.newest = {type_: _same(agents, agent) for type_, agent in app.newest.items()}
    return seen


def _same(agents: dict[tuple[str, int], Agent], agent: Agent) -> Agent:
    return agents[agent.name, agent.version]


def _watch(handler: Handler, places: Places) -> Handler:
    code = getattr(handler, "__code__", None)
    home = "" if code is None else code.co_filename.rpartition("/")[0]

    async def handle(thread: Thread, event: Event) -> None:
        await _Watch(handler(thread, event), places, thread.run_id, "", None, home)

    return handle


@dataclass(eq=False)
class _Watch:
    """One branch of a handler: hands everything through, and counts its requests."""

    awaited: Any
    places: Places
    run_id: str
    prefix: str
    outer: Place | None
    home: str  # the folder of the handler's file
    next: int = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.awaited if isinstance(self.awaited, Coroutine) else self.awaited.__await__()
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                request = steps.throw(error) if error is not None else steps.send(value)
            except StopIteration as stop:
                return stop.value
            except BaseException as raised:
                self.places.raised = _where_raised(raised, self.home) or self.places.raised
                raise
            self._note(request, _where(steps) or self.outer)
            value = error = None
            try:
                value = yield request
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as thrown:
                error = thrown

    def _note(self, request: Any, place: Place | None) -> None:
        if not isinstance(request, Request):
            return
        ordinal = f"{self.prefix}{self.next}"
        self.next += 1
        self.places.last = place
        self.places.asked[self.run_id, ordinal] = place, request
        if isinstance(request, Gather) and len({id(branch) for branch in request.branches}) == len(request.branches):
            request.branches = tuple(
                self._branch(branch, f"{ordinal}.{index}.", place) for index, branch in enumerate(request.branches)
            )

    def _branch(self, branch: Any, prefix: str, place: Place | None) -> Any:
        if isinstance(branch, Coroutine | Request):
            return _Watch(branch, self.places, self.run_id, prefix, place, self.home)
        return branch  # nothing to await: whoever asked for it hears so from the engine


def _where(awaited: Any) -> Place | None:
    """The innermost line of user code at which a suspended coroutine waits."""
    found = None
    for frame in _frames(awaited):
        if not frame.f_code.co_filename.startswith(_OURS):
            found = Place(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_qualname)
    return found


def _frames(awaited: Any) -> Iterator[Any]:
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)


def _where_raised(error: BaseException, home: str) -> Place | None:
    """The innermost line near the handler on the way to an error; where there is none, the innermost of all."""
    found: dict[bool, Place] = {}
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(_OURS):
            found[code.co_filename.startswith(home)] = Place(code.co_filename, trace.tb_lineno, code.co_qualname)
        trace = trace.tb_next
    return found.get(True, found.get(False))
