# SPDX-License-Identifier: Apache-2.0
"""What new code would break of a thread as it stands: its open run, its open calls, what waits in it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from threadlog.app import App
from threadlog.limits import Limits
from threadlog.locating import broken
from threadlog.places import Place
from threadlog.state import State, of_today


class Breach(msgspec.Struct, frozen=True):
    """One thing that would break. `told` is a sentence, or two sides of a difference on lines with - and +.

    kind   version         the app lacks the version that began the run: the run would be parked
           nondeterminism  the run, executed again, asks for something else: it would be parked
           tool            an open call is of a tool that the app lacks, or that has another effect now
           handler         an event waits for its turn, and no agent handles or awaits its type: it would be dropped
           crash           the run cannot be executed again at all
    """

    thread: str
    seq: int
    run_id: str
    agent: str
    version: int
    kind: str
    told: str
    place: Place | None = None


def breaches(state: State, app: App, limits: Limits) -> Iterator[Breach]:
    """What would break; nothing for a run that is parked already, except for its calls and what waits behind it."""
    small = of_today(state).small
    run, core = small["run"], small["core"]
    where = (core["thread"], core["seq"])
    subject = (run.get("id", ""), run.get("agent", ""), run.get("version", 0))
    if run and run.get("parked") is None and (why := broken(state, app, limits)) is not None:
        place, told, kind = why
        yield Breach(*where, *subject, kind, told, place)
    for call_id, call in sorted(small["calls"].items()):
        tool = app.tools.get(call["tool"])
        if tool is None or tool.effect != call["effect"]:
            now = "no such tool" if tool is None else f"a {tool.effect} tool of this name"
            told = f"call {call_id[:12]} of the {call['effect']} tool {call['tool']} is open; the app has {now}"
            yield Breach(*where, *subject, "tool", told)
    for number, type_, _ in core["queue"]:
        if type_ not in app.newest and type_ not in app.awaited:
            yield Breach(*where, *subject, "handler", f"event {number} of type {type_} waits, and nobody handles it")
