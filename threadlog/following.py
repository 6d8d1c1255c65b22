# SPDX-License-Identifier: Apache-2.0
"""The reader's rule, and following a journal by it.

Every reader keeps the head of each thread, the last valid entry. An entry that continues it is valid and becomes the
head. An equal one, to the byte, is a harmless repeat. Anything else is void: a fork, a gap, an entry of another thread,
or one that does not carry its own hash; it moves nothing, and the first valid continuation in the order of the log
stands.

A state that was restored lies somewhere on that chain, perhaps behind its end, perhaps on no part of it: entries up to
where it stands are only read, and where they reach it, they must be those that it was made of.

Where retention has cut the beginning of the journal, a thread begins with whatever entry is left of it, and a state
that ends before that one goes on from the next snapshot: an entry with the whole state before it.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from threadlog.canonical import chain
from threadlog.entry import Entry
from threadlog.errors import NotOfThisJournal
from threadlog.limits import Limits
from threadlog.snapshots import state_before
from threadlog.state import GENESIS, Patch, Small, State, evolve, read_patch

# By what the reasons begin of entries that belong to another history: the state that goes on from them is not the
# journal's.
BROKEN = ("gap", "fork")

Standing = Literal["applied", "repeat", "void"]


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The last valid entry of a thread: its number and hash; before the first: 0 and ""."""

    seq: int = 0
    hash: str = GENESIS


class Followed(msgspec.Struct, frozen=True):
    """How an entry stands, why if it is void, the head after it, and what changes: None where the state stays.

    `begun`: the state of a snapshot, which takes the place of the one that there was, before anything else changes."""

    standing: Standing
    reason: str
    head: Head
    small: Small | None = None
    maps: Patch | None = None
    begun: State | None = None


def head_before(entry: Entry, head: Head, cut: bool) -> Head:
    """The head by which an entry is judged, from the last valid one of its thread, `Head()` before the first.

    `cut`: the first entries of the journal may be gone, so that the first that is left of a thread begins it."""
    return Head(entry.seq - 1, entry.prev) if cut and head == Head() and entry.seq > 1 else head


def judge(entry: Entry, thread: str, head: Head) -> tuple[Standing, str]:
    """How an entry stands to a thread's head, and why if it is void; "applied" means that it continues it."""
    if entry.thread != thread:
        return "void", f"wrong key: the entry is of thread {entry.thread}"
    try:  # first of all: what has the head's number and hash is the head only if it also has its content
        if entry.computed_hash() != entry.hash:
            return "void", f"wrong hash: seq {entry.seq} was changed after it was written"
    except UnicodeError:
        return "void", f"wrong hash: seq {entry.seq} holds what is no UTF-8"
    if entry.hash == head.hash and entry.seq == head.seq:
        return "repeat", ""
    if entry.seq > head.seq + 1:
        return "void", f"gap: seq {entry.seq} comes after seq {head.seq}"
    if entry.seq <= head.seq:
        return "void", f"fork: seq {entry.seq} was told before"
    if entry.prev != head.hash:
        return "void", f"fork: seq {entry.seq} continues another history"
    return "applied", ""


def head_of(state: State) -> Head:
    """Where a state stands in its thread's journal."""
    return Head(state.small["core"]["seq"], state.small["core"]["head"])


def advance(state: State, entry: Entry, limits: Limits) -> Followed:
    """Follow one entry from where the state stands. Runs no code of an app."""
    head, core = head_of(state), state.small["core"]
    standing, reason = judge(entry, core["thread"], head)
    if standing != "applied":
        return Followed(standing, reason, head)
    try:
        if entry.state_hash != chain(core["state_hash"], entry.patch):
            return Followed("void", f"wrong state: seq {entry.seq} leads from another state", head)
        patch = read_patch(entry.patch)
        if patch["put"].get("core", {}).get("v", core["v"]) < core["v"]:
            return Followed("void", f"wrong patch: that of seq {entry.seq} is of an older version than its state", head)
    except (UnicodeError, msgspec.DecodeError, RecursionError):
        return Followed("void", f"wrong patch: that of seq {entry.seq} cannot be read", head)
    small, maps = evolve(state, entry, patch, limits.seen_window_ms)
    return Followed("applied", "", Head(entry.seq, entry.hash), small, maps)


def catch_up(state: State, head: Head, entry: Entry, limits: Limits, cut: bool = False) -> Followed:
    """Follow one entry of a journal that has been read up to `head`.

    An entry that the state is made of is valid and changes nothing. Raises NotOfThisJournal where the journal has
    another entry than the one that the state was left with: it would go on on a fork. So it is where the state was made
    of an entry that is void, or where a void one goes on from it: it holds decisions whose commit was lost.

    `cut` as in `head_before`: a state that lacks what is gone stays as it is until a snapshot comes; so long the head
    is ahead of it."""
    stands, thread = head_of(state), state.small["core"]["thread"]
    before = head_before(entry, head, cut)
    if before == stands:
        return advance(state, entry, limits)
    standing, reason = judge(entry, thread, before)
    after = Head(entry.seq, entry.hash)
    is_of_it = stands != Head() and stands in (after, Head(entry.seq - 1, entry.prev))
    if standing == "void" and reason.startswith(BROKEN) and is_of_it:
        raise NotOfThisJournal(thread, stands.seq)
    if standing != "applied":
        return Followed(standing, reason, head)
    if before.seq <= stands.seq:
        if before.seq == stands.seq or (after.seq == stands.seq and after != stands):
            raise NotOfThisJournal(thread, stands.seq)
        return Followed("applied", "", after)
    begun = state_before(entry)
    if begun is None:
        return Followed("applied", "", after)
    followed = advance(begun, entry, limits)
    return followed if followed.small is None else replace(followed, begun=begun)
