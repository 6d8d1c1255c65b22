# SPDX-License-Identifier: Apache-2.0
"""`threadlog replay --cluster` and `--run` without a cluster: what is submitted, what is made of the findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ops import http
from ops.context import Trouble
from ops.replay import cluster, findings
from ops.settings import Settings
from ops.stack import flink, lifecycle, records, submit
from ops.stack.layout import Layout
from schemas.codec import Codec
from tests.ops.fakes import FakeKafka, FakeTopic, objects, run
from tests.ops.replays import APP, changed, mix, registered
from tests.udfs.test_replay_function import CUT, Journal, Replaying, in_memory, record_of
from threadlog.entry import Entry
from wire.frames import OutRecord, Record

__all__ = ["in_memory"]

LESS = ("amount=amount)", "amount=min(amount, 9_000))")
PARTITION = 3


@pytest.fixture
def kafka(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    """The broker in memory, with the mix in one partition of the journal."""
    kafka.schemas = registered()
    monkeypatch.setattr(findings, "TopicReader", lambda _, topic: FakeTopic(kafka.topics.get(topic, [])))
    fill(kafka, mix(120))
    return kafka


def fill(kafka: FakeKafka, entries: list[Entry]) -> None:
    kafka.topics.clear()
    for entry in entries:
        kafka.add_entry(entry, partition=PARTITION)


def verified(kafka: FakeKafka, app: str = APP) -> None:
    """The journal verified by the operator; its findings in their topic."""
    topic = kafka.topics["threadlog.agent-decisions"]
    journal = [Record("", PARTITION, r.offset, r.timestamp_ms, r.key, r.value, []) for r in topic]
    for record in found_in(journal, app):
        kafka.add("replay-findings", record.key, record.value, headers=record.headers)


def found_in(journal: list[Record], app: str = APP) -> list[OutRecord]:
    """What the operator finds in a partition, the sum last."""
    with pytest.MonkeyPatch.context() as patch:
        (replaying := Replaying(patch, Journal(journal), app)).read(CUT)
    return replaying.found


def edited(kafka: FakeKafka, index: int, **fields: Any) -> None:
    """A finding, changed."""
    topic = kafka.topics["threadlog.replay-findings"]
    codec = Codec(kafka.schemas)
    data = {**codec.decode_own(topic[index].value, "threadlog.ReplayFinding"), **fields}
    topic[index] = replace(topic[index], value=codec.encode("threadlog.ReplayFinding", data))


def test_run_tells_of_a_journal_that_is_equal(kafka: FakeKafka) -> None:
    """And that it was all of it."""
    verified(kafka)
    told = run("replay", "--run", "run-1")
    threads = len({entry.thread for entry in mix(120)})
    assert (told.exit_code, told.stdout.splitlines()) == (0, [
        "Equal to the bit: 120 decisions.",
        f"120 decisions of {threads} threads in 1 partition, the whole journal; run run-1",
    ])  # fmt: skip
    [summary] = objects(run("replay", "--run", "run-1", "--json"))
    assert (summary["standings"], summary["run"], summary["app"]) == ({"equal": 120}, "run-1", APP)


def test_run_is_not_believed_before_it_has_ended(
    kafka: FakeKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Findings without a sum are of a replay that goes on, or died."""
    verified(kafka, changed(tmp_path, monkeypatch, LESS))
    kafka.topics["threadlog.replay-findings"].pop()
    told = run("replay", "--run", "run-1")
    assert (told.exit_code, "it has not ended" in told.stderr) == (1, True)


@pytest.mark.parametrize(("index", "why"), [(0, "findings say diverged"), (-1, "is summed up twice")])
def test_run_is_not_believed_with_a_finding_twice(
    kafka: FakeKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int, why: str
) -> None:
    """Nor with one that is missing: the sums say how many there are."""
    verified(kafka, changed(tmp_path, monkeypatch, LESS))
    topic = kafka.topics["threadlog.replay-findings"]
    topic.append(topic[index])
    assert why in run("replay", "--run", "run-1").stderr
    topic.pop()
    del topic[index]
    assert run("replay", "--run", "run-1").exit_code == 1


def test_run_is_not_believed_where_records_were_left_out(kafka: FakeKafka) -> None:
    """Behind the last that was verified, in a partition of which nothing was, and before the first."""
    [summary] = found_in([record_of(entry, n) for n, entry in enumerate(mix(120)[:119])])
    kafka.add("replay-findings", summary.key, summary.value)
    told = run("replay", "--run", "run-1")
    assert (told.exit_code, f"partition {PARTITION}, offset 119 is left out" in told.stderr) == (1, True)
    codec = Codec(kafka.schemas)
    data = codec.decode_own(summary.value, "threadlog.ReplayFinding")
    edited(kafka, 0, detail=data["detail"].replace('"3":200', '"3":119,"5":1'))
    assert run("replay", "--run", "run-1").exit_code == 0
    kafka.add_entry(mix(1)[0], partition=5)
    assert "partition 5, offset 0 is left out" in run("replay", "--run", "run-1").stderr
    edited(kafka, 0, detail=data["detail"].replace('"3":200', '"3":119').replace('"first":0', '"first":1'))
    assert f"partition {PARTITION}, offset 0 is left out" in run("replay", "--run", "run-1").stderr


def test_run_tells_of_its_own_findings_only(kafka: FakeKafka) -> None:
    """Another's are none of its."""
    verified(kafka)
    edited(kafka, 0, run="other")
    assert "no findings of a run 'run-1'" in run("replay", "--run", "run-1").stderr
    assert run("replay", "--run", "other").exit_code == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--cluster", "--since", "1h"), "takes no since"),
        (("--cluster", "t-1"), "takes no thread"),
        (("--run", "r", "--app", "a:b"), "takes no app"),
        (("--run", "No Name"), "names no run"),
        (("--run", "nobodys"), "There are no findings of a run 'nobodys'"),
    ],
)
def test_cluster_refuses_what_makes_no_sense(kafka: FakeKafka, given: tuple[str, ...], said: str) -> None:
    """In a sentence, before anything is submitted."""
    kafka.topics["threadlog.replay-findings"] = []
    told = run("replay", *given)
    assert (told.exit_code, said in told.stderr) == (1, True), told.stderr


@dataclass
class Flink:
    """A cluster that answers; `states` are those of the job, one after the other."""

    states: list[str] = field(default_factory=lambda: ["RUNNING", "RUNNING", "FINISHED"])
    free: int = 2
    live: dict[str, flink.Job] = field(default_factory=dict)
    submitted: list[tuple[str, list[str]]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    restarted: list[list[str]] = field(default_factory=list)
    told: list[tuple[int, int]] = field(default_factory=list)

    def call(self, url: str, *rest: Any, **more: Any) -> Any:
        if url.endswith("/overview"):
            return {"slots-available": self.free}
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "silent":
            raise http.HttpError(url, 0, "")
        return {"state": state, "vertices": [{"status": "RUNNING"}], "duration": 4_000}

    def run_job(self, s: Settings, layout: Layout, app: str, kind: str, folder: Path, point: str, more: Any) -> str:
        self.submitted.append((kind, [point, folder.name, "--parallelism", str(s.parallelism), "--app", app, *more]))
        return "a" * 32

    def verify(self, settings: Settings) -> cluster.Run:
        return cluster.verify(settings, "m:app", "run-1", 2, print, lambda *told: self.told.append(told))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    Layout(tmp_path).make()
    return Settings(state_dir=tmp_path)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flink:
    made = Flink()
    monkeypatch.setattr(http, "call", made.call)
    monkeypatch.setattr(lifecycle, "ensure_wire", lambda settings, say: None)
    monkeypatch.setattr(flink, "live_jobs", lambda settings: made.live)
    monkeypatch.setattr(flink, "hosts", lambda settings, id: ["taskmanager-2"])
    monkeypatch.setattr(flink, "last_failure", lambda settings, id: "because")
    monkeypatch.setattr(flink, "cancel", lambda settings, job: made.cancelled.append(job.id))
    monkeypatch.setattr(submit, "run_job", made.run_job)
    monkeypatch.setattr(cluster, "pack", lambda layout, spec: (tmp_path, "code"))
    monkeypatch.setattr(cluster, "check", lambda spec, folder: None)
    monkeypatch.setattr(cluster, "settled_ends", lambda bootstrap, topic: {0: 12, 1: 0})
    monkeypatch.setattr(cluster, "bounds", lambda bootstrap, topic: {0: (2, 12), 1: (0, 0)})
    monkeypatch.setattr(cluster, "left_behind", lambda bootstrap, namespace, group: 7)
    monkeypatch.setattr(cluster, "_refresh", lambda layout, hosts: made.restarted.append(sorted(hosts)))
    monkeypatch.setattr(cluster, "POLL_S", 0)
    monkeypatch.setattr(findings, "read", lambda settings, run: findings.Findings(run))
    return made


def test_cluster_submits_a_replay_and_waits_for_its_end(made: Flink, settings: Settings) -> None:
    """To the journal's end as of now; the last interval on the line counts: nobody waits for a finding."""
    done = made.verify(settings)
    [(kind, words)] = made.submitted
    assert (kind, words[-6:]) == (
        "replay", ["--checkpoint-interval-ms", "10000", "--run", "run-1", "--journal-end", "0:12,1:0"],
    )  # fmt: skip
    assert words[2:6] == ["--parallelism", "2", "--app", "m:app"]
    assert (done.seconds, done.hosts, made.told[0]) == (4.0, {"taskmanager-2"}, (7, 10))


def test_cluster_waits_through_a_jobmanager_that_is_away(made: Flink, settings: Settings) -> None:
    """It comes back with its jobs."""
    made.states = ["RUNNING", "silent", "silent", "RESTARTING", "RUNNING", "FINISHED"]
    assert made.verify(settings).seconds == 4.0


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_cluster_tells_why_a_replay_did_not_end_well(made: Flink, settings: Settings, state: str) -> None:
    """In a sentence; what has ended is not cancelled."""
    made.states = ["RUNNING", state]
    with pytest.raises(Trouble, match="did not come to its end: because"):
        made.verify(settings)
    assert made.cancelled == []


def test_cluster_ends_a_replay_that_never_runs(
    made: Flink, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would try for ever, and hold the slots."""
    monkeypatch.setattr(cluster, "RUNNING_S", -1)
    made.states = ["RESTARTING"]
    monkeypatch.setattr(made, "call", lambda url, *rest: {"slots-available": 2, "state": "RESTARTING", "vertices": []})
    monkeypatch.setattr(http, "call", made.call)
    with pytest.raises(Trouble, match="did not come to its end"):
        made.verify(settings)
    assert made.cancelled == ["a" * 32]


def test_cluster_refuses_a_replay_without_room(
    made: Flink, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside another one, which has the names of its transactions, and without slots."""
    made.free = 1
    monkeypatch.setattr(cluster, "ROOM_S", 0)
    with pytest.raises(Trouble, match="1 free slots, and a replay takes 2"):
        made.verify(settings)
    made.live = {"replay": flink.Job("replay", "b" * 32, "RUNNING", {})}
    with pytest.raises(Trouble, match="A replay runs already"):
        made.verify(settings)
    assert made.submitted == []


def test_cluster_refuses_a_name_that_was_used(made: Flink, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The findings of two runs under one name could not be told apart."""
    monkeypatch.setattr(findings, "read", lambda settings, run: findings.Findings(run, app="m:app"))
    with pytest.raises(Trouble, match="'run-1' already"):
        made.verify(settings)


def test_cluster_refuses_an_empty_journal(made: Flink, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of which nothing is left."""
    monkeypatch.setattr(cluster, "bounds", lambda bootstrap, topic: {0: (12, 12), 1: (0, 0)})
    with pytest.raises(Trouble, match="holds no decision"):
        made.verify(settings)


@pytest.mark.parametrize(("loaded", "restarted"), [("", []), ("code", []), ("other", [["taskmanager-2"]])])
def test_cluster_puts_other_code_away(made: Flink, settings: Settings, loaded: str, restarted: list[list[str]]) -> None:
    """A TaskManager that has loaded it would have to end itself before it can take a live job over."""
    records.note_code(Layout(settings.state_dir), loaded)
    made.verify(settings)
    assert made.restarted == restarted
