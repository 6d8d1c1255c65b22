# SPDX-License-Identifier: Apache-2.0
"""Planted bugs: each law is shown to catch the mistake that it is there for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

import threadlog.runs
from tests.threadlog import laws
from tests.threadlog.desk import desk, look
from tests.threadlog.histories import LIMITS, some
from threadlog import Event, Thread
from threadlog.calls import call_key
from threadlog.engine import Decision
from threadlog.turn import Turn

Law = Callable[[Any, str], None]
HISTORIES = some(40)
_chance = count()


def forgets(original: Any, section: str) -> Any:
    """A method of a turn that does nothing to one section."""

    def method(turn: Turn, where: str, *rest: Any) -> None:
        if where != section:
            original(turn, where, *rest)

    return method


def unless_chain(original: Any) -> Any:
    def set_timer(turn: Turn, id: str, due_ms: int) -> None:
        if id != "chain":
            original(turn, id, due_ms)

    return set_timer


def said_twice(entry: Any, effects: Any, *rest: Any) -> Decision:
    return Decision(entry, [*effects, *effects], *rest)


def clock_only(turn: Turn) -> None:
    turn.stored, turn.now = turn.state, turn.input.clock_ms


def no_chain(turn: Turn, call_id: str) -> tuple[int, str, str]:
    return turn.count("outbox_seq") + 1, "", call_id


def every_draw_new(thread: Thread) -> str:
    return f"{next(_chance) % 4096:03x}".ljust(32, "0")


PLANTED: dict[str, tuple[str, Any, Law]] = {
    "keys by chance": (
        "threadlog.calls.call_key", lambda *parts: f"{next(_chance):040x}", laws.same_log_same_decisions,
    ),
    "keys without their place": (
        "threadlog.calls.call_key", lambda t, r, _, *rest: call_key(t, r, "", *rest), laws.keys_are_unique_per_call,
    ),
    "chance by chance": ("threadlog.thread.Thread._draw", every_draw_new, laws.same_log_same_decisions),
    "variables by reference": ("threadlog.memory.copy", lambda value: value, laws.apply_is_step),
    "variables as they are now": (
        "threadlog.memory.vars_at_start", lambda turn, base: turn.small("vars"), laws.cache_changes_nothing,
    ),
    "positions forgotten": ("threadlog.engine._handled_before", lambda *_: False, laws.every_input_has_one_entry),
    "an outbox without a chain": ("threadlog.turn.Turn.extend_outbox", no_chain, laws.effects_form_the_outbox_chain),
    "effects said twice": ("threadlog.engine.Decision", said_twice, laws.no_effect_without_an_entry),
    "refusals that let runs begin": (
        "threadlog.turn.Turn.has_written", property(lambda turn: True), laws.refused_leaves_the_state_unmoved,
    ),
    "no limit for an entry": ("threadlog.engine._fits", lambda *_: True, laws.entries_fit_their_limit),
    "the clock instead of time": ("threadlog.turn.Turn.__post_init__", clock_only, laws.time_never_goes_back),
    "no timer for the chain": (
        "threadlog.turn.Turn.set_timer", unless_chain(Turn.set_timer), laws.nobody_waits_for_ever,
    ),
    "deadlines that are not armed": ("threadlog.turn.Turn.set_timer", lambda *_: None, laws.nobody_waits_for_ever),
    "outcomes that are not recorded": ("threadlog.runs.record", lambda *_: None, laws.nobody_waits_for_ever),
    "records that outlive their run": (
        "threadlog.turn.Turn.delete", forgets(Turn.delete, "steps"), laws.nothing_is_left_behind,
    ),
    "asks that outlive their call": (
        "threadlog.turn.Turn.delete", forgets(Turn.delete, "asks"), laws.nothing_is_left_behind,
    ),
    "effects told again and again": (
        "threadlog.turn.Turn.delete", forgets(Turn.delete, "orphans"), laws.done_is_told_once,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_law_catches_a_planted_bug(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bug some history breaks its law; without it, the same histories keep it."""
    target, bug, law = PLANTED[name]
    for history, mode in HISTORIES:
        law(history, mode)
    monkeypatch.setattr(target, bug)
    with pytest.raises(AssertionError):
        for history, mode in HISTORIES:
            law(history, mode)


def test_every_law_has_a_planted_bug() -> None:
    """A law that nothing can break guards nothing."""
    assert {law.__name__ for law in laws.LAWS} == {law.__name__ for _, _, law in PLANTED.values()}


def test_planted_handler_that_is_not_compared_slips_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison a drifting handler goes on as if nothing had happened."""
    monkeypatch.setattr(threadlog.runs, "_compare", lambda *_: None)
    runs: list[int] = []

    async def drifting(thread: Thread, event: Event) -> None:
        runs.append(1)
        await look(str(len(runs)))

    thread = desk(drifting, limits=LIMITS)
    thread.send()
    thread.answer()
    assert thread.parked() == []
