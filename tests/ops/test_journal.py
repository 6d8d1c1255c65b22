# SPDX-License-Identifier: Apache-2.0
"""Every reader of the journal leaves void entries out, tells of them, and ends with a sentence."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from ops.hints import OWN
from schemas.codec import Codec
from tests.ops.fakes import FakeKafka, run
from tests.threadlog.desk import Desk, desk
from threadlog import Event, Thread
from threadlog.entry import Entry
from threadlog.limits import Limits
from wire import journal

READERS = (("show", "t"), ("parked", "list"), ("watch",), ("watch", "--once"))


async def polite(thread: Thread, event: Event) -> None:
    await thread.reply(f"hello {event['name']}")


def story(*names: str) -> list[Entry]:
    """The journal of a thread that greets these."""
    made: Desk = desk(polite)
    for name in names:
        made.send(name=name)
    return made.journal


BROKEN = {
    "gap": lambda one, other: [one[0], *one[2:]],
    "fork: seq 2 was told before": lambda one, other: [*one, other[1]],
    "fork: seq 3 continues another history": lambda one, other: [*one[:2], other[2]],
    "wrong hash": lambda one, other: [one[0], replace(one[1], effects=one[1].effects.replace("Bob", "Eve"))],
}


@pytest.mark.parametrize("reader", READERS, ids=" ".join)
@pytest.mark.parametrize("what", BROKEN)
def test_journal_void_entries_are_told(kafka: FakeKafka, what: str, reader: tuple[str, ...]) -> None:
    """A gap, a fork and a changed entry are each counted, placed and named, and the command fails."""
    for entry in BROKEN[what](story("Ann", "Bob", "Cid"), story("Ann", "Eve", "Dan")):
        kafka.add_entry(entry)
    told = run(*reader)
    assert told.exit_code == 1
    assert "The journal is broken. Void and left out, " in told.stderr
    assert f"t at 0/{1 if what in ('gap', 'wrong hash') else 3 if 'before' in what else 2}: {what}" in told.stderr


def test_journal_entry_under_another_thread_is_void(kafka: FakeKafka) -> None:
    """A record's key says in which thread's history it stands."""
    kafka.add_entry(story("Ann")[0], key="u")
    assert "u at 0/0: wrong key: the entry is of thread t" in run("show", "u").stderr


@pytest.mark.parametrize(
    "value", [None, b"", b"\0\0\0\0\1", b"\0\0\0\0\7\4hi\4{}"], ids=["null", "empty", "cut", "other"]
)
def test_journal_foreign_records_are_void(kafka: FakeKafka, value: bytes | None) -> None:
    """What somebody else wrote into the journal hides nothing of it."""
    kafka.add_entry(story("Ann")[0])
    kafka.add("agent-decisions", b"t", value)
    told = run("show", "t")
    assert (told.exit_code, "hello Ann" in told.stdout, "left out, 1:" in told.stderr) == (1, True, True)


def test_journal_void_entries_are_objects_of_json(kafka: FakeKafka) -> None:
    """A program finds each void entry by its place."""
    for entry in BROKEN["gap"](story("Ann", "Bob", "Cid"), []):
        kafka.add_entry(entry)
    told = [json.loads(line) for line in run("show", "t", "--json").stdout.splitlines()]
    assert [line.get("seq") for line in told if "void" not in line] == [1]
    assert [(line["partition"], line["offset"]) for line in told if "void" in line] == [(0, 1)]


def test_journal_whole_story_is_told(kafka: FakeKafka) -> None:
    """Input, verdict and effects of each decision, in order; nothing is said of void entries."""
    for entry in story("Ann", "Bob"):
        kafka.add_entry(entry)
    told = run("show", "t")
    assert (told.exit_code, told.stderr) == (0, "")
    assert [line.strip() for line in told.stdout.splitlines() if "«" in line] == [
        "→ reply «hello Ann»",
        "→ reply «hello Bob»",
    ]


def test_journal_story_tells_the_day_of_each_decision(kafka: FakeKafka) -> None:
    """A run may take a week: a time without its day would be one of several."""
    made = desk(polite)
    for name in ("Ann", "Bob"):
        made.send(name=name)
        kafka.add_entry(made.journal[-1])
        made.now += 86_400_000
    lines = [line[4:29] for line in run("show", "t").stdout.splitlines() if line[3].isdigit()]
    assert lines == ["  2023-11-14 22:13:20.001", "  2023-11-15 22:13:20.002"]
    assert run("show", "t", "--at", "2").stdout.startswith("t after decision 2, 2023-11-15 22:13:20.002\n")


def test_journal_unknown_thread_is_a_sentence(kafka: FakeKafka) -> None:
    """It names threads that are there."""
    kafka.add_entry(story("Ann")[0])
    told = run("show", "nobody")
    assert (told.exit_code, "Some that it knows: t." in told.stderr) == (1, True)


@pytest.mark.parametrize("more", [[], ["--once"]], ids=["for ever", "once"])
def test_journal_is_watched(kafka: FakeKafka, more: list[str]) -> None:
    """Each void entry is an alarm with its place when it is read; whole and repeated ones are none."""
    one = story("Ann", "Bob", "Cid")
    for entry in (one[0], one[0], one[1]):
        kafka.add_entry(entry)
    told = run("--json", "watch", *more)
    counts = json.loads(told.stdout.splitlines()[-1])
    assert (told.exit_code, counts["entries"], counts["threads"], counts["void"]) == (0, 2, 1, 0)
    kafka.add_entry(one[0])
    told = run("--json", "watch", *more)
    *_, alarm, counts = map(json.loads, told.stdout.splitlines())
    assert (told.exit_code, alarm["alarm"], alarm["thread"], alarm["offset"]) == (1, "void", "t", 3)
    assert (counts["entries"], counts["threads"], counts["void"]) == (2, 1, 1)
    assert alarm["do"] == OWN.rebuild


def test_journal_names_threads_that_have_no_beginning(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a first entry nor a snapshot is left; other partitions are not asked about, nor what is no entry."""
    monkeypatch.setattr(journal, "read_topic", kafka.read_topic)
    made: Desk = desk(polite, limits=Limits(snapshot_every_entries=4))
    for name in "abcdef":
        made.send(name=name)
    for key, partition, entries in (
        ("whole", 0, made.journal), ("snapshot", 0, made.journal[2:]), ("none", 0, made.journal[1:3]),
        ("none after it", 0, made.journal[4:]), ("elsewhere", 1, made.journal[4:]),
    ):  # fmt: skip
        for entry in entries:
            kafka.add_entry(entry, key, partition)
    kafka.add("agent-decisions", b"junk", b"junk")
    found = journal.without_beginning("", "threadlog.agent-decisions", Codec(kafka.schemas), {0})
    assert found == ["none", "none after it"]


def test_journal_says_which_start_has_written_a_void_entry(kafka: FakeKafka) -> None:
    """Two copies have two generations; an entry from before there were any says nothing."""
    first, _, third = story("a", "b", "c")
    kafka.add_entry(first)
    kafka.add_entry(third)
    value = Codec(kafka.schemas).encode("threadlog.Decision", third.to_dict())
    kafka.add("agent-decisions", b"t", value, headers=[("generation", b"3")])
    told = run("watch", "--once").stdout.splitlines()
    assert ["(written by generation 3)" in line for line in told if line.startswith("ALARM")] == [False, True]
