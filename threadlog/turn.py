# SPDX-License-Identifier: Apache-2.0
"""The working set of one step: reads see what the step wrote, and everything written ends up in one patch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from threadlog.app import App
from threadlog.canonical import chain
from threadlog.inputs import TIMER_TOPIC, Input
from threadlog.limits import Limits
from threadlog.state import Patch, State, of_today
from threadlog.upcasting import newest

_GONE = object()


@dataclass(eq=False, slots=True)
class Turn:
    """Reads through to the state, writes into a patch, collects effects. Thrown away when the step fails.

    `stored`: the state as it was given, which older code may have left; `state` is what this code makes of it."""

    state: State
    input: Input
    app: App
    limits: Limits
    verdict: str = ""
    reason: str = ""
    effects: list[dict[str, Any]] = field(default_factory=list)
    subject: tuple[str, str, int] = ("", "", 0)  # run id, agent, version of the run this entry is about
    now: int = 0
    chained: int = 0
    chain_runs_max: int = 0
    held: Exception | None = None  # why no handler may go on in this step: its open run is parked for this
    stored: State = field(init=False)
    _writes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stored, self.state = self.state, of_today(self.state)
        before = self.state.small["core"]["now"]
        clock = self.input.log_time_ms if self.input.topic == TIMER_TOPIC else self.input.clock_ms
        self.now = max(before, clock)

    @property
    def thread(self) -> str:
        """The thread's id."""
        return self.input.thread

    @property
    def has_written(self) -> bool:
        """Whether anything but heads and positions will move."""
        return any(self._writes.values())

    def get(self, section: str, key: str, default: Any = None) -> Any:
        """The value as of now in this step."""
        written = self._writes.get(section)
        if written is not None and key in written:
            value = written[key]
            return default if value is _GONE else value
        small = self.state.small.get(section)
        value = small.get(key) if small is not None else self.state.maps.get(section, key)
        return default if value is None else value

    def put(self, section: str, key: str, value: Any) -> None:
        """Write one value; the last write of a step counts."""
        self._writes.setdefault(section, {})[key] = value

    def delete(self, section: str, key: str) -> None:
        """Remove one value, if it is there."""
        self._writes.setdefault(section, {})[key] = _GONE

    def small(self, section: str) -> dict[str, Any]:
        """A small section as of now, as a new dict."""
        merged = dict(self.state.small[section])
        for key, value in self._writes.get(section, {}).items():
            if value is _GONE:
                merged.pop(key, None)
            else:
                merged[key] = value
        return merged

    def count(self, counter: str) -> int:
        """Take the next number of a counter in `core`."""
        number: int = self.get("core", counter, 0)
        self.put("core", counter, number + 1)
        return number

    def set_timer(self, timer_id: str, due_ms: int) -> None:
        """Arm a timer; an armed one with this id is replaced."""
        self.put("timers", timer_id, due_ms)
        self.effects.append({"do": "set_timer", "timer": timer_id, "due_ms": due_ms})

    def cancel_timer(self, timer_id: str) -> None:
        """Disarm a timer, if it is armed."""
        if self.get("timers", timer_id) is not None:
            self.delete("timers", timer_id)
            self.effects.append({"do": "cancel_timer", "timer": timer_id})

    def refuse(self, verdict: str, reason: str, dead_letter: bool = False) -> None:
        """End the step with a verdict; the state does not move."""
        self.verdict, self.reason = verdict, reason[: self.limits.error_chars_max]
        if dead_letter:
            self.effects.append({"do": "dead_letter", "code": verdict, "message": self.reason})

    def extend_outbox(self, call_id: str) -> tuple[int, str, str]:
        """The place of a new effect call in the thread's outbox chain: (number, previous hash, hash)."""
        previous: str = self.get("core", "outbox", "")
        current = chain(previous, call_id)
        number = self.count("outbox_seq") + 1
        self.put("core", "outbox", current)
        return number, previous, current

    def patch(self) -> Patch:
        """What this step writes, without what follows from its input alone."""
        puts: Patch = {}
        dels: dict[str, list[str]] = {}
        for section, pairs in self._writes.items():
            for key, value in pairs.items():
                if value is _GONE:
                    if self._stored(section, key):
                        dels.setdefault(section, []).append(key)
                elif section == "core" and key == "outbox":
                    continue  # the entry has a field of its own for it
                else:
                    puts.setdefault(section, {})[key] = value
        if self.state is not self.stored:  # from here on, whoever follows the thread has to upcast it too
            puts.setdefault("core", {})["v"] = newest()
        return {"put": puts, "del": {section: sorted(keys) for section, keys in dels.items()}}

    def _stored(self, section: str, key: str) -> bool:
        small = self.state.small.get(section)
        return key in small if small is not None else self.state.maps.get(section, key) is not None

    def items(self, section: str) -> Iterator[tuple[str, Any]]:
        """The pairs of a small section."""
        return iter(self.small(section).items())
