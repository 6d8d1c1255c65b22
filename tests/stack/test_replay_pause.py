# SPDX-License-Identifier: Apache-2.0
"""A replay in the cluster that is paused and goes on finds what an uninterrupted one finds, each thing once."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from msgspec.structs import replace

from bench.filling import fill, registered
from bench.replay import entries
from ops.context import Trouble
from ops.reading import codec_of, whole_topic
from ops.replay import cluster, findings
from ops.settings import Settings
from ops.stack import flink, lifecycle, records
from ops.stack.layout import layout_of
from tests.stack.test_replay_job import DECISIONS, SLOW, slow_desk
from tests.stack.world import World
from wire.findings import SUMMARY, TOPIC, TYPE

RUN = "paused"


@pytest.mark.chaos
def test_replay_job_goes_on_after_pauses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paused by `down`, after which `up` does not bring it back, then by `stop`, and each time with part of its work
    behind it, it goes on with the code that began it, though the app has changed. Nothing is told twice or left out."""
    settings = dataclasses.replace(world.settings, namespace=RUN)
    lifecycle.ensure_wire(settings, print)
    schemas = registered(settings.registry_url)
    made = list(entries(schemas, DECISIONS))
    fill(settings.bootstrap, RUN, schemas, [*made, replace(made[-1], hash="0" * 64)])
    spec = slow_desk(world.app.parent)
    paced(world, "0.003")
    monkeypatch.setattr(cluster, "CHECKPOINT_INTERVAL_MS", 300)
    pauses = Pauses(settings)

    with pytest.raises(Trouble, match="goes on as job"):
        cluster.verify(settings, spec, RUN, 1, print, pauses.left_alone)
    down = world.cli("down")
    [paused] = [line for line in down if line.get("job") == flink.REPLAY]
    assert (paused["namespace"], "/chk-" in paused["checkpoint"]) == (RUN, True)
    world.cli("up")
    assert flink.live_jobs(settings) == {}
    paced(world, "0")
    with pytest.raises(Trouble, match="--go-on` goes on with it"):
        cluster.go_on(settings, "", print, lambda *far: pauses.paused(world))
    cluster.go_on(settings, RUN, print, lambda *far: None)
    assert 0 < pauses.told[0] < pauses.told[1] < len(of(settings, RUN))

    cluster.verify(settings, spec, "whole", 1, print, lambda *far: None)
    assert without(of(settings, RUN)) == without(of(settings, "whole"))
    assert len({found["app_digest"] for found in of(settings, RUN)}) == 1
    for name in (RUN, "whole"):
        findings.check(settings, findings.read(settings, name))
    with pytest.raises(Trouble, match="The replay whole has come to its end"):
        cluster.go_on(settings, "", print, lambda *far: None)


@dataclasses.dataclass
class Pauses:
    """Pauses of a replay, each behind its second checkpoint; `told`: how many findings there were by then.

    Between two checkpoints lies a slice at least, so part of the work is done in each of its jobs."""

    settings: Settings
    told: list[int] = dataclasses.field(default_factory=list)

    def due(self) -> bool:
        """Whether the job that runs has two checkpoints of its own."""
        layout = layout_of(self.settings)
        begun = records.read(layout, flink.REPLAY)
        assert begun is not None
        own, first = records.newest(layout, begun.job_id), number(begun.began_from)
        if number(own) < first + 2:
            return False
        found = of(self.settings, RUN)
        assert sum(one["what"] == SUMMARY for one in found) < self.settings.partitions, "it has ended already"
        self.told.append(len(found))
        return True

    def left_alone(self, *far: int) -> None:
        """A Ctrl-C of who waits for the end."""
        if self.due():
            raise KeyboardInterrupt

    def paused(self, world: World) -> None:
        """As a person does it in another terminal."""
        if self.due():
            [line] = world.cli("--namespace", RUN, "stop", "--job", flink.REPLAY)
            begun = records.read(layout_of(self.settings), flink.REPLAY)
            assert begun is not None and begun.job_id in line["checkpoint"]


def number(checkpoint: str) -> int:
    """Of a checkpoint, by its path; 0 for none."""
    return int(checkpoint.rpartition("/chk-")[2] or 0)


def paced(world: World, pause_s: str) -> None:
    """Change how long the app's handler takes, and no other line."""
    code = world.app.with_name(f"{SLOW}.py")
    text, changed = re.subn(r"^PAUSE_S = .*$", f"PAUSE_S = {pause_s}", code.read_text("utf-8"), flags=re.MULTILINE)
    assert changed == 1
    code.write_text(text, "utf-8")


def of(settings: Settings, run: str) -> list[dict[str, Any]]:
    """The findings of a run, as they lie in their topic."""
    codec = codec_of(settings)
    found = (codec.decode_own(record.value, TYPE) for record in whole_topic(settings, TOPIC))
    return [one for one in found if one["run"] == run]


def without(found: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """Findings in one order, without what differs between two runs: their names, and the code's digest."""
    return sorted(sorted((k, v) for k, v in one.items() if k not in ("run", "app_digest")) for one in found)
