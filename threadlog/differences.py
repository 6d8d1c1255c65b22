# SPDX-License-Identifier: Apache-2.0
"""What differs between a decision as the journal holds it and the same decision as the code makes it now.

A difference is named by its kind, so that a thousand of them can be counted:

    version         the app lacks the version of the agent that the log says
    tool            the app lacks a tool that the log says was called, or it has another effect
    nondeterminism  a run, executed again with its recorded results, asks for something else than is recorded
    other_tool      another tool is called
    arguments       the same tool is called with other arguments
    ordinal         the same is asked for at another place in the run
    call            the same call with other terms: deadline, quota key
    reply           another text, or other data
    signal          another event for another thread
    timer           a timer for another time, or another timer
    end             the run ends otherwise
    other_request   something else is asked for
    more, less      something is asked for that the log does not hold, or the other way round
    verdict         the input is taken otherwise: refused, queued, begun
    state           the same is asked for, but the state after it differs: variables, counters
    input           the record can no longer be read, or is taken for one that was handled
    snapshot        the state before the decision is written down otherwise
    entry           any other field
    crash           the engine itself fails on it
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from threadlog.canonical import text
from threadlog.entry import Entry

KINDS = (
    "version", "tool", "nondeterminism", "other_tool", "arguments", "ordinal", "call", "reply", "signal", "timer",
    "end", "other_request", "more", "less", "verdict", "state", "input", "snapshot", "entry", "crash",
)  # fmt: skip
_FIELDS_MAX = 40  # a patch of a thousand keys is no help to anybody
_FIELDS = ("verdict", "reason", "kind", "agent", "version", "run_id", "time_ms", "outbox", "state_hash")


class Field(msgspec.Struct, frozen=True):
    """One value that differs, by its path; each side as canonical JSON, or None where it has none."""

    path: str
    recorded: str | None
    now: str | None


class Differences(msgspec.Struct, frozen=True):
    """Kind, what it is about (a tool, a variable, an agent), the effects of both sides a line each, fields.

    `at` is the index of the first effect that differs, or None where the effects are the same.
    """

    kind: str
    about: str
    recorded: list[str]
    now: list[str]
    fields: list[Field]
    at: int | None = None


def differences(recorded: Entry, now: Entry) -> Differences:
    """What differs between two entries of which at least one field does."""
    was, is_now = _effects(recorded), _effects(now)
    at = next((i for i in range(max(len(was), len(is_now))) if was[i : i + 1] != is_now[i : i + 1]), None)
    fields = [f for f in _plain(recorded, now) if f.path not in ("time_ms", "outbox", "state_hash") or at is None]
    if at is None:
        fields += tree("patch", _json(recorded.patch), _json(now.patch))
        kind, about = _without_effects(recorded, now, fields)
    else:
        one, other = (side[at] if at < len(side) else None for side in (was, is_now))
        kind, about = _of_effects(one, other, was, is_now)
        if one is not None and other is not None and one["do"] == other["do"]:
            fields += tree(f"effects[{at}]", one, other)
    return Differences(kind, about, [*map(line, was)], [*map(line, is_now)], fields[:_FIELDS_MAX], at)


def _plain(recorded: Entry, now: Entry) -> Iterator[Field]:
    for name in _FIELDS:
        one, other = getattr(recorded, name), getattr(now, name)
        if one != other:
            yield Field(name, text(one), text(other))


def _without_effects(recorded: Entry, now: Entry, fields: list[Field]) -> tuple[str, str]:
    if recorded.verdict != now.verdict:
        return "verdict", f"{recorded.verdict} → {now.verdict}"
    if recorded.patch != now.patch:
        parts = [f.path.split(".") for f in fields if f.path.startswith("patch.")]
        # What an outcome holds of requests repeats itself in `steps`; a variable is what its author changed.
        own = [part for part in parts if len(part) > 3 and part[2] == "vars"] or [p for p in parts if len(p) > 2]
        return "state", ".".join(own[0][2:4]) if own else ""
    if recorded.snapshot != now.snapshot:
        return "snapshot", ""
    return "entry", fields[0].path if fields else ""


_Effect = dict[str, Any]
_DERIVED = ("call_id", "run_id", "outbox_prev", "outbox_hash", "args_digest", "traceparent", "reply_id", "signal_id")


def _of_effects(
    one: _Effect | None, other: _Effect | None, was: list[_Effect], is_now: list[_Effect]
) -> tuple[str, str]:
    if one is None or other is None:
        effect: Any = one or other
        return ("more" if one is None else "less"), _name(effect)
    parked = other if other["do"] == "park_run" else one
    if parked["do"] == "park_run":
        error = parked["error"]["type"]
        kinds = {"NondeterminismError": "nondeterminism", "VersionMissing": "version"}
        return kinds.get(error, "other_request"), "" if error in kinds else f"park: {error}"
    same_kind = one["do"] == other["do"]
    if same_kind and (found := _same(one, other)):
        return found
    lost = any(_content(other) == _content(later) for later in was)
    added = any(_content(one) == _content(later) for later in is_now)
    if lost or added:
        return ("ordinal", _name(one)) if lost and added else ("less", _name(one)) if lost else ("more", _name(other))
    if same_kind:
        return _other(one, other)
    return "other_request", f"{_name(one)} → {_name(other)}"


def _content(effect: _Effect) -> _Effect:
    """What an effect asks for, wherever in the run it does."""
    return {key: value for key, value in effect.items() if key not in (*_DERIVED, "ordinal", "outbox_seq")}


def outside(run_id: str, effects: list[_Effect]) -> Iterator[tuple[str, _Effect]]:
    """What an entry's effects do outside of their runs, with the run of each: effect calls, replies, signals, and how
    a run ends or is parked. `run_id`: the entry's, which is that of its last run."""
    begun = [index for index, effect in enumerate(effects) if effect["do"] == "begin_run"]
    for first, after in pairwise([0, *begun, len(effects)]):
        part = effects[first:after]
        run = next((effect["run_id"] for effect in part if "run_id" in effect), run_id)
        yield from ((run, effect) for effect in part if _is_outside(effect))


def outside_differs(was: list[_Effect], now: list[_Effect]) -> Differences | None:
    """What differs between what a run came to here and there, wherever in the run and whenever it did."""
    was, now = _gone_on(was), _gone_on(now)
    sides = [[{key: effect.get(key) for key in _OUTSIDE[effect["do"]]} for effect in side] for side in (was, now)]
    if sides[0] == sides[1]:
        return None
    at = next(i for i in range(max(map(len, sides))) if sides[0][i : i + 1] != sides[1][i : i + 1])
    one, other = (side[at] if at < len(side) else None for side in sides)
    kind, about = _of_effects(one, other, *sides)
    return Differences(kind, about, [*map(_placeless, was)], [*map(_placeless, now)], [], at)


def _is_outside(effect: _Effect) -> bool:
    return effect["do"] in _OUTSIDE and effect.get("effect") != "read" and effect.get("ask", 1) == 1


def _gone_on(side: list[_Effect]) -> list[_Effect]:
    """Without the times at which a run was parked and then retried."""
    return [effect for index, effect in enumerate(side, 1) if effect["do"] != "park_run" or index == len(side)]


def _placeless(effect: _Effect) -> str:
    return line(effect).rpartition(" at ")[0] if "ordinal" in effect else line(effect)


_OUTSIDE = {
    "call": ("do", "tool", "args"), "reply": ("do", "text", "data"), "signal": ("do", "name", "thread", "data"),
    "end_run": ("do", "status", "error"), "park_run": ("do", "error"),
}  # fmt: skip
_ASKS = {"call": ("tool", "args"), "reply": ("text", "data"), "signal": ("name", "thread", "data")}


def _same(one: _Effect, other: _Effect) -> tuple[str, str] | None:
    """The same is asked for: at another place, or on other terms."""
    asks = _ASKS.get(one["do"])
    if asks is None or any(one[name] != other[name] for name in asks):
        return None
    if one.get("ordinal") != other.get("ordinal"):
        return "ordinal", _name(one)
    return "call" if one["do"] == "call" else "other_request", _name(one)


def _other(one: _Effect, other: _Effect) -> tuple[str, str]:
    """Something else of the same kind is asked for."""
    match one["do"]:
        case "call" if one["tool"] == other["tool"]:
            return "arguments", str(one["tool"])
        case "call":
            return "other_tool", f"{one['tool']} → {other['tool']}"
        case "reply":
            return "reply", "text" if one["text"] != other["text"] else "data"
        case "set_timer":
            return "timer", str(one["timer"].partition(":")[0])
        case "begin_run":
            return "version", f"{one['agent']} {one['version']} → {other['agent']} {other['version']}"
        case "signal":
            return "signal", str(other["name"])
        case "end_run":
            return "end", f"{one['status']} → {other['status']}"
    return "other_request", _name(one)


def _name(effect: _Effect) -> str:
    """What an effect is in a word or two."""
    match effect["do"]:
        case "call" | "close_call":
            return f"{effect['do'].replace('_', ' ')} {effect['tool']}"
        case "set_timer" | "cancel_timer":
            return f"{effect['do'].replace('_', ' ')} {effect['timer'].partition(':')[0]}"
        case _:
            return str(effect["do"]).replace("_", " ")


def line(effect: _Effect) -> str:
    """An effect in one line: what was asked for and at which ordinal, without what follows from that."""
    match effect["do"]:
        case "call":
            again = f", ask {effect['ask']}" if effect["ask"] > 1 else ""
            return f"call {effect['tool']}({effect['args']}) at {effect['ordinal']}{again}"
        case "reply":
            data = "" if effect["data"] == "null" else f" {effect['data']}"
            return f"reply {text(effect['text'])}{data} at {effect['ordinal']}"
        case "signal":
            return f"{effect['name']} {effect['data']} on thread {text(effect['thread'])}"
        case "set_timer":
            return f"set timer {_timer_name(effect)} due {effect['due_ms']}"
        case "cancel_timer":
            return f"cancel timer {_timer_name(effect)}"
        case "begin_run":
            return f"begin run of {effect['agent']} version {effect['version']}"
        case "end_run" | "park_run":
            error = effect.get("error")
            status = effect.get("status", "")
            told = f": {error['type']}: {error['message']}" if error else ""
            return f"{effect['do'].replace('_', ' ')} {status}".rstrip() + told
        case "close_call":
            return f"close call {effect['tool']}: {effect['status']}"
        case _:
            return text({key: value for key, value in effect.items() if key not in _DERIVED})


def _timer_name(effect: _Effect) -> str:
    kind, _, key = effect["timer"].partition(":")
    return f"{kind} of the call" if kind == "call" else f"{kind}:{key}" if key else kind


def tree(path: str, one: Any, other: Any) -> list[Field]:
    """The leaves in which two JSON values differ."""
    if one is not _NONE and other is not _NONE and text(one) == text(other):
        return []
    if one is _NONE and isinstance(other, dict) and other:
        one = {}
    elif other is _NONE and isinstance(one, dict) and one:
        other = {}
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [leaf for key in keys for leaf in tree(f"{path}.{key}", one.get(key, _NONE), other.get(key, _NONE))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [leaf for index, (a, b) in pairs for leaf in tree(f"{path}[{index}]", a, b)]
    return [Field(path, _side(one), _side(other))]


class _None:
    """A key that one side does not have; null is a value."""


_NONE = _None()


def _side(value: Any) -> str | None:
    return None if value is _NONE else text(value)


def _effects(entry: Entry) -> list[_Effect]:
    return list(_json(entry.effects))


def _json(raw: str) -> Any:
    return msgspec.json.decode(raw)
