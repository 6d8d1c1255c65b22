# SPDX-License-Identifier: Apache-2.0
"""The conversation operator in a catch-up: what it makes of a journal, and how the live one goes on from there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec, FixedSchemas
from tests.threadlog.desk import BEGAN_MS, app_of, desk, pay
from tests.threadlog.histories import MODES, MOVES, NUMBERS, History, play
from tests.udfs.kafka import Log
from tests.udfs.keyed import Keyed
from tests.wire.agent_leases import Topic
from threadlog import App, Event, Thread, sleep
from threadlog.entry import Entry
from threadlog.errors import NotOfThisJournal
from threadlog.state import State, dump
from udfs import thread_follower, thread_function
from udfs.thread_follower import HOLD_MS, ThreadFollower
from udfs.thread_function import ThreadFunction
from wire import leases
from wire.frames import OutRecord, Record, pack_in

moves = st.lists(st.tuples(st.integers(0, MOVES - 1), st.integers(0, NUMBERS - 1)), max_size=30)


@pytest.fixture(scope="module", autouse=True)
def in_memory() -> Any:
    """No code on a disk, and a clock in the test's hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread_follower.OwnCode, "check", lambda code: None)
        patch.setattr(thread_follower, "now_ms", lambda: Following.clock_ms)
        patch.setattr(thread_function, "now_ms", lambda: Following.clock_ms)
        yield


SCHEMAS = FixedSchemas()
CODEC = Codec(SCHEMAS)


def record_of(entry: Entry, offset: int, key: bytes | None = None) -> Record:
    value = CODEC.encode("threadlog.Decision", {**entry.to_dict(), "traceparent": ""})
    return Record("ns.agent-decisions", 0, offset, BEGAN_MS, key or entry.thread.encode(), value, [])


class Following:
    """A follower over a Flink in memory; `generation` is the catch-up's; `cut`: the journal's beginning is gone."""

    clock_ms = BEGAN_MS

    def __init__(self, flink: Keyed | None = None, generation: str = "g1", cut: bool = False) -> None:
        self.generation, self.cut = generation, frozenset({0} if cut else ())
        self.flink = flink or Keyed(None, BEGAN_MS)
        self.restarted()

    def restarted(self) -> None:
        """A new function over the same state."""
        self.flink.function = ThreadFollower(SCHEMAS, self.generation, cut=self.cut)
        self.flink.open()

    def read(self, entries: list[Entry], restarts: bool = False) -> None:
        """Give the function these entries of the journal; it must write nothing."""
        for offset, entry in enumerate(entries):
            assert self.flink.give(entry.thread, pack_in(record_of(entry, offset))) == ([], [])
            if restarts:
                self.restarted()

    def state(self, thread: str = "t") -> dict[str, Any]:
        """The whole state of a thread as it is stored."""
        self.restarted()
        self.flink.key = thread
        kept = self.flink.function._state.load(thread)
        return dump(State(kept.small, kept))


@settings(deadline=None, max_examples=60)
@given(history=moves, mode=st.sampled_from(MODES), restarts=st.booleans())
def test_follower_has_the_state_that_was_decided(history: History, mode: str, restarts: bool) -> None:
    """Bit for bit, whatever happened in the thread, in one go or started again behind every entry."""
    thread = play(history, mode)
    following = Following()
    following.read(thread.journal, restarts)
    assert following.state() == dump(thread.state)


@settings(deadline=None, max_examples=60)
@given(history=moves, mode=st.sampled_from(MODES), share=st.floats(0, 1))
def test_follower_goes_on_from_an_older_state(history: History, mode: str, share: float) -> None:
    """What the state is made of is only read; the rest is applied; a second catch-up over all of it changes nothing."""
    thread = play(history, mode)
    older = Following()
    older.read(thread.journal[: int(share * len(thread.journal))])
    for generation in ("g2", "g3"):
        following = Following(older.flink, generation)
        following.read(thread.journal)
        assert following.state() == dump(thread.state)


def forked() -> tuple[list[Entry], list[Entry]]:
    """The journals of two copies of a thread that part ways behind the first entry."""

    def grown(words: str) -> list[Entry]:
        thread = desk(chat)
        thread.send(n="same")
        for n in range(3):
            thread.send(n=f"{words} {n}")
        return thread.journal

    ours, theirs = grown("ours"), grown("theirs")
    assert ours[0] == theirs[0] and ours[1] != theirs[1]
    return ours, theirs


async def chat(thread: Thread, event: Event) -> None:
    thread.vars["said"] = event["n"]
    await thread.reply("yes")


def test_follower_leaves_out_what_is_void(capsys: pytest.CaptureFixture[str]) -> None:
    """The first continuation in the order of the log stands; forks, gaps and foreign records are told and move
    nothing."""
    ours, theirs = forked()
    following = Following()
    following.read([ours[0], theirs[3], ours[1], theirs[1], theirs[2], ours[2], ours[2], ours[3]])
    assert following.state() == dump(state_of(ours))
    for record in (
        Record("ns.agent-decisions", 0, 9, BEGAN_MS, b"t", b"\0\0\0\0\1", []),
        record_of(ours[0], 10, key=b"u"),
        msgspec.structs.replace(record_of(ours[0], 11), key=None),
    ):
        assert following.flink.give("t", pack_in(record)) == ([], [])
    told = [line.partition("left out, ")[2] for line in capsys.readouterr().err.splitlines()]
    assert [line.partition(": ")[0] for line in told] == [
        f"ns.agent-decisions at 0/{offset}" for offset in (1, 3, 4, 9, 10, 11)
    ]
    assert "gap: seq 4 comes after seq 1" in told[0] and "fork: seq 2 was told before" in told[1]


def state_of(journal: list[Entry]) -> State:
    thread = desk(chat)
    thread.journal = journal
    return thread.rebuilt()


def test_follower_does_not_skip_a_gap() -> None:
    """Behind a lost entry nothing counts: the state stands at the last valid one, from which inputs are decided."""
    ours, _ = forked()
    following = Following()
    following.read([ours[0], ours[2], ours[3]])
    assert following.state() == dump(state_of(ours[:1]))


@pytest.mark.parametrize("stood", [2, 3, 4])
def test_follower_refuses_a_state_of_another_history(stood: int) -> None:
    """The state of a second copy that was forked off would go on with the fork."""
    ours, theirs = forked()
    other = Following()
    other.read(theirs[:stood])
    following = Following(other.flink, "g2")
    with pytest.raises(NotOfThisJournal, match=f"thread 't' stands at seq {stood}"):
        following.read(ours)


@pytest.mark.parametrize("stood", [3, 4], ids=["goes on", "made of it"])
def test_follower_refuses_a_state_that_is_ahead_of_its_journal(stood: int) -> None:
    """It holds a decision whose commit was lost: the entry that it was made of, or the one after it, is void."""
    ours, _ = forked()
    ahead = Following()
    ahead.read(ours[:stood])
    following = Following(ahead.flink, "g2")
    with pytest.raises(NotOfThisJournal, match=f"thread 't' stands at seq {stood}"):
        following.read([ours[0], ours[3]])


def test_follower_takes_a_later_fork_for_none_of_the_state() -> None:
    """A void entry may stand before the valid one of its number, and after it."""
    ours, theirs = forked()
    older = Following()
    older.read(ours[:3])
    following = Following(older.flink, "g2")
    following.read([ours[0], theirs[2], ours[1], theirs[1], theirs[2], ours[2], theirs[3], ours[3]])
    assert following.state() == dump(state_of(ours))


class Live:
    """The live operator over the same Flink in memory."""

    def __init__(self, app: App, flink: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(thread_function.AppCode, "load", lambda code: app)
        self.flink = flink
        flink.function = ThreadFunction("app:app", "0" * 64, "ns", SCHEMAS)
        flink.open()

    def at(self, now_ms: int) -> list[bytes | None]:
        """The values that it writes when this time has come."""
        Following.clock_ms = now_ms
        main, side = self.flink.fire(now_ms)
        return [record.value for record in [*main, *side]]


async def slow(thread: Thread, event: Event) -> None:
    """Waits for calls that nobody answers, and for time."""
    await sleep(3)
    await pay(1)
    await thread.reply("never")


def decided(monkeypatch: pytest.MonkeyPatch) -> tuple[Live, list[OutRecord]]:
    """A live operator with a run that sleeps, and the journal it has written."""
    log = Log(SCHEMAS)
    live = Live(app_of(slow), Keyed(None, BEGAN_MS), monkeypatch)
    main, _ = live.flink.give("t-1", pack_in(log.go("t-1", "e-1")))
    return live, [record for record in main if record.topic == "ns.agent-decisions"]


@pytest.fixture(autouse=True)
def clock() -> None:
    Following.clock_ms = BEGAN_MS


def test_live_operator_fires_what_the_follower_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a followed state the same timers fire to the same entries as from the decided one, nothing before that."""
    straight, [entry] = decided(monkeypatch)
    following = Following()
    following.flink.give("t-1", pack_in(Record("ns.agent-decisions", 0, 0, BEGAN_MS, b"t-1", entry.value, [])))
    later_ms = BEGAN_MS + 20 * HOLD_MS
    for now_ms in range(BEGAN_MS, later_ms, HOLD_MS // 2):
        Following.clock_ms = now_ms
        assert following.flink.fire(now_ms) == ([], [])
        assert len(following.flink.due("t-1")) == 1, "the thread would sleep for ever"
    live = Live(app_of(slow), following.flink, monkeypatch)
    wanted = straight.at(later_ms + HOLD_MS)
    assert len(wanted) == 2  # the sleep is over, and the call goes out
    assert live.at(later_ms + HOLD_MS) == wanted
    for now_ms in range(later_ms + HOLD_MS, later_ms + 10_000_000, 1_000_000):
        assert live.at(now_ms) == straight.at(now_ms)


def test_follower_takes_over_timers_of_an_older_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that the restored state had armed does not fire in a catch-up either, and is not lost."""
    live, _ = decided(monkeypatch)
    following = Following(live.flink, "g2")
    assert following.flink.due("t-1") == [BEGAN_MS + HOLD_MS]  # not its 3 s: it was armed in the first five of a job
    Following.clock_ms = BEGAN_MS + 60_000
    assert following.flink.fire(BEGAN_MS + 60_000) == ([], [])
    assert following.flink.due("t-1") == [BEGAN_MS + 60_000 + HOLD_MS]


def test_live_operator_forgets_the_catch_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was only of use to a catch-up is not carried along on every turn."""
    _, [entry] = decided(monkeypatch)
    following = Following()
    following.flink.give("t-1", pack_in(Record("ns.agent-decisions", 0, 0, BEGAN_MS, b"t-1", entry.value, [])))
    assert '"generation":"g1"' in following.flink.stored["thread"]["t-1"][""]
    Live(app_of(slow), following.flink, monkeypatch).at(BEGAN_MS + HOLD_MS)
    assert "generation" not in following.flink.stored["thread"]["t-1"][""]


def test_follower_holds_the_conversations_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it follows, a start of the conversation finds a copy of it, and is refused."""
    topic = Topic()
    monkeypatch.setattr(leases, "RENEW_S", 0.01)
    monkeypatch.setattr(thread_follower, "prompt_producer", lambda bootstrap: topic)
    follower = ThreadFollower(SCHEMAS, "g1", "ns", "b:1")
    follower.open(Keyed(follower, BEGAN_MS))
    try:
        assert topic.states()[:1] == [leases.ASKS]
        topic.wait(3)
    finally:
        follower.close()
    states = topic.states()
    assert states == [leases.ASKS, *[leases.HELD] * (len(states) - 2), leases.RELEASED] and leases.HELD in states
    assert {(record.topic, record.key) for record in topic.records} == {("ns.agent-leases", b"conversation")}
