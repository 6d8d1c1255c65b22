# SPDX-License-Identifier: Apache-2.0
"""Golden savepoints: what a released version left on the real stack, with the journal that it is a cache of.

    tests/golden/savepoints/app.py        the app, the same for every version
    tests/golden/savepoints/VERSION/
        conversation/, tools/             the savepoints, as Flink wrote them: such a folder can be moved
        journal.jsonl                     the journal up to them, as a histories file
        facts.json                        where each topic ended; the runs that were open, by what they wait for

`python -m tests.stack.golden VERSION` starts a stack and makes them, before a release; what is released is never made
again. A state's positions and a source's offsets are those of the topics of that time, so whoever starts from a
savepoint first fills topics up to where they ended. What lies there is never decided again: only its places count."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs import conversation, tools
from ops.replay.histories import Histories
from ops.settings import Settings
from ops.stack import lifecycle
from ops.stack.layout import PYTHON, ROOT
from schemas.codec import Codec
from schemas.topics import kafka_name
from tests.stack.follower import Follower
from tests.stack.world import Event, World, thread_of
from wire.control import plain_path
from wire.kafka import bounds, producer
from wire.registry import Registry

FOLDER = ROOT / "tests" / "golden" / "savepoints"
NAMESPACE, APP, GATE = "golden", "golden_app", "golden"
PORT_BASE = 22_000
# By what each waits for when the savepoints are taken; what the others wait behind is held by `effect in flight`.
PLANS = {
    "nothing": "look pay",
    "timer": "nap:3 look",
    "event": "wait pay",
    "read in flight": f"look:before.{GATE}",
    "effect in flight": f"pay:before.{GATE}",
    "queued": f"pay:before.{GATE} look",
    "message behind it": "look",
}


def versions() -> list[str]:
    """The versions that there are golden savepoints of."""
    return sorted(path.parent.name for path in FOLDER.glob("*/facts.json"))


def facts(version: str) -> dict[str, Any]:
    """What facts.json of a version holds."""
    found: dict[str, Any] = json.loads((FOLDER / version / "facts.json").read_text("utf-8"))
    return found


def fill(settings: Settings, version: str) -> None:
    """The journal of a version, and topics that end where its did, in a namespace that has none of them."""
    lifecycle.ensure_wire(settings, print)
    codec, sender = Codec(Registry(settings.registry_url)), producer(settings.bootstrap)
    keys: dict[tuple[str, int, int], bytes] = {}
    for entry in Histories(FOLDER / version / "journal.jsonl"):
        value = codec.encode("threadlog.Decision", entry.to_dict())
        sender.produce(kafka_name(settings.namespace, "agent-decisions"), value, entry.thread.encode())
        keys[entry.input.topic, entry.input.partition, entry.input.offset] = entry.thread.encode()
    filler = codec.encode("threadlog.Message", {"text": "", "data": "{}"})
    for topic, ends in facts(version)["ends"].items():
        for partition, end in ends.items():
            for offset in range(end):
                key = keys.get((topic, int(partition), offset))
                sender.produce(kafka_name(settings.namespace, topic), filler, key, int(partition))
    assert sender.flush(60) == 0


def opened(version: str) -> dict[str, Event]:
    """The events whose runs were open, by what they waited for."""
    return {name: Event(key.encode(), None, [], id=id) for name, (key, id) in facts(version)["work"].items()}


def record(version: str, folder: Path) -> None:
    """Make the golden savepoints of a version on a stack in `folder`."""
    (folder / "app").mkdir()
    code = shutil.copy(FOLDER / "app.py", folder / "app" / f"{APP}.py")
    sys.path.insert(0, str(folder / "app"))
    os.environ["IT_SERVICE_URL"] = f"http://127.0.0.1:{PORT_BASE}"
    ledger = folder / "ledger.jsonl"
    service = [str(PYTHON), "-m", "tests.stack.service", "--port", str(PORT_BASE), "--ledger", str(ledger)]
    serving = subprocess.Popen(service, cwd=ROOT)
    settings = Settings(state_dir=folder / "state", namespace=NAMESPACE, port_base=PORT_BASE, app=f"{APP}:app")
    try:
        lifecycle.up(settings, print)
        world = World(settings, Follower(settings), ledger, Path(code))
        work = begin(world)
        savepoints = {line["job"]: line["savepoint"] for line in world.cli("stop")}
        keep(world, version, work, savepoints)
        world.log.stop()
    finally:
        lifecycle.down(settings, print, purge=True)
        serving.kill()
        serving.wait()


def begin(world: World) -> dict[str, Event]:
    """Runs in every way of waiting, and then nothing that moves: no transaction is in the savepoints."""
    work = {"nothing": world.go(PLANS["nothing"], thread="g-nothing")}
    world.wait_replied(list(work.values()))
    for name in ("timer", "event", "read in flight", "effect in flight"):
        work[name] = world.go(PLANS[name], thread=f"g-{name.replace(' ', '-')}")
    world.wait_arrived(GATE, 2)
    work["queued"] = world.go(PLANS["queued"], thread="g-queued")
    work["message behind it"] = world.go(PLANS["message behind it"], thread=thread_of(work["effect in flight"]))
    world.log.wait("all begun", lambda: all(world.log.threads.get(thread_of(event)) for event in work.values()))
    world.log.wait("both in one", lambda: len(world.log.threads[thread_of(work["effect in flight"])]) == 2)
    assert world.cli("parked", "list") == []
    time.sleep(1)  # several checkpoints
    return work


def keep(world: World, version: str, work: dict[str, Event], savepoints: dict[str, str]) -> None:
    """Write everything down."""
    settings, home = world.settings, FOLDER / version
    home.mkdir()
    for job, savepoint in savepoints.items():
        shutil.copytree(plain_path(savepoint), home / job)
    world.cli("histories", "export", "--all", "-o", str(home / "journal.jsonl"))
    ends = {
        topic: {partition: high for partition, (_, high) in sorted(ends_of(settings, topic).items()) if high}
        for topic in sorted({*conversation.INPUTS, *tools.INPUTS})
    }
    told = {"ends": ends, "work": {name: [thread_of(event), event.id] for name, event in work.items()}}
    (home / "facts.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def ends_of(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """The first and the last place of a topic's partitions."""
    return bounds(settings.bootstrap, kafka_name(settings.namespace, topic))


def of_namespace(settings: Settings) -> Settings:
    """The settings of a stack with the golden namespace and app."""
    return replace(settings, namespace=NAMESPACE, app=f"{APP}:app")


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="threadlog-golden-"))
    record(sys.argv[1], place)
    shutil.rmtree(place)
