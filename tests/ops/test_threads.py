# SPDX-License-Identifier: Apache-2.0
"""`threads` and `index` over a Kafka in memory; what every query has in common."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from ops.index import database, queries
from ops.settings import Settings
from ops.stack.layout import Layout
from tests.ops.fakes import FakeKafka, FakeTopic, objects, run
from tests.ops.indexes import bring, names, records, thread
from tests.threadlog.desk import Desk


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), {"idle", "waits", "parked", "failed"}),
        (("--state", "parked"), {"parked"}),
        (("--state", "waiting", "--agent", "go"), {"waits"}),
        (("--agent", "nobody"), set()),
        (("--waiting-on", "pay"), {"waits"}),
        (("--waiting-on", "pa"), set()),
        (("--tool", "pay"), {"waits", "failed"}),
        (("--tool", "look"), {"parked"}),
        (("--error", "VERSIONmissing"), {"parked"}),
        (("--error", "ToolFailed"), {"failed"}),
        (("--older", "1h"), {"idle", "waits", "parked", "failed"}),
        (("--younger", "1h"), set()),
        (("--state", "parked", "--tool", "pay"), set()),
    ],
    ids=" ".join,
)
def test_threads_are_found_by_what_they_are(
    journal: dict[str, Desk], options: tuple[str, ...], wanted: set[str]
) -> None:
    """Every filter takes what it names and leaves the rest; together they all must hold."""
    assert set(names(*options)) == wanted


@pytest.mark.parametrize("part", ["überweisung", "ÜBERWEISUNG", "prüfstrasse", "ПЛАТЁЖ", "платёж"])
def test_threads_are_found_by_an_error_in_any_script(kafka: FakeKafka, part: str) -> None:
    """The case of letters beyond ASCII makes no difference either, in the error or in what is asked for."""
    made = thread("t", 1)
    made.answer(0, status="failed", error_message="Überweisung an die Prüfstraße: Платёж")
    for entry in made.journal:
        kafka.add_entry(entry)
    assert names("--error", part) == ["t"]
    assert names("--error", "Ubung") == []


def test_threads_are_found_by_their_age(kafka: FakeKafka) -> None:
    """When they began, whatever they have come to since: a moment, or a time ago. --older is about their state."""
    day, began = 86_400_000, {"old": 0, "new": 1}
    for name, days in began.items():
        made = thread(name)
        made.now += days * day
        made.send(n=0)
        made.now += 10 * day
        made.send(n=0)
        for entry in made.journal:
            kafka.add_entry(entry)
    for option, moment, wanted in (
        ("--began-before", "2023-11-15", ["old"]),
        ("--began-after", "2023-11-15", ["new"]),
        ("--began-before", "2023-11-14T22:13:20.001Z", []),
        ("--began-after", "2023-11-14T22:13:20.001Z", ["new", "old"]),
        ("--began-before", "1h", ["new", "old"]),
        ("--began-after", "1h", []),
    ):
        assert (option, moment, sorted(names(option, moment))) == (option, moment, wanted)
    told = run("threads", "--began-after", "soon")
    assert (told.exit_code, "'soon' is no moment" in told.stderr) == (1, True)


def test_threads_come_newest_first_or_longest_first(journal: dict[str, Desk]) -> None:
    """By last activity; with --older by how long they are as they are. --limit says that there are more."""
    rows = objects(run("threads", "--json"))
    assert [row["last_ms"] for row in rows] == sorted((row["last_ms"] for row in rows), reverse=True)
    rows = objects(run("threads", "--older", "1s", "--json"))
    assert [row["since_ms"] for row in rows] == sorted(row["since_ms"] for row in rows)
    assert "More than 1 are like that" in run("threads", "--limit", "1").stdout
    assert len(names("--limit", "1")) == 1


def test_threads_are_a_table_for_people(journal: dict[str, Desk]) -> None:
    """A row says what a thread does, waits for, and what went wrong."""
    told = run("threads")
    assert told.exit_code == 0
    [row] = [line for line in told.stdout.splitlines() if line.startswith("parked ")]
    assert "VersionMissing: agent 'go' version 1 began this run" in row
    [row] = [line.split() for line in told.stdout.splitlines() if line.startswith("waits ")]
    assert (row[1], row[3], row[4], row[5], row[6]) == ("waiting", "pay", "go", "1", "1")


def test_threads_of_nothing_are_a_sentence(kafka: FakeKafka) -> None:
    """An empty journal, or a filter that nothing passes."""
    kafka.topics["threadlog.agent-decisions"] = []
    assert run("threads").stdout == "There is no thread yet.\n"
    assert run("threads", "--state", "parked").stdout == "No thread is like that.\n"


def test_threads_take_durations(journal: dict[str, Desk]) -> None:
    """A wrong one is a sentence."""
    told = run("threads", "--older", "soon")
    assert (told.exit_code, "write a number and ms, s, m, h or d" in told.stderr) == (2, True)
    assert [queries.milliseconds(text) for text in ("5ms", "1.5s", "2m", "1h", "3d")] == [
        5,
        1_500,
        120_000,
        3_600_000,
        259_200_000,
    ]


@pytest.mark.parametrize("command", [("threads",), ("diff", "t", "0", "1"), ("show", "t", "--at", "1")], ids=" ".join)
def test_queries_tell_of_void_entries(kafka: FakeKafka, command: tuple[str, ...]) -> None:
    """They are left out, counted and named, and the command fails, as every reader of the journal does."""
    one = thread("t", 0, 0)
    for entry in (one.journal[0], replace(one.journal[1], reason="changed"), one.journal[1]):
        kafka.add_entry(entry)
    told = run(*command)
    assert told.exit_code == 1
    assert "Void and left out, 1:" in told.stderr
    assert "t at 0/1: wrong hash: seq 2" in told.stderr


def test_queries_go_on_where_the_last_one_ended(journal: dict[str, Desk], kafka: FakeKafka) -> None:
    """What was decided since is there; with --no-refresh it is not, and no broker is asked."""
    assert len(names()) == 4
    journal["idle"].send(n=1)
    kafka.add_entry(journal["idle"].journal[-1])
    assert names("--state", "waiting", "--no-refresh") == ["waits"]
    assert set(names("--state", "waiting")) == {"waits", "idle"}


def test_queries_need_no_broker_if_told(alone: Path) -> None:
    """Nothing listens here; without an index that is a sentence too."""
    told = run("threads", "--no-refresh")
    assert (told.exit_code, told.stderr.splitlines()[0]) == (1, "Error: There is no index yet.")
    told = run("threads")
    assert (told.exit_code, "No broker listens" in told.stderr) == (1, True)
    bring(database.path_of(Settings(state_dir=alone / ".threadlog")), FakeTopic(records([thread("a", 0).journal])))
    assert names("--no-refresh") == ["a"]
    other = database.path_of(Settings(state_dir=alone / ".threadlog", namespace="other"))
    other.parent.mkdir()
    shutil.copy(database.path_of(Settings(state_dir=alone / ".threadlog")), other)
    told = run("--namespace", "other", "threads", "--no-refresh")
    assert (told.exit_code, "The index is of threadlog, not of other." in told.stderr) == (1, True)


def test_each_namespace_has_an_index_of_its_own(journal: dict[str, Desk], alone: Path, kafka: FakeKafka) -> None:
    """A branch is asked beside its original, and neither makes the other's anew. What an older version left is removed
    when one is brought up to date, and with the stack."""
    folder = alone / ".threadlog" / database.FOLDER
    folder.mkdir(parents=True)
    for name in (database.FILE, "lock"):
        (folder / name).write_text("of an older version")
    kafka.topics["lock.agent-decisions"] = kafka.topics["threadlog.agent-decisions"][:1]
    assert len(names()) == 4
    assert len(objects(run("--namespace", "lock", "threads", "--json"))) == 1
    assert len(names("--no-refresh")) == 4
    assert "made anew" not in run("threads").stderr
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "threadlog"]
    Layout(alone / ".threadlog").remove()
    assert not folder.exists()


@pytest.mark.parametrize("junk", [b"", b"no database at all" * 500], ids=["empty", "junk"])
def test_queries_make_an_index_that_is_none_anew(journal: dict[str, Desk], alone: Path, junk: bytes) -> None:
    """A file that something else has written over is a cache that is lost, no more."""
    names()
    path = database.path_of(Settings(state_dir=alone / ".threadlog"))
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.write_bytes(junk)
    told = run("threads", "--no-refresh")
    assert (told.exit_code, "`threadlog index rebuild`" in told.stderr) == (1, True)
    assert len(names()) == 4


def test_index_is_rebuilt_and_tells_what_it_holds(journal: dict[str, Desk], alone: Path) -> None:
    """`rebuild` reads all of it again; `status` says up to where it was read, and needs no broker."""
    [done] = objects(run("index", "rebuild", "--json"))
    assert (done["decisions"], done["voids"], done["cut"]) == (6, 0, 0)
    whole, *places = objects(run("index", "status", "--json"))
    assert (whole["threads"], whole["decisions"], whole["namespace"]) == (4, 6, "threadlog")
    assert places == [{"partition": 0, "first": 0, "next": 6, "cut": 0}]
    assert "6 decisions" in run("index", "rebuild").stdout
    assert "4 threads, 6 decisions, 0 void entries" in run("index", "status").stdout


def test_index_of_a_purged_stack_is_not_taken_for_the_new_one(journal: dict[str, Desk], kafka: FakeKafka) -> None:
    """Same name, same number of records, another cluster: what it held is gone."""
    assert len(names()) == 4
    kafka.cluster = "cluster-2"
    other = thread("other", 0, 0, 0, 0, 0, 0)
    kafka.topics.clear()
    for entry in other.journal:
        kafka.add_entry(entry)
    assert names() == ["other"]
    kafka.cluster = "cluster-3"
    told = run("threads")
    assert "The index was made anew: it was of another cluster, topic or namespace." in told.stderr


def test_json_lines_of_threads_are_objects_of_known_names(journal: dict[str, Desk]) -> None:
    """Names are an interface."""
    told = [json.loads(line) for line in run("threads", "--json").stdout.splitlines()]
    assert {tuple(line) for line in told} == {queries.THREAD}
