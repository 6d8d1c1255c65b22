# SPDX-License-Identifier: Apache-2.0
"""The snapshot in an entry: the whole state before it, where a reader begins whose history before is cut.

`{"state", "hash"}`: `state` as from `threadlog.state.dump`, positions, timers, results, history and queues included,
and the digest of its canonical bytes. Only `seen` is packed, of which a long thread has most: one string of base64, for
each event in the order of its ring 12 bytes of its identity and 6 of its log time in milliseconds.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from threadlog.canonical import digest, text
from threadlog.entry import Entry
from threadlog.state import MAPS, Maps, State, state_of

_IDENTITY_BYTES, _TIME_BYTES = 12, 6
_EVENT_BYTES = _IDENTITY_BYTES + _TIME_BYTES
_NUMBERED = frozenset({"history", "seen"})

Seen = dict[str, Any]


def snapshot_text(state: State) -> str:
    """The snapshot of a state as an entry carries it."""
    core, maps = state.small["core"], state.maps
    whole: dict[str, Any] = {**state.small, **{name: dict(maps.items(name)) for name in MAPS if name not in _NUMBERED}}
    # What has numbers is asked for by them: to walk all that an operator keeps of a long thread takes some 40 ms.
    numbers = [str(number) for number in range(core["history_first"], core["history_next"])]
    said = zip(numbers, maps.several("history", numbers), strict=True)
    whole["history"] = {number: item for number, item in said if item is not None}
    whole["seen"] = _packed(maps, state.small["window"])
    return text({"state": whole, "hash": digest(whole)})


def snapshot_of(entry: Entry) -> dict[str, Any] | None:
    """The whole state before an entry, as from `threadlog.state.dump`.

    None where the entry has no snapshot which its own digest and the entry's thread, number and `prev` vouch for."""
    if entry.snapshot is None:
        return None
    try:
        whole = msgspec.json.decode(entry.snapshot)
        state, core = whole["state"], whole["state"]["core"]
        continues = (core["thread"], core["seq"] + 1, core["head"]) == (entry.thread, entry.seq, entry.prev)
        if not continues or digest(state) != whole["hash"]:
            return None
        return {**state, "seen": _unpacked(state["seen"], state["window"])}
    except (msgspec.DecodeError, binascii.Error, RecursionError, LookupError, TypeError, ValueError):
        return None


def state_before(entry: Entry) -> State | None:
    """The same as a state with maps in memory; None too where a section is missing."""
    whole = snapshot_of(entry)
    if whole is None:
        return None
    try:
        return state_of(whole)
    except (LookupError, TypeError, ValueError):
        return None


def _packed(maps: Maps, window: dict[str, int]) -> str:
    """Every event is in `seen` twice, by its identity and by its number in the ring: the second says all."""
    ring = maps.several("seen", [f"#{number}" for number in range(window.get("first", 0), window.get("next", 0))])
    packed = b"".join(bytes.fromhex(key) + log_ms.to_bytes(_TIME_BYTES) for key, log_ms in ring)
    return base64.b64encode(packed).decode()


def _unpacked(packed: str, window: dict[str, int]) -> Seen:
    """Raises ValueError where it is not as long as the window."""
    events, first = base64.b64decode(packed, validate=True), window.get("first", 0)
    if len(events) != (window.get("next", 0) - first) * _EVENT_BYTES:
        raise ValueError(f"{len(events)} bytes are not what a window of {window} holds")
    seen: Seen = {}
    for number, at in enumerate(range(0, len(events), _EVENT_BYTES), first):
        key = events[at : at + _IDENTITY_BYTES].hex()
        log_ms = int.from_bytes(events[at + _IDENTITY_BYTES : at + _EVENT_BYTES])
        seen[key] = log_ms
        seen[f"#{number}"] = [key, log_ms]
    return seen
