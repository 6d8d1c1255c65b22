# SPDX-License-Identifier: Apache-2.0
"""The conversation operator in a catch-up, given several entries of a thread at once, as a journal is read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.threadlog.histories import MODES, History, play
from tests.udfs.test_thread_follower import Following, clock, forked, in_memory, moves, record_of, state_of
from threadlog.entry import Entry
from threadlog.following import Head
from threadlog.state import dump
from wire.frames import pack_in

__all__ = ["clock", "in_memory"]  # fixtures


def read_together(following: Following, entries: list[Entry], sizes: list[int]) -> None:
    """Give it these entries: so many at once, and so many, and what is left."""
    frames = [pack_in(record_of(entry, offset)) for offset, entry in enumerate(entries)]
    for size in [*sizes, len(frames)]:
        assert following.flink.give("t", b"".join(frames[:size])) == ([], [])
        frames = frames[size:]


def read_so_far(following: Following) -> Head:
    """How far it has read the thread's journal, as it is stored."""
    following.restarted()
    following.flink.key = "t"
    read: Head = following.flink.function._state.load("t").read("g1")
    return read


@settings(deadline=None, max_examples=60)
@given(history=moves, mode=st.sampled_from(MODES), sizes=st.lists(st.integers(0, 9), max_size=6))
def test_follower_takes_entries_of_a_thread_together(history: History, mode: str, sizes: list[int]) -> None:
    """However many at once, the state is the same, and so is how far the journal is read."""
    thread = play(history, mode)
    together, alone = Following(), Following()
    read_together(together, thread.journal, sizes)
    alone.read(thread.journal)
    assert together.state() == alone.state() == dump(thread.state)
    assert read_so_far(together) == read_so_far(alone)


@settings(deadline=None, max_examples=60)
@given(history=moves, mode=st.sampled_from(MODES), sizes=st.lists(st.integers(0, 9), max_size=6), share=st.floats(0, 1))
def test_follower_goes_on_from_an_older_state_together(
    history: History, mode: str, sizes: list[int], share: float
) -> None:
    """Some of what comes at once lies before the state, and some behind it."""
    thread = play(history, mode)
    older = Following()
    older.read(thread.journal[: int(share * len(thread.journal))])
    following = Following(older.flink, "g2")
    read_together(following, thread.journal, sizes)
    assert following.state() == dump(thread.state)


def test_follower_leaves_out_what_is_void_among_others(capsys: pytest.CaptureFixture[str]) -> None:
    """A thread of which there is nothing else gets no state."""
    ours, theirs = forked()
    following, nothing = Following(), Following()
    read_together(following, [ours[0], theirs[3], ours[1], theirs[1], ours[2], ours[2], ours[3]], [3])
    assert following.state() == dump(state_of(ours))
    assert len(capsys.readouterr().err.splitlines()) == 2
    read_together(nothing, ours[2:], [])
    assert not nothing.flink.stored["thread"].get("t")
