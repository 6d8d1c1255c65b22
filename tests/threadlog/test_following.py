# SPDX-License-Identifier: Apache-2.0
"""Following a journal: what continues a thread is applied, everything else is void and moves nothing."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any
from zlib import crc32

import msgspec
import pytest

from tests.threadlog.desk import BEGAN_MS, Desk, desk, look, pay
from threadlog import Event, Thread
from threadlog.canonical import chain, digest, text
from threadlog.engine import apply
from threadlog.entry import Entry
from threadlog.limits import Limits
from threadlog.snapshots import snapshot_of, snapshot_text, state_before
from threadlog.state import dump, new_state

DAY_MS = 24 * 3_600_000


async def handler(thread: Thread, event: Event) -> None:
    thread.vars["n"] = thread.vars.get("n", 0) + 1
    await look("x")
    await pay(1)
    await thread.reply("done")


async def nothing(thread: Thread, event: Event) -> None:
    """Decides nothing."""


def journal() -> list[Entry]:
    thread = desk(handler)
    thread.send()
    thread.answer()
    return thread.journal


def resealed(entry: Entry, **changed: Any) -> Entry:
    """A changed entry whose hashes are right again, as a forger or a bug would write it."""
    entry = msgspec.structs.replace(entry, **changed)
    return msgspec.structs.replace(entry, state_hash=chain("", entry.patch)).sealed()


PATCHES = [
    "nonsense", "{}", "[]", '{"put":{},"del":{},"more":{}}', '{"put":{"core":3},"del":{}}', '{"put":[],"del":{}}',
    '{"put":{"steps":{"0":1}},"del":{"steps":5}}', '{"put":{"steps":{}},"del":{"steps":[5]}}',
    '{"put":{"nowhere":{"a":1}},"del":{}}', '{"put":{},"del":{"core":["seq"]}}', '{"put":{"core":{"seq":9}},"del":{}}',
    '{"put":{"core":{"queue":3}},"del":{}}', '{"put":{"core":{"queue_next":true}},"del":{}}', "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("patch", PATCHES, ids=range(len(PATCHES)))
def test_following_a_patch_that_is_none_is_void(patch: str) -> None:
    """A right hash over garbage is garbage; nothing is raised and nothing moves."""
    state = new_state("t")
    standing, after = apply(state, resealed(journal()[0], patch=patch), Limits())
    assert (standing, dump(after)) == ("void", dump(new_state("t")))


@pytest.mark.parametrize("changed", [{"effects": "\ud800"}, {"patch": "\ud800"}, {"hash": ""}, {"prev": "\ud800"}])
def test_following_what_cannot_be_hashed_is_void(changed: dict[str, Any]) -> None:
    """Strings that no UTF-8 holds come from no journal of ours."""
    assert apply(new_state("t"), msgspec.structs.replace(journal()[0], **changed), Limits())[0] == "void"


def test_following_another_thread_is_void() -> None:
    """A right entry in the wrong place is no history of this thread."""
    assert apply(new_state("u"), journal()[0], Limits())[0] == "void"


@pytest.mark.parametrize("field", [name for name in Entry.__struct_fields__ if name != "hash"])
def test_following_an_entry_with_any_field_changed_is_void(field: str) -> None:
    """The hash stands for every field."""
    _, state = apply(new_state("t"), journal()[0], Limits())
    entry = journal()[1]
    value = getattr(entry, field)
    if field == "input":
        changed: Any = msgspec.structs.replace(value, offset=value.offset + 1)
    else:
        changed = value + 1 if isinstance(value, int) else f"{value or ''}x"
    assert apply(state, msgspec.structs.replace(entry, **{field: changed}), Limits())[0] == "void"
    assert apply(state, entry, Limits())[0] == "applied"


def test_following_a_state_hash_that_does_not_continue_the_last_is_void() -> None:
    """State hashes are a chain of their own over the patches."""
    first, second = journal()
    assert second.state_hash == chain(chain("", first.patch), second.patch)
    _, state = apply(new_state("t"), first, Limits())
    forged = msgspec.structs.replace(second, state_hash=chain("", second.patch)).sealed()
    assert apply(state, forged, Limits())[0] == "void"


def with_snapshots() -> Desk:
    thread = desk(handler, limits=Limits(snapshot_every_entries=4))
    for n in range(5):
        thread.send(n=n)
        thread.send(id="same")
        while thread.calls():
            thread.answer(n)
    return thread


def test_following_from_a_snapshot_ends_in_the_same_state() -> None:
    """A reader may begin at any snapshot: it is the whole state before its entry, maps, positions and seen included."""
    thread = with_snapshots()
    places = [place for place, entry in enumerate(thread.journal) if entry.snapshot]
    assert [thread.journal[place].seq for place in places] == list(range(4, len(thread.journal) + 1, 4))
    for place in places:
        state = state_before(thread.journal[place])
        assert state is not None
        for entry in thread.journal[place:]:
            standing, state = apply(state, entry, thread.limits)
            assert standing == "applied"
        assert dump(state) == dump(thread.state)


def aging(times: list[int], **limits: int) -> Desk:
    """A thread with an event at each of these times, days after it began."""
    thread = desk(nothing, limits=Limits(**limits))
    for days in times:
        thread.now = BEGAN_MS + days * DAY_MS
        thread.send()
    return thread


def test_snapshot_comes_with_a_threads_first_decision_in_each_time() -> None:
    """By the thread's own time, however few its decisions: so what retention leaves of it has a beginning."""
    thread = aging([0, 1, 29, 31, 32, 59, 61, 200, 201, 202])
    seqs = [entry.seq for entry in thread.journal if entry.snapshot]
    crossed = [later.seq for earlier, later in pairwise(thread.journal) if time_of(earlier, 30) != time_of(later, 30)]
    assert seqs == crossed and len(seqs) == 3
    for seq in seqs:
        state = state_before(thread.journal[seq - 1])
        assert state is not None
        for entry in thread.journal[seq - 1 :]:
            standing, state = apply(state, entry, thread.limits)
            assert standing == "applied"
        assert dump(state) == dump(thread.state)


def time_of(entry: Entry, days: int) -> int:
    """Which time of so many days an entry is in."""
    return (entry.time_ms + crc32(b"t") % (days * DAY_MS)) // (days * DAY_MS)


def test_snapshot_is_left_after_retention_unless_the_thread_was_silent_for_long() -> None:
    """Wherever the journal is cut by age: a thread with entries left has none to begin at only in its last 30 days."""
    thread = aging([0, 20, 45, 46, 80, 130, 131, 190, 300, 420, 421, 500])
    last = thread.journal[-1].time_ms
    for edge_ms in range(BEGAN_MS, last, DAY_MS):
        left = [entry for entry in thread.journal if entry.time_ms >= edge_ms]
        has_beginning = left[0].seq == 1 or any(entry.snapshot for entry in left)
        assert has_beginning or last - edge_ms < 30 * DAY_MS


def test_snapshots_of_threads_come_at_different_moments() -> None:
    """Else every thread's first entry after the mark would be a large one, all in the same minutes."""
    moments = set[int]()
    for number in range(20):
        thread = desk(nothing, name=f"thread-{number}")
        for day in range(31):
            thread.now = BEGAN_MS + day * DAY_MS
            thread.send()
        [seq] = [entry.seq for entry in thread.journal if entry.snapshot]
        moments.add(seq)
    assert len(moments) > 5


def test_snapshot_is_the_whole_state_and_carries_its_hash() -> None:
    """Two readers compare everything by it: also what the state hash leaves out, such as positions and seen."""
    thread = with_snapshots()
    state = new_state("t")
    for entry in thread.journal:
        if entry.snapshot:
            assert snapshot_of(entry) == dump(state)
            assert msgspec.json.decode(snapshot_text(state))["hash"] == msgspec.json.decode(entry.snapshot)["hash"]
            moved = copy.deepcopy(state)
            moved.small["positions"]["agent-events/0"] += 1
            assert snapshot_text(moved) != entry.snapshot
            moved = copy.deepcopy(state)
            moved.maps.sections["seen"][f"#{moved.small['window']['first']}"][1] += 1
            assert snapshot_text(moved) != entry.snapshot
        _, state = apply(state, entry, thread.limits)


def test_snapshot_of_a_long_thread_is_taken_the_more_seldom_and_still_fits() -> None:
    """What a snapshot costs, spread over the turns between two, does not grow with the messages of a thread."""
    thread = desk(nothing)
    for n in range(20_000):
        thread.send(n=n)
    taken = [entry.seq for entry in thread.journal if entry.snapshot]
    gaps = [later - earlier for earlier, later in pairwise([0, *taken])]
    assert gaps == [500, 500, 500, 500, 1_000, 1_000, 2_000, 2_000, 4_000, 4_000]
    whole = len(thread.journal[taken[-1] - 1].snapshot or "")
    assert whole < thread.limits.snapshot_bytes // 8
    state = state_before(thread.journal[taken[-1] - 1])
    assert state is not None
    for entry in thread.journal[taken[-1] - 1 :]:
        standing, state = apply(state, entry, thread.limits)
        assert standing == "applied"
    assert dump(state) == dump(thread.state)


@pytest.mark.parametrize("change", ["shorter", "longer", "no base64", "an object"])
def test_snapshot_whose_events_do_not_fit_its_window_is_none(change: str) -> None:
    """Also where its own digest vouches for it."""
    thread = with_snapshots()
    entry = next(entry for entry in thread.journal if entry.snapshot)
    state = msgspec.json.decode(entry.snapshot or "")["state"]
    packed = state["seen"]
    other = {"shorter": packed[:-24], "longer": packed + packed[:24], "no base64": "!" * len(packed), "an object": {}}
    state["seen"] = other[change]
    forged = msgspec.structs.replace(entry, snapshot=text({"state": state, "hash": digest(state)}))
    assert (snapshot_of(entry) is None, snapshot_of(forged)) == (False, None)
