# SPDX-License-Identifier: Apache-2.0
"""Following a journal whose beginning retention has cut: from a snapshot, or a state that reaches it, or not at all."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.threadlog.desk import BEGAN_MS, Desk, app_of, desk
from tests.udfs.kafka import Log
from tests.udfs.keyed import Keyed
from tests.udfs.test_thread_follower import (
    SCHEMAS,
    Following,
    Live,
    chat,
    clock,
    forked,
    in_memory,
    slow,
    state_of,
)
from threadlog.errors import NotOfThisJournal
from threadlog.limits import Limits
from threadlog.state import dump
from wire.frames import pack_in

__all__ = ["clock", "in_memory"]  # fixtures
WORDS = "w" * 700  # a few of them, and sections of the state lie in Flink's map


@pytest.fixture(scope="module")
def long() -> Desk:
    """A thread with a snapshot at every fourth entry."""
    thread = desk(chat, limits=Limits(snapshot_every_entries=4))
    for n in range(14):
        thread.send(n=f"{n} {WORDS}")
    assert [entry.seq for entry in thread.journal if entry.snapshot] == [4, 8, 12]
    return thread


@pytest.mark.parametrize("gone", range(15))
def test_follower_of_a_cut_journal_has_the_state_that_was_decided(long: Desk, gone: int) -> None:
    """Bit for bit, from whatever state, if that reaches what is left or a snapshot is left; otherwise the state stays,
    and says that it lacks entries."""
    journal = long.journal
    older = Following()
    for stood in range(len(journal) + 1):
        flink = Keyed(None, BEGAN_MS, stored=copy.deepcopy(older.flink.stored))
        following = Following(flink, "g2", cut=True)
        following.read(journal[gone:], restarts=stood % 2 == 0)
        reached = stood >= gone or any(entry.snapshot for entry in journal[gone:])
        wanted = len(journal) if reached else stood
        assert following.state() == dump(state_of(journal[:wanted])), (gone, stood)
        assert following.flink.function._state.load("t").is_cut != (reached or gone == len(journal)), (gone, stood)
        older.read(journal[stood : stood + 1])


def test_follower_begins_nowhere_else_where_nothing_is_cut(long: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the journal has its beginning, what has none is void: an entry was lost, and its snapshot mends nothing."""
    following = Following()
    following.read(long.journal[3:])
    assert following.state() == dump(state_of([]))
    assert "gap: seq 4 comes after seq 0" in capsys.readouterr().err


def test_follower_of_a_cut_journal_still_leaves_out_what_is_void(long: Desk) -> None:
    """Behind its beginning a thread is a chain like any other."""
    journal = long.journal
    following = Following(cut=True)
    following.read([*journal[5:9], journal[10], journal[6], journal[9], *journal[9:]])
    assert following.state() == dump(long.state)


@pytest.mark.parametrize("gone", [1, 2])
def test_follower_of_a_cut_journal_refuses_a_state_of_another_history(gone: int) -> None:
    """Also where what is left begins right behind the state."""
    ours, theirs = forked()
    other = Following()
    other.read(theirs[:2])
    with pytest.raises(NotOfThisJournal, match="stands at seq 2"):
        Following(other.flink, "g2", cut=True).read(ours[gone:])


def test_live_operator_decides_nothing_for_what_it_lacks(long: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes for such a thread is a dead letter that says why: a first entry would be a fork. Others go on."""
    following = Following(cut=True)
    following.read(long.journal[12:])
    live, log = Live(app_of(chat), following.flink, monkeypatch), Log(SCHEMAS)

    def told(thread: str, id: str) -> tuple[list[str], list[bytes | None]]:
        main, _ = live.flink.give(thread, pack_in(log.go(thread, id)))
        said: dict[str, Any] = {name: value for record in main for name, value in record.headers}
        return [record.topic for record in main], [said.get("__streams.errors.exception")]

    for id in ("e-1", "e-2"):
        assert told("t", id) == (["ns.dead-letters"], [b"history_cut"])
    assert live.at(BEGAN_MS + 10**9) == []
    assert "ns.agent-decisions" in told("u", "e-3")[0]


def test_live_operator_fires_no_timer_of_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer of a state that lacks entries may have fired in one of them."""
    thread = desk(slow)
    for _ in range(4):
        thread.send()
    older = Following()
    older.read(thread.journal[:1])
    following = Following(older.flink, "g2", cut=True)
    following.read(thread.journal[2:])
    assert len(following.flink.due("t")) == 1
    assert Live(app_of(slow), following.flink, monkeypatch).at(BEGAN_MS + 10**9) == []
    assert following.flink.due("t") == []


def test_follower_without_a_snapshot_yet_leaves_out_what_comes_again(
    long: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its state is made of nothing, so of no other history: else no state could ever be made of such a journal."""
    following = Following(cut=True)
    following.read([*long.journal[1:3], long.journal[0], *long.journal[3:]])
    assert "seq 1 was told before" in capsys.readouterr().err
    assert following.state() == dump(state_of(long.journal))
