# SPDX-License-Identifier: Apache-2.0
"""Which line of a handler a divergence comes from: the decision is made once more with handlers that are watched."""

from __future__ import annotations

from typing import Any

import msgspec

from threadlog.app import App
from threadlog.canonical import digest, text
from threadlog.differences import Differences
from threadlog.engine import step
from threadlog.entry import Entry
from threadlog.errors import NondeterminismError
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.places import Place, Places, watched
from threadlog.requests import Call, Reply, Request
from threadlog.runs import VersionMissing, execute_again
from threadlog.state import State
from threadlog.turn import Turn

_Found = tuple[Place | None, str]


def locate(
    state: State, input: Input, app: App, limits: Limits, found: Differences, recorded: Entry
) -> tuple[Place | None, str]:
    """The line, and a sentence about it where that is not simply the one that asks."""
    if found.kind == "nondeterminism":
        why = broken(state, app, limits)
        return (why[0], why[1]) if why is not None else (None, "")
    places = Places()
    try:
        decision = step(state, input, watched(app, places), limits)
    except Exception:
        return None, ""
    if decision is None or found.at is None:
        return places.last, "the handler went on to here" if places.last else ""
    sides = [msgspec.json.decode(recorded.effects)[found.at :], decision.effects[found.at :]]
    one, other = (side[0] if side else None for side in sides)
    for effect in (one, other) if found.kind == "tool" else (other, one):
        if effect is not None and (place := _asked_at(effect, decision.entry.run_id, places)) is not None:
            return place, ""
    if places.raised is not None:
        return places.raised, "an error was raised here"
    return places.last, "the handler asked for nothing after this" if places.last else ""


def _asked_at(effect: dict[str, Any], run_id: str, places: Places) -> Place | None:
    run_id = effect.get("run_id", run_id)
    if "ordinal" in effect:
        return places.of(run_id, effect["ordinal"])
    if effect["do"] == "set_timer":
        return places.of(run_id, effect["timer"].partition(":")[2])
    if effect["do"] == "signal":
        for run, ordinal in places.asked:
            if digest([effect["from_thread"], run, ordinal, "spawn"])[:32] == effect["signal_id"]:
                return places.of(run, ordinal)
    return None


def broken(state: State, app: App, limits: Limits) -> tuple[Place | None, str, str] | None:
    """Why the open run of a thread cannot go on with this app, or None: (line, a sentence, kind).

    The run is executed again with its recorded results, up to where it waits; nothing is decided.
    """
    places = Places()
    came = Input("timer", state.small["core"]["thread"], "timer", 0, 0, 0, 0)
    turn = Turn(state, came, watched(app, places), limits)
    try:
        execute_again(turn, turn.small("run")).close()
    except VersionMissing as error:
        return None, str(error), "version"
    except NondeterminismError as error:
        place, now = _asked(error.asked, turn.get("run", "id"), places)
        was = _recorded(error.recorded, turn.state)
        return place or places.raised or places.last, f"at {error.where}\n- {was}\n+ {now}", "nondeterminism"
    except Exception as error:
        return places.raised or places.last, f"{type(error).__name__}: {error}", "crash"
    return None


def _asked(descriptor: str, run_id: str, places: Places) -> tuple[Place | None, str]:
    """Where and what, of a request that the code asks for now; `descriptor` as from `asked.ask`, in quotes."""
    ordinal = descriptor.strip("«»").partition(" ")[0]
    place, request = places.asked.get((run_id, ordinal), (None, None))
    return place, descriptor.strip("«»") if request is None else _told(ordinal, request)


def _told(ordinal: str, request: Request[Any]) -> str:
    if isinstance(request, Call):
        return f"call {request.tool}({_plain(request.args)}) at {ordinal}"
    if isinstance(request, Reply):
        return f"reply {_plain(request.text)} {_plain(request.data)} at {ordinal}"
    shown = {name: getattr(request, name) for cls in type(request).__mro__ for name in getattr(cls, "__slots__", ())}
    return f"{request.kind}({_plain({k: v for k, v in shown.items() if not k.startswith('_')})}) at {ordinal}"


def _plain(value: Any) -> str:
    try:
        return text(value)
    except Exception:  # what a handler asks for may be anything
        return "<not plain JSON>"


def _recorded(descriptor: str, state: State) -> str:
    """A recorded request; an open call is still known in full, of others the journal's earlier entries tell."""
    ordinal, _, rest = descriptor.strip("«»").partition(" ")
    run_id = state.small["run"]["id"]
    for _, ask in state.maps.items("asks"):
        if (ask["run_id"], ask["ordinal"]) == (run_id, ordinal):
            return f"call {ask['tool']}({ask['args']}) at {ordinal}"
    return f"{rest} at {ordinal}" if rest else descriptor
