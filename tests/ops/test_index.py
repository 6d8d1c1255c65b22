# SPDX-License-Identifier: Apache-2.0
"""The index is a function of the journal: however it is cut into refreshes, and whatever in it is void."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import ops.index.refresh
from ops.index.outline import Outline, outline_of
from schemas.errors import Unreadable
from tests.ops.fakes import FakeTopic
from tests.ops.indexes import (
    CODEC,
    bring,
    built,
    busy,
    busy_journal,
    followed,
    journals,
    records,
    rows,
)
from tests.threadlog.desk import desk, look, pay
from tests.threadlog.histories import LIMITS, MODES, MOVES, NUMBERS, History, some
from threadlog import Event, Thread, gather
from threadlog.following import Head, judge
from wire.frames import Record
from wire.journal import entry_of

moves = st.lists(st.tuples(st.integers(0, MOVES - 1), st.integers(0, NUMBERS - 1)), max_size=30)


def with_faults(log: list[Record], faults: list[tuple[int, int]]) -> list[Record]:
    """The log with entries missing, told again, or changed, at these places; offsets run on without a hole."""
    broken = list(log)
    for kind, place in faults:
        at = place % len(broken) if broken else 0
        if broken and kind == 0:
            del broken[at]
        elif broken and kind == 1:
            broken.append(broken[at])
        elif broken:
            broken[at] = replace(broken[at], value=(broken[at].value or b"")[:-1] + b"x")
    ends = {0: 0, 1: 0}
    numbered = []
    for record in broken:
        numbered.append(replace(record, offset=ends[record.partition]))
        ends[record.partition] += 1
    return numbered


def repeats(log: list[Record]) -> int:
    """How many records say again what their thread's head is: harmless, and neither a decision nor void."""
    heads, count = dict[str, Head](), 0
    for record in log:
        with contextlib.suppress(Unreadable):
            entry, thread = entry_of(record.value, CODEC), (record.key or b"").decode()
            standing, _ = judge(entry, thread, heads.get(thread, Head()))
            count += standing == "repeat"
            if standing == "applied":
                heads[thread] = Head(entry.seq, entry.hash)
    return count


@settings(deadline=None, max_examples=60)
@given(
    histories=st.lists(moves, min_size=1, max_size=3),
    modes=st.tuples(*[st.sampled_from(MODES)] * 3),
    seed=st.integers(0, 5),
    faults=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 99)), max_size=3),
    cuts=st.lists(st.integers(0, 99), max_size=4),
    batch=st.sampled_from((1, 3, 1000)),
)
def test_index_is_the_same_however_the_log_is_cut(
    histories: list[History], modes: tuple[str, ...], seed: int, faults: Any, cuts: list[int], batch: int
) -> None:
    """Any number of refreshes in batches of any size end in what one pass over the whole log makes."""
    log = with_faults(records(journals(histories, modes), seed), faults)
    before = ops.index.refresh.BATCH
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder) / "whole" / "i", Path(folder) / "parts" / "i"
        once = built(whole, FakeTopic(log))
        try:
            ops.index.refresh.BATCH = batch
            for cut in sorted(cuts):
                bring(parts, FakeTopic(log[:cut]))
            assert built(parts, FakeTopic(log)) == once
        finally:
            ops.index.refresh.BATCH = before
        assert len(once["decisions"]) + len(once["voids"]) + repeats(log) == len(log)


def test_index_tells_of_each_thread_what_its_state_tells(tmp_path: Path) -> None:
    """After every decision: the outline by patches is the outline of the state; open calls and runs are its own."""
    for number, (history, mode) in enumerate(some(6)):
        [entries] = journals([history], [mode])
        log = records([entries])
        path = tmp_path / str(number) / "i"
        for place, (_, small) in enumerate(followed(entries), 1):
            bring(path, FakeTopic(log[:place]))
            [raw] = rows(path, "SELECT outline FROM outlines")
            kept, wanted = msgspec.json.decode(raw[0], type=Outline), outline_of(small)
            for name in ("seq", "head", "last_ms", "run", "calls", "sleeps", "queued"):
                assert getattr(kept, name) == getattr(wanted, name), name
            open_calls = {call for (call,) in rows(path, "SELECT call_id FROM calls WHERE closed_seq IS NULL")}
            assert open_calls == set(small["calls"])
            open_runs = rows(path, "SELECT run_id, status FROM runs WHERE ended_seq IS NULL")
            run = small["run"]
            assert open_runs == ([(run["id"], "parked" if "parked" in run else "open")] if run else [])


def test_index_laws_reach_every_state_and_end(tmp_path: Path) -> None:
    """The histories above hold threads and calls in every state that the tables know."""
    states, statuses = set[str](), set[str]()
    for number, (history, mode) in enumerate(some(60)):
        [entries] = journals([history], [mode])
        path = tmp_path / str(number) / "i"
        bring(path, FakeTopic(records([entries])))
        statuses |= {one for (one,) in rows(path, "SELECT status FROM calls")}
        states |= {outline_of(small).state for _, small in followed(entries)}
    assert states == {"idle", "queued", "waiting", "parked"}
    assert statuses >= {"open", "done", "failed", "refused", "rejected", "in_doubt", "late_success", "left"}


def test_index_tells_what_a_thread_waits_for(tmp_path: Path) -> None:
    """State, what it waits for and since when; a duplicate in between does not count as a change."""
    made = desk(busy, limits=LIMITS)
    told = []
    for move in (
        lambda: made.send(n=1, id="same"),
        lambda: made.send(n=1, id="same"),
        lambda: made.answer("v"),
        lambda: made.answer(7),
        lambda: made.send("t.More"),
    ):
        move()
        bring(tmp_path / "i", FakeTopic(records([made.journal])))
        told += rows(tmp_path / "i", "SELECT state, waiting_on, since_ms FROM threads")
    times = [entry.time_ms for entry in made.journal]
    assert told == [
        ("waiting", "look, pay", times[0]),
        ("waiting", "look, pay", times[0]),
        ("waiting", "pay", times[2]),
        ("waiting", "t.More", times[3]),
        ("idle", "", times[4]),
    ]


def test_index_tells_when_a_person_lets_a_parked_run_go_on(tmp_path: Path) -> None:
    """Parked with its error; retried, the run is open again and nothing is wrong with it."""
    made, told = desk(busy, limits=LIMITS), []
    agents = dict(made.app.agents)
    made.send(n=1)
    made.app.agents.clear()
    made.answer("v")
    for retry in (False, True):
        if retry:
            made.app.agents.update(agents)
            made.command("retry")
        bring(tmp_path / "i", FakeTopic(records([made.journal])))
        told += rows(
            tmp_path / "i", "SELECT r.status, r.error, state, t.error FROM runs r JOIN threads t USING (run_id)"
        )
    missing = "VersionMissing: agent 'go' version 1 began this run but is not in the app: deploy code with it"
    assert told == [("parked", missing, "parked", missing), ("open", "", "waiting", "")]


async def hasty(thread: Thread, event: Event) -> None:
    async def fails() -> None:
        raise ValueError("no")

    await gather(look("a"), pay(1), fails())


def test_index_closes_a_read_that_was_asked_and_left_in_one_decision(tmp_path: Path) -> None:
    """No state ever held it, so no patch removes it; the effect beside it stays open with the thread."""
    made = desk(hasty, limits=LIMITS)
    made.send()
    bring(tmp_path / "i", FakeTopic(records([made.journal])))
    found = rows(tmp_path / "i", "SELECT tool, status, asked_seq, closed_seq FROM calls ORDER BY tool")
    assert found == [("look", "left", 1, 1), ("pay", "open", 1, None)]
    assert rows(tmp_path / "i", "SELECT state, open_calls, error FROM threads") == [("idle", 1, "ValueError: no")]


def test_index_has_every_effect_in_its_place(tmp_path: Path) -> None:
    """The effects of the tables are those of the journal, one by one."""
    entries = busy_journal()
    bring(tmp_path / "i", FakeTopic(records([entries])))
    asked = [(e.seq, n, one["do"]) for e in entries for n, one in enumerate(msgspec.json.decode(e.effects))]
    assert rows(tmp_path / "i", "SELECT seq, n, do FROM effects ORDER BY seq, n") == asked
    assert rows(tmp_path / "i", 'SELECT partition, "offset", seq FROM decisions ORDER BY seq') == [
        (0, offset, offset + 1) for offset in range(len(entries))
    ]


def test_index_counts_what_is_void_and_does_not_believe_it(tmp_path: Path) -> None:
    """A fork that comes in a later refresh is seen by the head that the index kept."""
    one, other = busy_journal(), desk(busy, limits=LIMITS)
    other.send(n=5)
    path = tmp_path / "i"
    log = records([one[:3]])
    bring(path, FakeTopic(log))
    log = records([[*one[:3], other.journal[0], *one[3:]]])
    done = bring(path, FakeTopic(log))
    assert (done.decisions, done.voids) == (2, 1)
    assert [hash for (hash,) in rows(path, "SELECT hash FROM decisions ORDER BY seq")] == [e.hash for e in one]


FORGED = [
    {"effects": "{"}, {"effects": '[{"do":"call"}]'}, {"effects": '[{"do":{}}]'}, {"patch": "[]"},
    {"patch": '{"put":{"run":5},"del":{}}'}, {"effects": '[{"do":"dead_letter","code":{},"message":"m"}]'},
    {"effects": '[{"do":"signal","run_id":99999999999999999999,"name":"n","thread":"t"}]'},
    {"effects": '[{"do":"begin_run","run_id":"r","agent":null,"version":1}]'},
]  # fmt: skip


@pytest.mark.parametrize("changed", FORGED, ids=str)
def test_index_outlives_what_no_engine_writes(tmp_path: Path, changed: dict[str, str]) -> None:
    """A right hash over garbage is void, and all around it is indexed as if it were not there."""
    [(history, mode), *_] = some(1)
    [entries] = journals([history], [mode])
    forged = replace(entries[10], **changed).sealed()
    done = bring(tmp_path / "i", FakeTopic(records([[*entries[:10], forged, *entries[10:]]])))
    assert (done.decisions, done.voids) == (len(entries), 1)


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_index_keeps_the_counts_of_its_decisions(tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every refresh, also around an entry whose batch was taken back, and when the index is made anew."""
    monkeypatch.setattr(ops.index.refresh, "BATCH", batch)
    entries = journals(*zip(*some(2), strict=True))
    entries[0].insert(10, replace(entries[0][10], effects=FORGED[6]["effects"]).sealed())
    log, path = records(entries), tmp_path / "i"
    for end, anew in ((15, False), (40, False), (len(log), False), (len(log), True)):
        bring(path, FakeTopic(log[:end]), anew=anew)
        counted = rows(path, "SELECT verdict, kind, count(*) FROM decisions GROUP BY 1, 2 ORDER BY 1, 2")
        assert rows(path, "SELECT * FROM verdicts ORDER BY 1, 2") == counted
        assert len(counted) > 1


def test_index_has_every_dead_letter_with_the_input_that_it_is_of(tmp_path: Path) -> None:
    """The rows of the table are those effects of the journal, in its order."""
    entries = [entry for journal in journals(*zip(*some(6), strict=True)) for entry in journal]
    bring(tmp_path / "i", FakeTopic(records([entries])))
    asked = [
        (
            e.thread, e.seq, e.time_ms, one["code"], one["message"], e.input.topic, e.input.partition, e.input.offset,
            e.input.source, e.input.id, e.input.type,
        )
        for e in entries for one in msgspec.json.decode(e.effects) if one["do"] == "dead_letter"
    ]  # fmt: skip
    assert asked
    assert rows(tmp_path / "i", "SELECT * FROM dead_letters") == asked


def test_index_has_attempts_and_error_of_a_result(tmp_path: Path) -> None:
    """As the tools job wrote them."""
    made = desk(busy, limits=LIMITS)
    made.send(n=1)
    ask = made.calls()[1]
    result = made.result(ask, status="failed")
    attempt = {"n": 1, "started_ms": 1, "ended_ms": 2, "outcome": "failed", "detail": ""}
    fields = {**result.data, "quota_key": "q", "attempts": [attempt] * 3, "asked_ms": 1, "finished_ms": 2}
    made.take(replace(result, value=CODEC.encode("threadlog.ToolResult", fields)))
    bring(tmp_path / "i", FakeTopic(records([made.journal])))
    found = rows(tmp_path / "i", "SELECT tool, status, attempts, error, asked_seq, closed_seq FROM calls ORDER BY tool")
    assert found == [("look", "left", None, None, 1, 2), ("pay", "failed", 3, "E: no", 1, 2)]
