# SPDX-License-Identifier: Apache-2.0
"""The repair of a broken journal: what it does in which order, when it does nothing, and when it gives up."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ops import http
from ops.settings import Settings, remember
from ops.stack import flink, healing, lifecycle, records
from ops.stack.healing import HEALS_MAX, Healer, Unhealed
from ops.stack.layout import Layout
from ops.stack.submit import SubmitFailed
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.test_journal import story
from wire.control import CAUGHT_UP, Mark

MARK = Mark(CAUGHT_UP, "conversation", "a" * 32, "file:/s/1", {0: 7})
RUNS = flink.Job("conversation", "c" * 32, "RUNNING", {"total": 2, "running": 2})
COPY = flink.Job("conversation", "d" * 32, "RESTARTING", {})
ENDED = flink.Job("conversation", "e" * 32, "FAILED", {})
TOOLS = flink.Job("tools", "f" * 32, "RUNNING", {})


@dataclass
class Cluster:
    """What is asked of Flink, in order, and what it answers."""

    settings: Settings
    mark: Mark | None = None
    jobs: list[flink.Job] = field(default_factory=lambda: [RUNS, TOOLS, ENDED])
    did: list[Any] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    refuses_stop: bool = False
    fails: str = ""

    def healer(self) -> Healer:
        return Healer(self.settings, self.said.append)

    def stop(self, settings: Settings, job: flink.Job, folder: str) -> str:
        if self.refuses_stop:
            raise http.HttpError("u", 500, "no checkpoint can be taken")
        self.did.append("stop")
        return "file:/s/void"

    def ready(self, settings: Settings, layout: Layout, app: str, points: Any, packed: Any, say: Any) -> Any:
        if self.fails:
            raise SubmitFailed(self.fails)
        self.did.append(("ready", app, points, packed[1]))
        self.mark = replace(MARK, journal={0: 20})
        return {"conversation": "file:/s/rebuilt"}

    def begin(self, settings: Settings, layout: Layout, app: str, points: Any, packed: Any, say: Any) -> Any:
        self.did.append(("begin", points["conversation"], packed[1]))
        return {}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    layout = Layout(tmp_path)
    (layout.state / "code" / "c0de").mkdir(parents=True)
    layout.jobs.mkdir()
    records.write(layout, records.Record("conversation", RUNS.id, "m:app", "c0de"))
    made = Cluster(Settings(state_dir=tmp_path))
    monkeypatch.setattr(healing, "last_mark", lambda bootstrap, namespace, codec, what: made.mark)
    monkeypatch.setattr(healing, "ready_points", made.ready)
    monkeypatch.setattr(healing, "begin", made.begin)
    monkeypatch.setattr(flink, "jobs", lambda settings: made.jobs)
    monkeypatch.setattr(flink, "stop_with_savepoint", made.stop)
    monkeypatch.setattr(flink, "cancel", lambda settings, job: made.did.append("cancel"))
    monkeypatch.setattr(flink, "wait_running", lambda settings, kinds, seconds: [])
    return made


def test_heal_stops_rebuilds_and_starts_the_code_that_ran(cluster: Cluster) -> None:
    """From no state at all; what the stop left is written down nowhere, so no start goes on from it."""
    assert cluster.healer().heal((0, 9), now=0) == {0: 20}
    assert cluster.did == [
        "stop",
        ("ready", "m:app", {"conversation": ""}, "c0de"),
        ("begin", "file:/s/rebuilt", "c0de"),
    ]
    record = records.read(Layout(cluster.settings.state_dir), "conversation")
    assert record is not None and record.savepoint == ""


def test_heal_of_a_branch_goes_by_what_the_branch_ran(cluster: Cluster) -> None:
    """Not by what the stack's own namespace runs, whose records lie beside."""
    remember(cluster.settings)
    cluster.settings = dataclasses.replace(cluster.settings, namespace="branch")
    with pytest.raises(Unhealed, match="nothing tells which code ran"):
        cluster.healer().heal((0, 9), now=0)
    folder = cluster.settings.state_dir
    (folder / "code" / "f00d").mkdir()
    records.write(Layout(folder, "branch"), records.Record("conversation", RUNS.id, "other:app", "f00d"))
    cluster.healer().heal((0, 9), now=0)
    assert cluster.did[1] == ("ready", "other:app", {"conversation": ""}, "f00d")


def test_heal_cancels_what_cannot_be_stopped(cluster: Cluster) -> None:
    """Its state is dropped anyway; a job that is gone needs neither."""
    cluster.refuses_stop = True
    cluster.healer().heal((0, 9), now=0)
    assert cluster.did[0] == "cancel"
    cluster.did, cluster.jobs, cluster.mark = [], [], None
    cluster.healer().heal((0, 9), now=0)
    assert [one[0] for one in cluster.did] == ["ready", "begin"]


def test_heal_ends_each_copy_of_the_conversation(cluster: Cluster) -> None:
    """One that stays would decide beside what the heal starts, and the rebuild is refused while it runs."""
    cluster.jobs = [RUNS, COPY]
    cluster.healer().heal((0, 9), now=0)
    assert cluster.did[:2] == ["stop", "stop"]


def test_heal_does_nothing_about_what_is_healed(cluster: Cluster) -> None:
    """The mark of a catch-up says up to where the state was the journal's, be it another watch's."""
    cluster.mark = MARK
    healer = cluster.healer()
    assert [healer.is_new((0, offset)) for offset in (6, 7)] == [False, True]
    cluster.mark = replace(MARK, journal={0: 12})
    assert (healer.heal((0, 9), now=0), cluster.did) == ({0: 12}, [])


def test_heal_is_done_again_only_if_it_helped(cluster: Cluster) -> None:
    """A valid entry after it is what helping means."""
    healer = cluster.healer()
    healer.may(0)
    healer.heal((0, 9), now=0)
    healer.valid(0, 19)
    with pytest.raises(Unhealed, match="the last repair has not helped"):
        healer.may(1)
    healer.valid(0, 20)
    healer.may(1)


def test_heal_is_done_a_few_times_an_hour(cluster: Cluster) -> None:
    """Whatever comes of it."""
    healer = cluster.healer()
    for number in range(HEALS_MAX):
        healer.may(number)
        healer.heal((0, 99), now=number)
        healer.valid(0, 100)
    with pytest.raises(Unhealed, match=f"{HEALS_MAX} repairs within 60 minutes"):
        healer.may(HEALS_MAX)
    healer.may(3_601)


def test_heal_that_fails_says_that_nothing_runs(cluster: Cluster, tmp_path: Path) -> None:
    """And one that cannot know what ran stops nothing."""
    cluster.fails = "Another copy of the job writes threadlog: stop that one first."
    with pytest.raises(Unhealed, match="nothing decides now: Another copy"):
        cluster.healer().heal((0, 9), now=0)
    cluster.did.clear()
    (tmp_path / "code" / "c0de").rmdir()
    with pytest.raises(Unhealed, match="nothing tells which code ran"):
        cluster.healer().heal((0, 9), now=0)
    assert cluster.did == []


@pytest.fixture
def healers(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """`watch --heal` over a Kafka in memory; the repairs that were begun."""
    begun: list[Any] = []

    def heal(self: Healer, place: Any, now: float) -> Any:
        begun.append(place)
        self.healed, self.progress = {0: 4}, False
        return self.healed

    monkeypatch.setattr(lifecycle, "check_local", lambda settings: None)
    monkeypatch.setattr(healing, "last_mark", lambda bootstrap, namespace, codec, what: None)
    monkeypatch.setattr(healing, "codec_of", lambda settings: None)
    monkeypatch.setattr(Healer, "heal", heal)
    return begun


def test_watch_heals_a_gap_once(kafka: FakeKafka, healers: list[Any]) -> None:
    """What else is void of before the repair is told, and needs none."""
    one = story("Ann", "Bob", "Cid", "Dan", "Eve")
    for entry in (one[0], one[2], one[3], one[4], one[1]):
        kafka.add_entry(entry)
    told = objects_of(run("--json", "watch", "--heal"))
    assert healers == [(0, 1)]
    assert [line["heal"] for line in told if "heal" in line] == ["begun", "done"]
    assert [line["offset"] for line in told if line.get("alarm") == "void"] == [1, 2, 3]


def test_watch_that_heals_gives_up_in_words(kafka: FakeKafka, healers: list[Any]) -> None:
    """Once, however many entries are void after the repair."""
    one = story("Ann", "Bob", "Cid", "Dan", "Eve", "Fay")
    for entry in (one[0], *one[2:], one[5]):
        kafka.add_entry(entry)
    told = objects_of(run("--json", "watch", "--heal"))
    assert [line["heal"] for line in told if "heal" in line] == ["begun", "done", "failed"]
    assert "has not helped" in next(line["reason"] for line in told if line.get("heal") == "failed")


def test_watch_heals_nothing_that_somebody_else_wrote(kafka: FakeKafka, healers: list[Any]) -> None:
    """A foreign record breaks no chain, so the state is the journal's."""
    kafka.add_entry(story("Ann")[0])
    kafka.add("agent-decisions", b"t", b"nonsense")
    told = objects_of(run("--json", "watch", "--heal"))
    assert (healers, [line["alarm"] for line in told if "alarm" in line]) == ([], ["void"])


def objects_of(result: Any) -> list[dict[str, Any]]:
    """The lines of a command that ends with code 1, because the journal is broken."""
    assert result.exit_code == 1
    result.exit_code = 0
    return objects(result)
