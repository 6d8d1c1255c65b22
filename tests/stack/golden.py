# SPDX-License-Identifier: Apache-2.0
"""Golden savepoints: what a released version, or a pre-release (VERSION.dev), left on the real stack, with the journal
that it is a cache of.

    tests/golden/savepoints/app.py        the app, the same for every version
    tests/golden/savepoints/VERSION/
        conversation/, tools/             the savepoints, as Flink wrote them: such a folder can be moved; the paths in
                                          `_metadata` name state that lies in it, and are never opened
        journal.jsonl                     the journal up to them, as a histories file
        facts.json                        where each topic ended and each entry lay; what the stop left written down;
                                          the open runs, by what they wait for, with how each of them has to end

`python -m tests.stack.golden VERSION` starts a stack and makes them, before a release; what is there is never made
again. `tests/stack/refill.py` makes the topics of that time again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from jobs import conversation, tools
from ops.settings import Settings
from ops.stack import flink, lifecycle, records
from ops.stack.layout import PYTHON, ROOT, Layout
from schemas.codec import Codec
from schemas.topics import kafka_name
from tests.stack.follower import Follower
from tests.stack.world import Event, World, thread_of
from wire.control import STOPPED, last_mark, plain_path
from wire.kafka import bounds
from wire.registry import Registry

FOLDER = ROOT / "tests" / "golden" / "savepoints"
NAMESPACE, APP, GATE = "golden", "golden_app", "golden"
PORT_BASE = 22_000
JOURNAL = "agent-decisions"
LONG_RUNS = 30  # so many that sections of the state go far
SHELF = ('SHELF = "now"', 'SHELF = "elsewhere"')
HELD = f"before.{GATE}"
# By what each run waits for when the savepoints are taken: what it does, and what it says at its end, which it is
# helped to by an open gate, a `go on` for who waits for one, and a retry of what is parked.
PLANS = {
    "nothing": ("look pay", "saw now/{id}/0; paid now/{id}/1; run 0"),
    "timer": ("nap:60 look", "slept; saw now/{id}/1; run 0"),
    "event": ("wait pay", "heard go on; paid now/{id}/1; run 0"),
    "read in flight": (f"look:{HELD}", f"saw {HELD}/{{id}}/0; run 0"),
    "event before it waits": (f"look:{HELD} wait", f"saw {HELD}/{{id}}/0; heard early; run 0"),
    "read and effect": (f"both:{HELD}", f"saw {HELD}/{{id}}/0l and booked {HELD}/{{id}}/0r; run 0"),
    "effect done": (f"book:after.{GATE}", f"booked after.{GATE}/{{id}}/0; run 0"),
    "retry": (f"book:busy.{GATE}", f"booked busy.{GATE}/{{id}}/0; run 0"),
    "effect in flight": (f"pay:{HELD}", f"paid {HELD}/{{id}}/0; run 0"),
    "at its turn": (f"pay:{HELD} look", f"paid {HELD}/{{id}}/0; saw now/{{id}}/1; run 0"),
    "message behind it": ("look", "saw now/{id}/0; run 1"),
    "retry of a person": ("drift wait", "saw now/{id}; heard go on; run 0"),
    "child": ("spawn:child", "began child; run 0"),
    "spawned": (f"look:{HELD}", f"saw {HELD}/{{id}}/0; run 0"),
}
ENDED = ("nothing", "child")
PARKED = "retry of a person"
NOWHERE = {"savepoint": "", "began_from": ""}  # they lie elsewhere from now on


def versions() -> list[str]:
    """The versions that there are golden savepoints of."""
    return sorted(path.parent.name for path in FOLDER.glob("*/facts.json"))


def facts(version: str) -> dict[str, Any]:
    """What facts.json of a version holds."""
    found: dict[str, Any] = json.loads((FOLDER / version / "facts.json").read_text("utf-8"))
    return found


def opened(version: str) -> dict[str, tuple[Event, str]]:
    """The events of that time whose runs were open, by what they waited for, with what each has to say at its end."""
    work = {name: (Event(one["thread"].encode(), None, [], id=one["id"]), one["says"])
            for name, one in facts(version)["work"].items()}  # fmt: skip
    return {name: one for name, one in work.items() if name not in ENDED}


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
    work = {name: go(world, name) for name in ("nothing", "child", PARKED)}
    long = [world.go("", thread="g-long", id=f"golden-long-{number}") for number in range(LONG_RUNS)]
    world.wait_replied([work["nothing"], work["child"], *long])
    park(world, work[PARKED])
    for name in ("timer", "event", "read in flight", "event before it waits", "read and effect", "effect done"):
        work[name] = go(world, name)
    work["retry"], work["effect in flight"] = go(world, "retry"), go(world, "effect in flight")
    world.produce([world.event(thread_of(work["event before it waits"]), "it.More", {"text": "early"}, id="early")])
    spawned = world.log.wait("the child", lambda: world.log.threads.get(f"{thread_of(work['child'])}-child"))[0].entry
    work["spawned"] = Event(spawned.thread.encode(), None, [], id=spawned.input.id)
    world.wait_arrived(HELD, 6)
    world.wait_arrived(f"after.{GATE}", 1)
    world.wait_arrived(f"busy.{GATE}", 2)
    work["at its turn"] = go(world, "at its turn")
    work["message behind it"] = go(world, "message behind it", thread_of(work["effect in flight"]))
    begun = ("event before it waits", "effect in flight")
    world.log.wait("both in one", lambda: all(len(world.log.threads[thread_of(work[name])]) == 2 for name in begun))
    world.log.wait("all begun", lambda: all(world.log.threads.get(thread_of(event)) for event in work.values()))
    assert [run["thread"] for run in world.cli("parked", "list")] == [thread_of(work[PARKED])]
    time.sleep(2)  # several checkpoints
    return work


def go(world: World, name: str, thread: str = "") -> Event:
    """Begin the run of that name, under an id that no test has."""
    word = name.replace(" ", "-")
    return world.go(PLANS[name][0], thread=thread or f"g-{word}", id=f"golden-{word}")


def park(world: World, event: Event) -> None:
    """Park a run: it goes on under code that denies its past, which is then mended."""
    world.log.wait("it waits", lambda: len(world.log.threads[thread_of(event)]) == 2)
    world.change_app(*SHELF)
    world.cli("submit", "--app", world.settings.app)
    world.produce([world.event(thread_of(event), "it.More", {"text": "go on"}, id="golden-go-on")])
    world.log.wait("it is parked", lambda: len(world.log.threads[thread_of(event)]) == 3)
    world.change_app(*reversed(SHELF))
    world.cli("submit", "--app", world.settings.app)


def keep(world: World, version: str, work: dict[str, Event], savepoints: dict[str, str]) -> None:
    """Write everything down."""
    settings, home = world.settings, FOLDER / version
    home.mkdir()
    for job, savepoint in savepoints.items():
        shutil.copytree(plain_path(savepoint), home / job)
    world.cli("histories", "export", "--all", "-o", str(home / "journal.jsonl"))
    codec, layout = Codec(Registry(settings.registry_url)), Layout(settings.state_dir)
    ends = {
        topic: {partition: high for partition, (_, high) in sorted(ends_of(settings, topic).items()) if high}
        for topic in sorted({*conversation.INPUTS, *tools.INPUTS, JOURNAL})
    }
    entries = sorted((s.record.partition, s.record.offset, s.entry.thread, s.entry.seq) for s in world.log.journal)
    marks = {job: last_mark(settings.bootstrap, settings.namespace, codec, job, STOPPED) for job in flink.JOBS}
    said = {name: PLANS[name][1].format(id=event.id) for name, event in work.items()}
    told = {
        "ends": ends,
        "work": {name: {"thread": thread_of(e), "id": e.id, "says": said[name]} for name, e in work.items()},
        "keys": {line["item"]: line["key"] for line in world.lines("arrived", "golden-")},
        "jobs": {job: {**asdict(known), **NOWHERE} for job in flink.JOBS if (known := records.read(layout, job))},
        "marks": {job: {**msgspec.to_builtins(mark), "savepoint": ""} for job, mark in marks.items()},
        "journal": entries,
    }
    text = json.dumps({name: value for name, value in told.items() if name != "journal"}, indent=1)
    lines = ",\n  ".join(json.dumps(entry) for entry in entries)
    (home / "facts.json").write_text(f'{text[:-2]},\n "journal": [\n  {lines}\n ]\n}}\n', "utf-8")


def ends_of(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """The first and the last place of a topic's partitions."""
    return bounds(settings.bootstrap, kafka_name(settings.namespace, topic))


def of_namespace(settings: Settings) -> Settings:
    """The settings of a stack with the golden namespace and app."""
    return replace(settings, namespace=NAMESPACE, app=f"{APP}:app")


if __name__ == "__main__":
    [wanted] = sys.argv[1:] or sys.exit("Say which version: python -m tests.stack.golden VERSION")
    if (FOLDER / wanted).exists():
        sys.exit(f"{FOLDER / wanted} is there, and never made again.")
    place = Path(tempfile.mkdtemp(prefix="threadlog-golden-"))
    record(wanted, place)
    shutil.rmtree(place)
