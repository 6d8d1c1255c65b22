# SPDX-License-Identifier: Apache-2.0
"""`threadlog stop --record`: what a cluster of one's own has left, as far as it can be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.stack import flink, savepoints
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.starts import Cluster, clustered
from tests.ops.test_savepoints import split
from wire.control import CAUGHT_UP, DROPPED, STOPPED, Mark, Written


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return clustered(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("more", "what"), [([], STOPPED), (["--caught-up"], CAUGHT_UP), (["--rebuilt"], CAUGHT_UP)], ids=str
)
def test_stop_by_other_means_is_recorded(
    kafka: FakeKafka, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, more: list[str], what: str
) -> None:
    """For a cluster of one's own; not while the job runs, whose journal moves on."""
    live: dict[str, flink.Job] = {}
    monkeypatch.setattr(flink, "live_jobs", lambda settings: live)
    assert objects(run("--json", "stop", "--record", "s3://b/s", *more)) == [{"what": what, "savepoint": "s3://b/s"}]
    *dropped, mark = cluster.written
    assert [one.what for one in dropped] == ([DROPPED] if more == ["--rebuilt"] else [])
    assert (mark.what, mark.savepoint, mark.journal) == (what, "s3://b/s", {0: 9})
    live["conversation"] = flink.Job("conversation", "c", "RUNNING", {})
    told = run("stop", "--record", "s3://b/s", *more)
    assert (told.exit_code, "The conversation runs" in told.stderr, cluster.written) == (1, True, [*dropped, mark])


def test_stop_by_other_means_of_a_state_that_is_ahead_is_refused(
    kafka: FakeKafka, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped. From then on nothing is recorded that was caught up from it, only what was made anew."""
    monkeypatch.setattr(flink, "live_jobs", lambda settings: {})
    monkeypatch.setattr(
        "ops.commands.stop.read_marks",
        lambda *given: [Written(n, 0, mark) for n, mark in enumerate(cluster.written)],
    )
    cluster.ahead = ["s3://b/s"]
    for words, told in (([], "Not recorded: it is ahead"), (["--caught-up"], "No state from before may be gone on")):
        refused = run("stop", "--record", "s3://b/s", *words)
        assert (refused.exit_code, told in refused.stderr, "--rebuilt" in refused.stderr) == (1, True, True)
    assert [mark.what for mark in cluster.written] == [DROPPED]
    assert run("stop", "--record", "s3://b/anew", "--rebuilt").exit_code == 0
    assert [mark.what for mark in cluster.written] == [DROPPED, DROPPED, CAUGHT_UP]


def test_stop_by_other_means_is_recorded_of_the_last_savepoint_alone(
    kafka: FakeKafka, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that has read less than the job has committed since is of an earlier time: from it the journal would fork. A
    catch-up from it is recorded. Nothing is known of a partition that it has given no record of since a catch-up. Of
    one that cannot be looked into it is said that it is taken on trust."""
    monkeypatch.setattr(flink, "live_jobs", lambda settings: {})
    monkeypatch.setattr(savepoints, "committed", lambda *given: {"agent-events/0": 7, "tool-results/2": 4})
    (last := tmp_path / "last").mkdir()
    (last / "_metadata").write_bytes(split("threadlog.agent-events", 0, 9) + split("threadlog.tool-results", 2, 4))
    (older := tmp_path / "older").mkdir()
    (older / "_metadata").write_bytes(split("threadlog.agent-events", 0, 6) + split("threadlog.tool-results", 2, 4))
    (begins := tmp_path / "begins").mkdir()
    (begins / "_metadata").write_bytes(split("threadlog.agent-events", 0, 7) + split("threadlog.tool-results", 2, -2))
    refused, told = run("stop", "--record", f"file:{older}"), "at offset 6 of agent-events/0, and the job has been at 7"
    assert (refused.exit_code, told in refused.stderr, "--caught-up" in refused.stderr) == (1, True, True)
    assert cluster.written == []
    for words in ((str(last),), (f"file:{older}", "--caught-up"), (f"file:{begins}",), ("s3://b/s",)):
        done = run("stop", "--record", *words)
        assert (done.exit_code, "on trust" in done.stdout) == (0, "s3://b/s" in words), done.stderr
    assert [mark.what for mark in cluster.written] == [STOPPED, CAUGHT_UP, STOPPED, STOPPED]


def test_stop_by_other_means_of_an_older_state_than_a_dropped_one_is_told_what_helps(
    kafka: FakeKafka, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing that is caught up from it would be recorded."""
    monkeypatch.setattr(flink, "live_jobs", lambda settings: {})
    monkeypatch.setattr(savepoints, "committed", lambda *given: {"agent-events/0": 7})
    monkeypatch.setattr(
        "ops.commands.stop.read_marks", lambda *given: [Written(0, 0, Mark(DROPPED, "conversation", "", "", {}))]
    )
    (tmp_path / "_metadata").write_bytes(split("threadlog.agent-events", 0, 6))
    refused = run("stop", "--record", f"file:{tmp_path}")
    assert (refused.exit_code, "Make the state anew" in refused.stderr) == (1, True)
