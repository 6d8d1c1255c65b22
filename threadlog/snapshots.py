# SPDX-License-Identifier: Apache-2.0
"""The snapshot in an entry: the whole state before it, where a reader begins whose history before is cut."""

from __future__ import annotations

from typing import Any

import msgspec

from threadlog.canonical import digest
from threadlog.entry import Entry
from threadlog.state import State, state_of


def snapshot_of(entry: Entry) -> dict[str, Any] | None:
    """The whole state before an entry, as from `threadlog.state.dump`.

    None where the entry has no snapshot which its own digest and the entry's thread, number and `prev` vouch for."""
    if entry.snapshot is None:
        return None
    try:
        whole = msgspec.json.decode(entry.snapshot)
        state, core = whole["state"], whole["state"]["core"]
        continues = (core["thread"], core["seq"] + 1, core["head"]) == (entry.thread, entry.seq, entry.prev)
        return state if continues and digest(state) == whole["hash"] else None
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError):
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
