# SPDX-License-Identifier: Apache-2.0
"""A replay in the cluster that is paused and goes on finds what an uninterrupted one finds, each thing once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from bench.filling import fill, registered
from bench.replay import entries
from ops.context import Trouble
from ops.reading import codec_of, whole_topic
from ops.replay import cluster, findings
from ops.settings import Settings
from ops.stack import flink, lifecycle
from ops.stack.layout import layout_of
from tests.stack.chaos import checkpoint_of
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
    monkeypatch.setattr(cluster, "CHECKPOINT_INTERVAL_MS", 300)
    told = Told(settings)

    with pytest.raises(Trouble, match="goes on as job"):
        cluster.verify(settings, spec, RUN, 1, print, told.left_alone)
    down = world.cli("down")
    [paused] = [line for line in down if line.get("job") == flink.REPLAY]
    assert (paused["namespace"], "/chk-" in paused["checkpoint"]) == (RUN, True)
    world.cli("up")
    assert flink.live_jobs(settings) == {}
    told.counts.append(len(of(settings, RUN)))  # it went on for a while before it was taken down
    hurry(world)
    with pytest.raises(Trouble, match="--go-on` goes on with it"):
        cluster.go_on(settings, "", print, lambda *far: told.paused(world))
    cluster.go_on(settings, RUN, print, lambda *far: None)
    assert told.counts[-2] < told.counts[-1] < len(of(settings, RUN))

    cluster.verify(settings, spec, "whole", 1, print, lambda *far: None)
    assert without(of(settings, RUN)) == without(of(settings, "whole"))
    assert len({found["app_digest"] for found in of(settings, RUN)}) == 1
    for name in (RUN, "whole"):
        findings.check(settings, findings.read(settings, name))
    with pytest.raises(Trouble, match="The replay whole has come to its end"):
        cluster.go_on(settings, "", print, lambda *far: None)


@dataclasses.dataclass
class Told:
    """How many findings there were at each pause; a checkpoint with part of the work has come by then."""

    settings: Settings
    counts: list[int] = dataclasses.field(default_factory=list)

    def more(self) -> bool:
        """Whether more was found than at the last pause, and not all."""
        found = of(self.settings, RUN)
        if len(found) <= max(self.counts, default=0):
            return False
        assert sum(one["what"] == SUMMARY for one in found) < self.settings.partitions, "it has ended already"
        self.counts.append(len(found))
        return True

    def left_alone(self, *far: int) -> None:
        """A Ctrl-C of who waits for the end."""
        if self.more():
            raise KeyboardInterrupt

    def paused(self, world: World) -> None:
        """As a person does it in another terminal. Not before it has a checkpoint of its own: what it commits as it is
        restored is more, too."""
        job = flink.live_jobs(self.settings).get(flink.REPLAY)
        if job is not None and checkpoint_of(layout_of(self.settings), job.id) and self.more():
            [line] = world.cli("--namespace", RUN, "stop", "--job", flink.REPLAY)
            assert job.id in line["checkpoint"], "it has taken no checkpoint of its own"


def hurry(world: World) -> None:
    """Change the app's code, in its speed alone, and on no other line."""
    code = world.app.with_name(f"{SLOW}.py")
    text = code.read_text("utf-8")
    assert "PAUSE_S = 0.01\n" in text
    code.write_text(text.replace("PAUSE_S = 0.01\n", "PAUSE_S = 0\n"), "utf-8")


def of(settings: Settings, run: str) -> list[dict[str, Any]]:
    """The findings of a run, as they lie in their topic."""
    codec = codec_of(settings)
    found = (codec.decode_own(record.value, TYPE) for record in whole_topic(settings, TOPIC))
    return [one for one in found if one["run"] == run]


def without(found: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """Findings in one order, without what differs between two runs: their names, and the code's digest."""
    return sorted(sorted((k, v) for k, v in one.items() if k not in ("run", "app_digest")) for one in found)
