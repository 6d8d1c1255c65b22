# SPDX-License-Identifier: Apache-2.0
"""What the watch makes of what it sees: when an alarm is told, and when something is no alarm yet."""

from __future__ import annotations

from typing import Any

import pytest

from ops import http
from ops.settings import Settings
from ops.stack import flink
from ops.watching import jobs
from ops.watching.alarms import Alarms, Wrong
from ops.watching.inputs import PASSED_S, Undecided
from ops.watching.leases import TRIES_S, Leases
from ops.watching.transactions import HELD_S, Held
from ops.watching.watch import Watch
from schemas.codec import Codec, FixedSchemas
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.test_journal import story
from wire.frames import Record, thread_in
from wire.leases import HELD, OBSERVE_S, OVERTAKEN, RELEASED, TYPE

WRONG = Wrong("job", "it does not run", "Start it", 10, "tools")
JOURNAL, IDLE = ("threadlog.agent-decisions", 3), ("threadlog.agent-replies", 1)


def test_alarm_is_told_once_when_it_has_lasted_and_once_when_it_is_over() -> None:
    """What is over before that was none."""
    alarms = Alarms()
    assert [alarms.look(now, [WRONG]) for now in (0, 9)] == [[], []]
    assert alarms.look(10, [WRONG]) == [(WRONG, 10, False)]
    assert alarms.look(11, [WRONG]) == []
    assert alarms.look(12, []) == [(WRONG, 12, True)]
    assert [alarms.look(now, found) for now, found in ((13, [WRONG]), (14, []), (30, [WRONG]))] == [[], [], []]


def test_alarm_is_known_again_when_its_words_change() -> None:
    """What is told with it may count on."""
    alarms = Alarms()
    alarms.look(0, [WRONG])
    later = Wrong("job", "it still does not run", "Start it", 10, "tools")
    assert alarms.look(10, [later]) == [(later, 10, False)]


def test_transaction_hangs_when_the_stable_offset_stands_before_the_end() -> None:
    """For longer than a killed job needs to come back; its place is named."""
    held = Held(interval_ms=200)
    for now in (0.0, HELD_S - 1):
        held.look(now, {JOURNAL: (40, 50 + int(now)), IDLE: (5, 5)})
        assert held.wrong(now) == []
    held.look(HELD_S, {JOURNAL: (40, 90), IDLE: (5, 5)})
    [wrong] = held.wrong(HELD_S)
    assert wrong.fields["places"] == [{"topic": JOURNAL[0], "partition": 3, "offset": 40}]
    assert "threadlog.agent-decisions 3/40" in wrong.what


def test_transaction_of_a_working_job_does_not_hang() -> None:
    """There is always an open one, but never the same one for long."""
    held = Held(interval_ms=200)
    for now in range(100):
        held.look(now, {JOURNAL: (now, now + 5)})
        assert held.wrong(now) == []
    assert held.oldest_s(99) == 0


def test_transaction_may_be_open_for_some_checkpoints() -> None:
    """Where they are far apart, so are its ends."""
    held = Held(interval_ms=5_000)
    for now in (0, 99):
        held.look(now, {JOURNAL: (40, 50)})
    assert (held.wrong(99), len(held.wrong(100))) == ([], 1)


def lease(holder: str, state: str = HELD, job: str = "conversation", ms: int = 1, generation: int = 1) -> Record:
    schemas = FixedSchemas()
    value = Codec(schemas).encode(
        TYPE,
        {
            "job": job,
            "holder": holder,
            "state": state,
            "place": f"host/{holder}",
            "time_ms": 1,
            "generation": generation,
        },
    )
    return Record("threadlog.agent-leases", 0, 0, ms, job.encode(), value, [])


def leases(*said: tuple[float, Record]) -> Leases:
    made, codec = Leases(), Codec(FixedSchemas())
    for now, record in said:
        made.take(record, codec, now)
    return made


def test_lease_that_nobody_renews_is_wrong() -> None:
    """Released, run out, or of another job."""
    assert leases((0, lease("a"))).wrong(OBSERVE_S - 1) == []
    for said in ([(0, lease("a"))], [(6, lease("a")), (7, lease("a", RELEASED))], [(7, lease("a", job="tools"))]):
        assert [wrong.kind for wrong in leases(*said).wrong(OBSERVE_S)] == ["lease"]


def test_lease_of_a_second_copy_is_wrong() -> None:
    """It says where each runs. One that follows on another is none as soon as the first is silent, which one that died
    without a word is before that is told."""
    [wrong] = leases((0, lease("a")), (1, lease("b", generation=2))).wrong(2)
    assert (wrong.kind, wrong.fields["places"]) == ("copies", ["host/a", "host/b"])
    assert wrong.after_s > OBSERVE_S
    assert leases((0, lease("a")), (6, lease("b", generation=2))).wrong(OBSERVE_S) == []


def test_leases_of_one_start_are_of_one_copy() -> None:
    """However many subtasks it has: `threadlog start --parallelism` may have come since the watch began."""
    assert leases((0, lease("a")), (1, lease("b"))).wrong(2) == []


def test_lease_of_long_ago_is_history() -> None:
    """The topic is read from its beginning: who died without a word, or was overtaken, tells nothing of now."""
    old = [(0, lease("a")), (0, lease("b", OVERTAKEN))]
    assert leases(*old, (0, lease("c", ms=60_000))).wrong(1) == []
    assert [wrong.where for wrong in leases(*old, (0, lease("c", ms=2_000, generation=2))).wrong(1)] == [
        "",
        "overtaken",
    ]


def test_copy_that_was_overtaken_and_tries_again_is_wrong() -> None:
    """Each of its tries is told in the topic, wherever it runs; it is over when none has come for a while."""
    said = [(0, lease("a")), (1, lease("b", OVERTAKEN)), (TRIES_S, lease("a"))]
    [wrong] = leases(*said).wrong(TRIES_S)
    assert (wrong.kind, wrong.fields["places"]) == ("copies", ["host/b"])
    assert leases(*said).wrong(TRIES_S + 1) == []


def test_input_that_was_passed_over_is_suspected() -> None:
    """A later one of its partition has an entry; not before a while has passed, and of no other partition."""
    made = Undecided({("agent-events", 0): 0, ("agent-events", 1): 0})
    for partition, offset in ((0, 0), (0, 1), (1, 5)):
        made.given("agent-events", partition, offset, b"t", 77, now=0)
    assert made.passed_over(PASSED_S) == {}
    made.decided("agent-events", 0, 1)
    assert made.passed_over(PASSED_S - 1) == {}
    assert list(made.passed_over(PASSED_S)) == [("agent-events", 0, 0)]
    made.decided("agent-events", 0, 0)
    assert made.passed_over(PASSED_S) == {}


def test_input_may_be_read_after_its_entry() -> None:
    """The two topics are read side by side; what retention has cut is not waited for."""
    made = Undecided({("agent-events", 0): 10})
    for offset in (5, 10, 11):
        made.decided("agent-events", 0, offset)
    for offset in (10, 11):
        made.given("agent-events", 0, offset, b"t", 77, now=0)
    made.decided("agent-events", 0, 10)  # once more, after a repair
    assert (made.passed_over(99), made.early) == ({}, {("agent-events", 0): set()})


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"a\nb", "\x85".encode(), b"x" * 513])
def test_input_without_a_thread_has_no_entry(key: bytes | None) -> None:
    """It is a dead letter."""
    made = Undecided({})
    made.given("agent-events", 0, 0, key, 77, now=0)
    made.decided("agent-events", 0, 1)
    assert made.passed_over(99) == {}
    assert thread_in("ö".encode()) == "ö"


class Flink:
    """What Flink's REST answers."""

    def __init__(self) -> None:
        self.live = {kind: flink.Job(kind, kind[0] * 32, "RUNNING", {"total": 2, "running": 2}) for kind in flink.JOBS}
        self.overview = {"slots-total": 3, "slots-available": 1}
        self.failures: list[float] = []
        self.vertices: list[tuple[str, str]] = []
        self.down = False

    def call(self, url: str, *rest: Any, **more: Any) -> Any:
        if self.down:
            raise http.HttpError(url, 0, "refused")
        if url.endswith("/overview"):
            return self.overview
        if "exceptions" not in url:
            return {"vertices": [{"name": name, "status": status} for name, status in self.vertices]}
        entries = [{"timestamp": at * 1000, "stacktrace": "boom"} for at in self.failures]
        return {"exceptionHistory": {"entries": entries}}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Flink:
    made = Flink()
    monkeypatch.setattr(http, "call", made.call)
    monkeypatch.setattr(flink, "jobs", lambda settings: [*made.live.values()] if not made.down else made.call("x"))
    monkeypatch.setattr("ops.watching.jobs.time.time", lambda: 1_000.0)
    return made


def kinds() -> list[tuple[str, str]]:
    return [(wrong.kind, wrong.where) for wrong in jobs.wrong_jobs(Settings())]


def test_jobs_that_run_are_not_wrong(cluster: Flink) -> None:
    """Neither are a few failures, or many that are long past; nor a conversation that is caught up."""
    cluster.failures = [1.0] * 9 + [999.0] * 2
    assert kinds() == []
    ended = flink.Job("tools", "e" * 32, "CANCELED", {})
    cluster.live = {
        "tools": cluster.live["tools"],
        "catchup": flink.Job("catchup", "x" * 32, "RUNNING", {"total": 3, "running": 3}),
        "e": ended,
    }
    assert kinds() == []


@pytest.mark.parametrize(
    ("tasks", "journal", "told"),
    [
        ({"total": 5, "running": 4, "finished": 1}, "RUNNING", []),  # one of two subtasks had less to read
        ({"total": 5, "running": 3, "finished": 2}, "FINISHED", [("job", "conversation")]),
        ({"total": 5, "running": 0, "scheduled": 5}, "SCHEDULED", [("job", "catchup")]),
    ],
    ids=["reads", "has read", "does not run"],
)
def test_catch_up_that_nobody_stops_is_told_as_the_conversation_that_does_not_run(
    cluster: Flink, tasks: dict[str, int], journal: str, told: list[tuple[str, str]]
) -> None:
    """It holds the conversation's lease, decides nothing, and lives on when the command has died that began it. One
    that fails again and again is told of like any other job."""
    del cluster.live["conversation"]
    cluster.live["catchup"] = flink.Job("catchup", "x" * 32, "RUNNING", tasks)
    cluster.vertices = [("Source: hold-1a2b", "RUNNING"), ("Source: journal-1a2b", journal)]
    assert kinds() == told
    if told:
        [wrong] = jobs.wrong_jobs(Settings())
        assert (wrong.after_s, wrong.fields["id"]) == (jobs.LEFT_S if journal == "FINISHED" else jobs.AFTER_S, "x" * 32)
    del cluster.live["tools"]
    cluster.failures = [999.0] * jobs.RESTARTS_MAX
    assert ("restarts", "catchup") in kinds()


def test_jobs_that_do_not_run_are_told_with_the_reason(cluster: Flink) -> None:
    """Not there, waiting for a slot, failing, or restarted again and again; or nobody answers."""
    del cluster.live["tools"]
    cluster.live["conversation"] = flink.Job("conversation", "c" * 32, "RESTARTING", {"total": 2, "running": 0})
    cluster.failures = [999.0]
    assert kinds() == [("job", "conversation"), ("job", "tools")]
    assert "boom" in jobs.wrong_jobs(Settings())[0].do
    cluster.overview = {"slots-total": 0, "slots-available": 0}
    cluster.failures = [990.0, 995.0, 999.0]
    assert kinds() == [("slots", "conversation"), ("restarts", "conversation"), ("job", "tools")]
    cluster.down = True
    assert kinds() == [("jobmanager", "")]


def test_second_job_of_a_kind_is_wrong_and_each_is_looked_at(cluster: Flink) -> None:
    """Only one of them may run; the id tells which of them is meant."""
    cluster.live["second"] = flink.Job("conversation", "d" * 32, "RESTARTING", {"total": 2, "running": 0})
    found = [wrong for wrong in jobs.wrong_jobs(Settings()) if wrong.fields["job"] == "conversation"]
    assert [(wrong.kind, wrong.where) for wrong in found] == [
        ("job", f"conversation {'d' * 32}"),
        ("copies", "conversation"),
    ]
    assert found[1].fields["jobs"] == ["c" * 32, "d" * 32]
    cluster.failures = [999.0] * 3
    assert [where for kind, where in kinds() if kind == "restarts"] == [
        f"conversation {'c' * 32}",
        f"conversation {'d' * 32}",
        "tools",
    ]


def test_watch_tells_the_figures_of_now_when_asked(kafka: FakeKafka) -> None:
    """Objects with the same names as at the end."""
    for entry in story("Ann", "Bob"):
        kafka.add_entry(entry)
    unwatched, *counts = objects(run("--json", "watch", "--every", "0"))
    assert unwatched == {"not_watched": list(jobs.ALARMS)}
    assert [one["entries"] for one in counts] == [0, 1, 2, 2]
    assert {tuple(one) for one in counts} == {
        ("entries", "threads", "void", "healed", "cut", "lost", "held_s", "alarms")
    }


def test_watch_looks_beside_what_it_reads(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that hangs is an alarm, and a line when it no longer does."""
    kafka.add_entry(story("Ann")[0])
    ends = kafka.stable_ends("", [])
    monkeypatch.setattr("ops.watching.watch.StableEnds", lambda bootstrap, topics: ends)
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    ends.held = {("threadlog.agent-decisions", 0): 0}
    told = [[(news.record["alarm"], news.line) for news in watch.look(now)] for now in (0, HELD_S)]
    [alarm] = [line for kind, line in told[1] if kind == "transaction"]
    assert "nothing from threadlog.agent-decisions 0/0 on can be read" in alarm and "`threadlog doctor`" in alarm
    assert watch.counts(HELD_S)["held_s"] == HELD_S
    ends.held = {}
    assert [news.line.startswith("OVER") for news in watch.look(HELD_S + 1)] == [True]
