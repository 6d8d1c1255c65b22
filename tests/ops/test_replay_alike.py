# SPDX-License-Identifier: Apache-2.0
"""What a replay in the cluster has found is told as a local replay tells it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from schemas.codec import Codec
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.replays import APP, changed, mix
from tests.ops.test_replay_cluster import LESS, PARTITION, edited, fill, in_memory, kafka, verified
from tests.threadlog.test_upcasting import release
from wire.findings import TYPE

__all__ = ["in_memory", "kafka"]


def test_run_tells_of_divergences_as_a_local_replay_does(
    kafka: FakeKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same first difference with its line, the same verdict, the same groups, the same code."""
    spec = changed(tmp_path, monkeypatch, LESS)
    verified(kafka, spec)
    there, here = run("replay", "--run", "run-1"), run("replay", "--all", "--app", spec, "--workers", "0")
    assert there.exit_code == here.exit_code == 1
    summaries = [line for line in here.stdout.splitlines() if " with 1 process" in line]
    groups = [line for line in here.stdout.splitlines() if line not in summaries]
    assert there.stdout.splitlines()[: len(groups) - 1] == groups[:-1]
    assert "arguments: refund" in there.stdout
    assert there.stdout.splitlines()[2].split() == here.stdout.splitlines()[2].split()


def test_run_tells_of_void_entries(kafka: FakeKafka) -> None:
    """As a local replay does: with code 1, each with its place."""
    entries = mix(120)
    place = next(n for n, entry in enumerate(entries) if entry.seq == 2)
    fill(kafka, [*entries[:place], replace(entries[place], effects="[]"), *entries[place + 1 :]])
    verified(kafka)
    told = run("replay", "--run", "run-1")
    assert (told.exit_code, f"{entries[place].thread} at {PARTITION}/{place}: wrong hash" in told.stderr) == (1, True)


def test_run_tells_of_a_lost_beginning_as_a_local_replay_does(kafka: FakeKafka) -> None:
    """What the first offsets held was rolled back, not deleted, so each thread that lacks its first entry is a gap."""
    del kafka.topics["threadlog.agent-decisions"][:30]
    verified(kafka)
    there, here = run("replay", "--run", "run-1"), run("replay", "--all", "--app", APP, "--workers", "0")
    assert there.exit_code == here.exit_code == 1
    assert there.stderr == here.stderr
    assert f"at {PARTITION}/30: gap: seq " in there.stderr


def test_run_tells_of_states_of_an_older_version_as_a_local_replay_does(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not compared is told with what is, in the same words."""
    release(monkeypatch)
    verified(kafka)
    there, here = run("replay", "--run", "run-1"), run("replay", "--all", "--app", APP, "--workers", "0")
    told = "120 were decided on states of an older version: their effects are compared, their patches are not"
    assert [told in one.stdout.splitlines() for one in (there, here)] == [True, True]
    counts = [
        objects(run("replay", *given, "--json"))[-1]["older_states"]
        for given in (("--run", "run-1"), ("--all", "--app", APP, "--workers", "0"))
    ]
    assert counts == [120, 120]


def test_run_tells_of_findings_of_before_a_count_was_added(kafka: FakeKafka) -> None:
    """A sum that lacks it is read as one that has counted none."""
    verified(kafka)
    detail = Codec(kafka.schemas).decode_own(kafka.topics["threadlog.replay-findings"][0].value, TYPE)["detail"]
    edited(kafka, 0, detail=detail.replace('"low":0,', "").replace('"older_states":0,', ""))
    told = run("replay", "--run", "run-1")
    assert (told.exit_code, told.stdout.splitlines()[0]) == (0, "Equal to the bit: 120 decisions.")
