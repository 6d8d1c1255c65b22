# SPDX-License-Identifier: Apache-2.0
"""The whole journal verified by the cluster: equal to the bit, or each finding told once, through a SIGKILL."""

from __future__ import annotations

import dataclasses
import importlib
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

import bench.app
from bench.filling import fill, registered
from bench.replay import entries
from ops.replay import cluster, findings
from ops.settings import Settings
from ops.stack import flink, lifecycle
from schemas.codec import Codec, FixedSchemas
from tests.stack.world import World
from threadlog.entry import Entry
from threadlog.replay import Divergence, Replay, input_of

DECISIONS = 16_000  # two slices of each partition, so that a restore goes on within one
SLOW = "slow_desk"
# The journal lasts for some checkpoints, so that the kill comes in its middle.
CHANGES = (
    ("amount=amount)", "amount=min(amount, 9_000))"),
    ('    thread.vars["messages"] =', '    time.sleep(PAUSE_S)\n    thread.vars["messages"] ='),
    ("_ONCE =", "PAUSE_S = 0.01\n_ONCE ="),
    ("from dataclasses", "import time\nfrom dataclasses"),
)


def slow_desk(folder: Path) -> str:
    """The bench's desk, slow, and with refunds that are smaller than those in the journal; as an app."""
    text = Path(str(bench.app.__file__)).read_text("utf-8")
    for old, new in CHANGES:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / f"{SLOW}.py").write_text(text, "utf-8")
    return f"{SLOW}:app"


def expected(made: list[Entry], schemas: FixedSchemas) -> tuple[Counter[str], list[Divergence]]:
    """What the slow desk's code makes of the journal, decided here."""
    desk = importlib.import_module(SLOW)
    desk.PAUSE_S = 0
    replayed, codec = Replay(desk.app), Codec(schemas)
    outcomes = [replayed.check(entry, input_of(entry, codec.decode)) for entry in made]
    return Counter(one.standing for one in outcomes), [one.divergence for one in outcomes if one.divergence]


@pytest.mark.chaos
def test_replay_job_tells_each_thing_once_through_a_kill(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged code is equal in every decision. Changed code, whose TaskManager is killed in the middle, diverges
    where it does here, and the sums add up; so does the one entry that does not count."""
    settings = dataclasses.replace(world.settings, namespace="verified")
    lifecycle.ensure_wire(settings, print)
    schemas = registered(settings.registry_url)
    made = list(entries(schemas, DECISIONS))
    fill(settings.bootstrap, settings.namespace, schemas, made)
    there = ("--namespace", settings.namespace, "replay")
    [told] = world.cli(*there, "--cluster", "--run", "equal", "--app", "bench.app:app")
    assert (told["standings"], told["threads"]) == ({"equal": DECISIONS}, len({entry.thread for entry in made}))
    assert world.cli(*there, "--run", "equal")[0]["standings"] == {"equal": DECISIONS}

    fill(settings.bootstrap, settings.namespace, schemas, [replace(made[-1], hash="0" * 64)])
    spec = slow_desk(world.app.parent)
    monkeypatch.setattr(cluster, "CHECKPOINT_INTERVAL_MS", 300)
    run, moment = killed_in_the_middle(world, settings, spec)
    assert 0 < moment < DECISIONS
    found = findings.read(settings, "killed")
    findings.check(settings, found)
    standings, divergences = expected(made, schemas)
    assert standings["diverged"] == len(divergences) > 100
    assert (found.tally.standings, found.tally.voids) == (standings, 1)
    assert sum(one.records for one in found.summaries.values()) == DECISIONS + 1
    groups = {(g.kind, g.about): g.decisions for g in found.tally.groups.values()}
    assert groups == Counter((one.differences.kind, one.differences.about) for one in divergences)
    assert flink.last_failure(settings, run.job_id), "the job was never restarted"
    first = found.tally.first()
    assert first is not None and first.place is not None
    assert first.place.file == f"{SLOW}.py"
    assert (first.time_ms, first.thread, first.seq) == min((d.time_ms, d.thread, d.seq) for d in divergences)


def killed_in_the_middle(world: World, settings: Settings, spec: str) -> tuple[cluster.Run, int]:
    """A replay whose TaskManager is killed behind its first checkpoint; it, and how far it had come by then."""
    moments: list[int] = []

    def kill_once(offsets: int, of: int) -> None:
        if offsets and not moments:
            moments.append(offsets)
            world.kill(flink.job_hosts(settings)["replay"][0])

    run = cluster.verify(settings, spec, "killed", 1, print, kill_once)
    assert moments, "it ended before it was killed"
    return run, moments[0]
