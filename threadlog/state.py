# SPDX-License-Identifier: Apache-2.0
"""The state of one thread: a small part that is read on every turn, and maps that are touched only where needed.

Small sections live together in one JSON object; map sections are keyed stores outside it, so that a turn does not get
dearer with the conversation:

    core       counters and heads            steps      the open run's event and outcomes ("event", "0", "1", …)
    run        the open run, or empty        asks       open calls as they were asked, by call id
    vars       the handler's variables       queue      events that wait, by number
    calls      open calls, by call id        history    what was said, by number
    timers     due times, by timer id        doubts     calls closed in doubt, by call id
    positions  last offset by topic/partition  seen     identities of events, and the order in which they came
    orphans    effect calls whose run is gone  orphan_values  what they returned, by call id
    window     bounds of the ring in `seen`, and the newest log time of an event

`core` names the version of the whole in `v`; `upcasting` tells what becomes of older ones.

A patch is `{"put": {section: {key: value}}, "del": {section: [key]}}`. Positions and `seen` follow from the entry's
input and are not in the patch, so the state hash does not depend on where the log holds a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from threadlog.canonical import digest
from threadlog.entry import Entry
from threadlog.upcasting import newest, upcast

FIRST_VERSION = 1  # of every new thread: whoever follows it from its first entry knows no other
SMALL = ("core", "run", "vars", "calls", "timers", "positions", "orphans", "window")
MAPS = ("steps", "asks", "queue", "history", "doubts", "orphan_values", "seen")
_SECTIONS = {*SMALL, *MAPS}
GENESIS = ""  # `prev` of a thread's first entry

Small = dict[str, dict[str, Any]]
Patch = dict[str, Any]


class Maps(Protocol):
    """The map sections of one thread, as the operator or a test keeps them."""

    def get(self, section: str, key: str) -> Any:
        """The value, or None where there is none."""

    def several(self, section: str, keys: Iterable[str]) -> list[Any]:
        """The value of each key, as `get`."""

    def items(self, section: str) -> Iterator[tuple[str, Any]]:
        """Every pair of a section, in any order."""


@dataclass
class MemoryMaps:
    """Maps in memory: for tests, replay and audit."""

    sections: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in MAPS})

    def get(self, section: str, key: str) -> Any:
        """The value, or None."""
        return self.sections[section].get(key)

    def several(self, section: str, keys: Iterable[str]) -> list[Any]:
        """The value of each key, or None."""
        return [self.sections[section].get(key) for key in keys]

    def items(self, section: str) -> Iterator[tuple[str, Any]]:
        """Every pair of a section in the order of keys."""
        return iter(sorted(self.sections[section].items()))

    def write(self, patch: Patch) -> None:
        """Carry out the map part of a patch."""
        for section, pairs in patch["put"].items():
            if section in self.sections:
                self.sections[section].update(pairs)
        for section, keys in patch["del"].items():
            if section in self.sections:
                for key in keys:
                    self.sections[section].pop(key, None)


class State(msgspec.Struct, frozen=True):
    """One thread: its small sections and its maps. Never changed in place by `step`."""

    small: Small
    maps: Maps


def new_small(thread: str) -> Small:
    """The small sections of a thread that has decided nothing yet."""
    core = {"v": FIRST_VERSION, "thread": thread, "seq": 0, "head": GENESIS, "state_hash": GENESIS, "outbox": GENESIS}
    core |= {"outbox_seq": 0, "now": 0, "queue": [], "queue_next": 0, "history_first": 0, "history_next": 0}
    core |= {"snapshot_seq": 0}
    return {"core": core, **{name: {} for name in SMALL[1:]}}


def new_state(thread: str) -> State:
    """A new thread in memory."""
    return State(new_small(thread), MemoryMaps())


class _Sections(msgspec.Struct, forbid_unknown_fields=True):
    """The shape of a patch."""

    put: dict[str, dict[str, Any]]
    deleted: dict[str, list[str]] = msgspec.field(name="del")


_read_patch = msgspec.json.Decoder(_Sections).decode
_CORE = {"v": int, "queue": list, "queue_next": int, "outbox_seq": int, "history_first": int, "history_next": int}


def read_patch(text: str) -> Patch:
    """A patch from an entry. Raises msgspec.DecodeError for what is none, or would write where no patch writes."""
    read = _read_patch(text)
    core = read.put.get("core", {})
    if not (read.put.keys() | read.deleted.keys()) <= _SECTIONS or "core" in read.deleted:
        raise msgspec.ValidationError("a patch of sections that no state has")
    if any(type(value) is not _CORE.get(key) for key, value in core.items()):
        raise msgspec.ValidationError("a patch of counters that no patch moves")
    return {"put": read.put, "del": read.deleted}


def evolve(state: State, entry: Entry, patch: Patch, seen_window_ms: int) -> tuple[Small, Patch]:
    """The small state after `entry`, and everything to write into the maps. The only place where state changes.

    A patch of a newer version says so: the state is brought to that first, and all its maps are written anew."""
    version = patch["put"].get("core", {}).get("v", state.small["core"]["v"])
    if version == state.small["core"]["v"]:
        return _evolved(state, entry, patch, seen_window_ms)
    newer, maps = _parts(_brought_to(state, version))
    small, writes = _evolved(State(newer, maps), entry, patch, seen_window_ms)
    maps.write(writes)
    gone = {name: [key for key, _ in state.maps.items(name) if key not in maps.sections[name]] for name in MAPS}
    return small, {"put": maps.sections, "del": gone}


def _evolved(state: State, entry: Entry, patch: Patch, seen_window_ms: int) -> tuple[Small, Patch]:
    small = {name: dict(values) for name, values in state.small.items()}
    writes: Patch = {"put": {}, "del": {}}
    for section, pairs in patch["put"].items():
        if section in small:
            small[section].update(pairs)
        else:
            writes["put"][section] = dict(pairs)
    for section, keys in patch["del"].items():
        if section in small:
            for key in keys:
                small[section].pop(key, None)
        else:
            writes["del"][section] = list(keys)
    small["core"] |= {
        "seq": entry.seq, "head": entry.hash, "state_hash": entry.state_hash, "outbox": entry.outbox,
        "now": entry.time_ms,
    }  # fmt: skip
    if entry.snapshot is not None:
        small["core"]["snapshot_seq"] = entry.seq
    if entry.kind != "timer":
        small["positions"][position_key(entry.input.topic, entry.input.partition)] = entry.input.offset
    if entry.kind == "event" and entry.verdict not in NOT_SEEN:
        _remember(state, small["window"], writes, entry, seen_window_ms)
    return small, writes


# A duplicate is in the window already; an event that is too old must not push younger ones out of it.
NOT_SEEN = frozenset({"duplicate", "too_old"})
_EVICT_MAX = 3  # more than one per event, so the ring shrinks after a busy day, yet no turn pays for all of it


# Topics are read at different paces. What is older than the window before the newest event is refused as too old, so
# the oldest event still taken may be a resend of one that is a window older than that.
def _remember(state: State, window: dict[str, Any], writes: Patch, entry: Entry, seen_window_ms: int) -> None:
    puts, dels = writes["put"].setdefault("seen", {}), []
    first, after = window.get("first", 0), window.get("next", 0)
    key = identity(entry.input.source, entry.input.id)
    log_ms = entry.input.log_time_ms
    newest = max(window.get("log_ms", 0), min(log_ms, entry.input.clock_ms))  # one clock that is ahead moves nothing
    puts[key] = log_ms
    puts[f"#{after}"] = [key, log_ms]
    for _ in range(_EVICT_MAX):
        oldest = state.maps.get("seen", f"#{first}") if first < after else None
        if oldest is None or oldest[1] + 2 * seen_window_ms >= newest:
            break
        dels += [f"#{first}", oldest[0]]
        first += 1
    if dels:
        writes["del"]["seen"] = [k for k in dels if k not in puts]
    window["first"], window["next"], window["log_ms"] = first, after + 1, newest


def identity(source: str, id: str) -> str:
    """The key of an event in `seen`: its CloudEvents identity, bounded."""
    return digest([source, id])[:24]


def position_key(topic: str, partition: int) -> str:
    """A producer with another partitioner may put a thread into a second partition: positions are exact by both."""
    return f"{topic}/{partition}"


def dump(state: State) -> dict[str, Any]:
    """The whole state as plain JSON, as a snapshot gives it back: for comparisons."""
    return {**state.small, **{name: dict(state.maps.items(name)) for name in MAPS}}


def state_of(whole: dict[str, Any]) -> State:
    """The state of which `dump` has made this. Raises LookupError where a section is missing that its version has."""
    if whole["core"]["v"] < newest():
        whole = {**{name: {} for name in _SECTIONS}, **whole}
    return State(*_parts(whole))


def _brought_to(state: State, version: int) -> dict[str, Any]:
    """A state that lacks sections of today was kept before there were any."""
    return upcast({**{name: {} for name in SMALL}, **dump(state)}, version)


def _parts(whole: dict[str, Any]) -> tuple[Small, MemoryMaps]:
    return {name: dict(whole[name]) for name in SMALL}, MemoryMaps({name: dict(whole[name]) for name in MAPS})


def of_today(state: State) -> State:
    """The state as this code works with it, which is most often the very one. Raises NewerState."""
    return state if state.small["core"]["v"] == newest() else State(*_parts(_brought_to(state, newest())))
