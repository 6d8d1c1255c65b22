# SPDX-License-Identifier: Apache-2.0
"""A journal whose beginning retention has deleted is read from snapshots on; it is whole, and a gap in it is a gap."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.codec import Codec
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.indexes import TOPIC, teller
from tests.ops.test_journal import READERS
from tests.threadlog.desk import Desk, desk
from threadlog.entry import Entry
from threadlog.limits import Limits

INDEX = ("threads",)
REPLAY = ("replay", "--all", "--app", "tests.ops.indexes:TELLER", "--workers", "0")  # of what was parked it makes more


def parked(name: str = "t") -> Desk:
    """A thread with a snapshot in each second of four entries; the second parks its run."""
    made: Desk = desk(teller, limits=Limits(snapshot_every_entries=2), name=name)
    made.send(n=1)
    made.app.agents.clear()
    made.answer(1)
    made.send("t.More")
    made.send(n=2)
    assert [entry.snapshot is not None for entry in made.journal] == [False, True, False, True]
    return made


def fill(kafka: FakeKafka, entries: list[Entry], cut: int = 0) -> None:
    """These are in the journal until retention takes the first of them."""
    for entry in entries:
        kafka.add_entry(entry)
    kafka.cut("agent-decisions", cut)


@pytest.mark.parametrize("reader", (*READERS, INDEX), ids=" ".join)
@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_cut_journal_is_not_broken(kafka: FakeKafka, cut: int, reader: tuple[str, ...]) -> None:
    """Wherever its beginning is; what is left before a thread's next snapshot is no gap, nor what lies after it."""
    made = parked()
    made.send(n=2)
    made.send(n=2)
    fill(kafka, made.journal, cut)
    told = run(*reader)
    assert (told.exit_code, told.stderr, "ALARM" in told.stdout) == (0, "", False)


@pytest.mark.parametrize(("cut", "seq", "left_out"), [(0, 1, None), (1, 2, 0), (2, 4, 1), (3, 4, 0)])
def test_cut_thread_is_shown_from_its_next_snapshot_on(
    kafka: FakeKafka, cut: int, seq: int, left_out: int | None
) -> None:
    """The story says first that it has lost its beginning; an unbroken one says nothing."""
    fill(kafka, parked().journal, cut)
    lines = objects(run("--json", "show", "t"))
    assert [line["seq"] for line in lines if "cut" not in line] == list(range(seq, 5))
    about = {"cut": True, "thread": "t", "seq": seq, "left_out": left_out}
    assert [line for line in lines if "cut" in line] == ([] if left_out is None else [about])
    said = run("show", "t").stdout
    assert (f"from the snapshot in seq {seq} on" in said) == bool(cut)
    assert ("1 before that are left, and are not told" in said) == bool(left_out)


def test_cut_thread_without_a_snapshot_is_told_of(kafka: FakeKafka) -> None:
    """Its story cannot be told, and the journal is not broken."""
    fill(kafka, parked().journal[:3], 2)
    told = run("show", "t")
    assert (told.exit_code, "left no snapshot of it" in told.stderr) == (1, True)


@pytest.mark.parametrize(("cut", "seq"), [(0, 2), (1, 2), (2, None), (3, None)])
def test_cut_thread_is_still_parked(kafka: FakeKafka, cut: int, seq: int | None) -> None:
    """Also where the decision that parked its run is gone: the snapshot says it, in the same words."""
    made = parked()
    fill(kafka, made.journal, cut)
    [effect] = made.effects("park_run")
    found = {"thread": "t", "run_id": effect["run_id"], "seq": seq, **effect["error"]}
    assert objects(run("--json", "parked", "list")) == [found]


@pytest.mark.parametrize("action", ["abandon", "retry"])
def test_cut_thread_is_let_go_on(kafka: FakeKafka, action: str) -> None:
    """A person's word about its parked run is sent as ever; once it is journaled, nothing is parked."""
    made = parked()
    fill(kafka, made.journal, 2)
    run_id = made.effects("park_run")[0]["run_id"]
    assert run("parked", action, "t").exit_code == 0
    [sent] = kafka.topics["threadlog.agent-events"]
    asked: Any = Codec(kafka.schemas).decode(sent.value)[2]
    assert (asked["action"], asked["run_id"]) == (action, run_id)
    made.app = desk(teller).app
    kafka.add_entry(made.command(action).entry)
    assert run("parked", "list").stdout == "No run is parked.\n"


@pytest.mark.parametrize("action", ["abandon", "retry"])
def test_broken_thread_is_let_go_on(kafka: FakeKafka, action: str) -> None:
    """A person's word is sent; what is void is told afterwards. Void entries stay for ever, repaired or not."""
    made = parked()
    fill(kafka, [*made.journal, made.journal[0]])
    told = run("parked", action, "t")
    assert (told.exit_code, "Void and left out, 1:" in told.stderr) == (1, True)
    [sent] = kafka.topics["threadlog.agent-events"]
    assert Codec(kafka.schemas).decode(sent.value)[2]["action"] == action


@pytest.mark.parametrize("more", [[], ["--once"]], ids=["for ever", "once"])
def test_cut_journal_is_watched(kafka: FakeKafka, more: list[str]) -> None:
    """What is deleted of a partition is told once for all its threads, without an alarm; what they lack is counted."""
    one, other = parked("t").journal, parked("u").journal
    fill(kafka, [*one[:2], *other[:2], *one[2:], *other[2:]], 4)
    for entry in parked("v").journal:
        kafka.add_entry(entry, partition=1)
    told = run("watch", *more).stdout
    assert told.endswith("Of 2 threads the beginning is deleted; 2 entries lie before their next snapshot.\n")
    *_, cut, counts = objects(run("--json", "watch", *more))
    assert cut == {"cut": True, "topic": "agent-decisions", "partition": 0, "offset": 4}
    assert [counts[name] for name in ("entries", "threads", "void", "cut", "alarms")] == [6, 3, 0, 2, 0]


@pytest.mark.parametrize("reader", (*READERS, INDEX, REPLAY), ids=" ".join)
def test_gap_at_the_start_of_what_is_not_cut_is_a_gap(kafka: FakeKafka, reader: tuple[str, ...]) -> None:
    """A snapshot heals nothing there. What the first offsets held was rolled back, not deleted: the broker says so."""
    fill(kafka, parked().journal)
    del kafka.topics[TOPIC][:2]
    told = run(*reader)
    assert (told.exit_code, "Void and left out, 2:" in told.stderr) == (1, True)
    assert "t at 0/2: gap: seq 3 comes after seq 0" in told.stderr
    assert ("ALARM" in told.stdout) == (reader[0] == "watch")


@pytest.mark.parametrize("reader", (*READERS, INDEX, REPLAY), ids=" ".join)
@pytest.mark.parametrize("lost", [1, 2])
def test_gap_in_what_is_left_of_a_cut_thread_is_a_gap(kafka: FakeKafka, lost: int, reader: tuple[str, ...]) -> None:
    """Before its next snapshot as well as after it."""
    made = parked()
    for _ in range(2):
        made.send(n=2)
    fill(kafka, made.journal, 2)
    del kafka.topics[TOPIC][lost]
    told = run(*reader)
    assert (told.exit_code, f"gap: seq {lost + 4} comes after seq {lost + 2}" in told.stderr) == (1, True)
