# SPDX-License-Identifier: Apache-2.0
"""Savepoints of released versions are started from, by a later release with another form of the state and another
schema, and everything that was open in them ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.reading import Journal
from ops.stack import flink
from ops.stack.layout import Layout
from tests.stack import golden
from tests.stack.console import Console, another_checkout, edit
from tests.stack.follower import Follower
from tests.stack.world import World, fresh, thread_of
from threadlog.entry import Entry

RELEASE = "Upgrade threadlog"
UPCASTER = """def _next(whole: Whole) -> Whole:
    for said in whole["history"].values():
        said["language"] = "en"
    return whole


UPCASTERS: tuple[Upcaster, ...] = (_next,)
"""
FIELD = '      "doc": "Its CloudEvents source."\n    }'
NEW_FIELD = FIELD + ',\n    {"name": "language", "type": "string", "default": "en", "doc": "Of the words."}'


@pytest.fixture
def aside(followed: World) -> Iterator[World]:
    """The stack without the session's jobs; they go on afterwards from where they were."""
    jobs = Layout(followed.settings.state_dir).jobs
    followed.wait_running()
    followed.cli("stop")
    before = {path: path.read_text() for path in jobs.glob("*.json")}
    yield followed
    followed.cli("--namespace", golden.NAMESPACE, "stop")
    for path, text in before.items():
        path.write_text(text)
    followed.cli("--namespace", followed.settings.namespace, "start", "--app", followed.settings.app)
    followed.wait_replied([followed.go("look pay") for _ in range(5)])


def later_release(folder: Path) -> Path:
    """A checkout whose state has one version more, and one of whose schemas a field more."""
    later = another_checkout(folder)
    edit(later, "threadlog/upcasting.py", ("UPCASTERS: tuple[Upcaster, ...] = ()\n", UPCASTER))
    edit(later, "schemas/avro/Reply.avsc", (FIELD, NEW_FIELD))
    return later


@pytest.mark.chaos
@pytest.mark.parametrize("version", golden.versions())
def test_golden_savepoints_are_gone_on_from_by_a_later_release(version: str, aside: World, tmp_path: Path) -> None:
    """Timers, events, calls in flight and in the queue: each run ends once, under the keys of that time; threads say in
    the journal that their state has another form now, and it is followed."""
    settings, work = golden.of_namespace(aside.settings), golden.opened(version)
    shutil.copy(golden.FOLDER / "app.py", aside.app.parent / f"{golden.APP}.py")
    golden.fill(settings, version)
    points = {job: f"file://{shutil.copytree(golden.FOLDER / version / job, tmp_path / job)}" for job in flink.JOBS}
    release = Console(aside, tmp_path / "desk", later_release(tmp_path / "later"), golden.NAMESPACE, settings.app)
    release.run(RELEASE, 0)
    before = list(Journal(settings))
    release.run(RELEASE, 1, CONVERSATION=points["conversation"], TOOLS=points["tools"])

    world = World(settings, Follower(settings), aside.ledger, aside.app)
    # Ids that no thread has seen: numbers of today may be those of that time.
    world.produce([world.event(thread_of(work["event"]), "it.More", {"text": "go on"}, id="golden-more")])
    world.open(golden.GATE)
    new = world.go("look pay", thread=fresh("g"))
    ended = work.pop("nothing")
    told = dict(zip(work, world.wait_replied(list(work.values())), strict=True))
    assert told["timer"].startswith("slept; saw ")
    assert told["event"].startswith("heard go on; paid ")
    assert told["message behind it"].endswith("run 1")
    assert world.wait_replied([new])[0].endswith("run 0")
    again = world.go("look", thread=thread_of(ended), id="golden-again")
    assert world.wait_replied([again])[0].endswith("run 1")
    world.log.stop()

    journal = Journal(settings)
    entries = list(journal)
    assert journal.voids == []
    assert {entry.hash for entry in before} < {entry.hash for entry in entries}
    asked = {call for entry in before for call in calls(entry)}
    ran = {line["key"] for line in world.lines("answered", golden.GATE)}
    assert len(ran) == 3 and ran <= asked
    moved = {thread_of(event) for event in [*work.values(), new, again]}
    assert {entry.thread for entry in entries if '"core":{' in entry.patch and '"v":2' in entry.patch} == moved


def calls(entry: Entry) -> set[str]:
    """The ids of the calls that a decision asks for."""
    return {effect["call_id"] for effect in json.loads(entry.effects) if effect["do"] == "call"}
