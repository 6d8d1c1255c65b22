# SPDX-License-Identifier: Apache-2.0
"""What a handler sees: its thread and its event. All of it is a deep copy or a request; the state is out of reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from threadlog.canonical import digest
from threadlog.requests import Reply, Spawn, WaitFor


@dataclass(frozen=True, slots=True)
class Event:
    """A fact that reached the thread.

    `source` and `id` are its CloudEvents identity, `type` the full name of its schema, `time_ms` the engine's time at
    which it was handled (Unix epoch, milliseconds), `data` its fields as plain JSON.
    """

    id: str
    source: str
    type: str
    time_ms: int
    data: dict[str, Any]

    def __getitem__(self, field: str) -> Any:
        return self.data[field]

    def get(self, field: str, default: Any = None) -> Any:
        """The field, or `default` where the event has none."""
        return self.data.get(field, default)


@dataclass(slots=True)
class Clock:
    """The engine's time as the handler may see it; the execution moves it on at every delivery.

    `branch` is the branch of the handler that runs now; chance is drawn per branch, so what one branch draws does not
    depend on when the others went on.
    """

    now_ms: int
    branch: str = ""
    drawn: dict[str, int] = field(default_factory=dict)


class Thread:
    """The handler's thread: its id, time, variables and past, and what can be asked of it."""

    __slots__ = ("_clock", "_history", "_id", "_open_effects", "_run_id", "_vars")

    def __init__(
        self,
        id: str,
        run_id: str,
        vars: dict[str, Any],
        open_effects: list[dict[str, Any]],
        clock: Clock,
        history: Callable[[int], list[dict[str, Any]]],
    ) -> None:
        self._id, self._run_id = id, run_id
        self._vars, self._open_effects = vars, open_effects
        self._clock, self._history = clock, history

    @property
    def id(self) -> str:
        """The thread's id."""
        return self._id

    @property
    def run_id(self) -> str:
        """The run's id, 32 hex digits."""
        return self._run_id

    @property
    def vars(self) -> dict[str, Any]:
        """Variables that last from run to run, plain JSON; change them in place."""
        return self._vars

    @property
    def open_effects(self) -> list[dict[str, Any]]:
        """What became, or has not yet become, of effect calls whose run is gone.

        `{"tool", "call_id", "status": "open"|"done"|"failed"|"refused"|"rejected"|"in_doubt", "value"}`;
        `"left_out": True` where the value was too large to keep; the journal has it.
        """
        return self._open_effects

    @property
    def now_ms(self) -> int:
        """The engine's time, Unix epoch in milliseconds; the same whenever the run is executed again."""
        return self._clock.now_ms

    def history(self, last: int = 20) -> list[dict[str, Any]]:
        """Up to `last` items from before this run, oldest first: `{"role": "event"|"reply", "time_ms", ...}`."""
        return self._history(last)

    def random(self) -> float:
        """A number in [0, 1) derived from thread, run, branch and count of draws: the same on every execution."""
        return int(self._draw()[:13], 16) / 16**13

    def uuid(self) -> str:
        """32 hex digits derived like `random`."""
        return self._draw()[:32]

    def _draw(self) -> str:
        branch, drawn = self._clock.branch, self._clock.drawn
        drawn[branch] = drawn.get(branch, 0) + 1
        return digest([self._id, self._run_id, "draw", branch, drawn[branch]])

    def reply(self, text: str, data: Any = None) -> Reply:
        """Say `text` (and `data`, plain JSON) on the topic agent-replies. Await it."""
        return Reply(text, data)

    def spawn(self, thread: str, type: str, data: dict[str, Any]) -> Spawn:
        """Send an event of `type` to another thread. Await it; it does not wait for that thread."""
        return Spawn(thread, type, data)

    def wait_for(self, type: str, timeout_s: float | None = None) -> WaitFor[Event]:
        """Wait for the next event of `type`, which the agent must list in `awaits` or handle itself.

        Raises WaitTimeout after `timeout_s` seconds of the engine's time.
        """
        return WaitFor(type, timeout_s)
