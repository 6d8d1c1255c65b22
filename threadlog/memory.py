# SPDX-License-Identifier: Apache-2.0
"""What a thread remembers between events: its variables and what was said.

A run sees both as they were when it began, plus its own changes to the variables. So the state keeps, while a run is
open, what each changed variable was before (`run.base`), and the range of the history at its start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from threadlog.canonical import canonical, check_plain, copy, text
from threadlog.errors import LimitError, NondeterminismError
from threadlog.limits import Limits
from threadlog.turn import Turn


def vars_at_start(turn: Turn, base: dict[str, list[Any]]) -> dict[str, Any]:
    """The variables as the open run found them: `base` maps a changed name to [value before], or [] if it was new."""
    variables = {**turn.small("vars"), **{name: before[0] for name, before in base.items() if before}}
    return {name: copy(value) for name, value in variables.items() if base.get(name) != []}


def history(turn: Turn, bounds: list[int], last: int) -> list[dict[str, Any]]:
    """Up to `last` items of the history within `bounds` (first, after), oldest first, as copies."""
    first, after = bounds
    numbers = range(max(first, after - max(0, last)), after)
    return [copy(item) for n in numbers if (item := turn.get("history", str(n))) is not None]


@dataclass(slots=True, eq=False)
class Past:
    """What was said before a run, within `bounds`. It is read by way of the turn in which the run's handler goes on,
    and by no other: an operator's maps are those of the thread whose record it has in hand, whoever asks."""

    bounds: list[int]
    turn: Turn | None = None

    def read(self, last: int) -> list[dict[str, Any]]:
        """As `history`. Raises RuntimeError outside of the run's own turns."""
        if self.turn is None:
            raise RuntimeError("a thread's history can be read by its own handler, while that runs, and by nobody else")
        return history(self.turn, self.bounds, last)


def check_vars(current: dict[str, Any], limits: Limits) -> None:
    """Raise NotPlain or LimitError for variables that cannot be stored."""
    check_plain(current, limits.depth_levels)
    size = len(canonical(current))
    if size > limits.vars_bytes:
        raise LimitError("vars_bytes", size, limits.vars_bytes)


def compare_vars(turn: Turn, current: dict[str, Any]) -> None:
    """Raise NondeterminismError unless a handler that was executed again left the variables as they are stored."""
    stored = turn.small("vars")
    if not stored and not current:
        return
    try:
        check_plain(current, turn.limits.depth_levels)
        now = text(current)
    except Exception as error:  # what cannot be stored was never stored
        now = str(error)
    was = text(stored)
    if now != was:
        raise NondeterminismError("its variables", was[:_SHOWN_CHARS], now[:_SHOWN_CHARS])


_SHOWN_CHARS = 150  # of each side of a difference


def save_vars(turn: Turn, current: dict[str, Any]) -> Exception | None:
    """Write changed variables into state, with what they were before. Returns what else is wrong with them.

    Raises LimitError where they are too many.
    """
    stored = turn.small("vars")
    if not stored and not current:
        return None
    try:
        check_vars(current, turn.limits)
    except LimitError:
        raise
    except Exception as error:  # they are the author's, and may be anything
        return error
    base = dict(turn.get("run", "base", {}))
    for name in sorted(stored.keys() | current.keys()):
        if name in stored and name in current and text(stored[name]) == text(current[name]):
            continue
        base.setdefault(name, [stored[name]] if name in stored else [])
        if name in current:
            turn.put("vars", name, copy(current[name]))
        else:
            turn.delete("vars", name)
    turn.put("run", "base", base)
    return None


def say(turn: Turn, item: dict[str, Any]) -> None:
    """Append one item to the history."""
    turn.put("history", str(turn.count("history_next")), item)


def forget_old_history(turn: Turn) -> None:
    """Drop what is past the limit; only between runs, because an open run looks back on a fixed range."""
    first, after = turn.get("core", "history_first", 0), turn.get("core", "history_next", 0)
    oldest = max(first, after - turn.limits.history_entries_max)
    for number in range(first, oldest):
        turn.delete("history", str(number))
    if oldest != first:
        turn.put("core", "history_first", oldest)
