# SPDX-License-Identifier: Apache-2.0
"""Savepoints of earlier versions are started from, by this code and by a later release with another form of the state
and another schema, and everything that was open in them ends as it would have then."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.reading import Journal
from ops.stack import flink
from ops.stack.layout import Layout
from tests.stack import golden, laws, refill
from tests.stack.console import Console, another_checkout, edit
from tests.stack.follower import Follower, reasons
from tests.stack.world import Event, World, fresh, thread_of
from threadlog.entry import Entry
from udfs.thread_function import REUSED

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
    jobs, settings = Layout(followed.settings.state_dir).jobs, golden.of_namespace(followed.settings)
    followed.wait_running()
    followed.cli("stop")
    before = {path: path.read_text() for path in jobs.glob("*.json")}
    shutil.copy(golden.FOLDER / "app.py", followed.app.parent / f"{golden.APP}.py")
    yield followed
    followed.cli("--namespace", golden.NAMESPACE, "stop")
    refill.forget(settings)
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


def carried(version: str, folder: Path) -> dict[str, str]:
    """The savepoints of a version, copied to a folder, by job."""
    return {job: f"file://{shutil.copytree(golden.FOLDER / version / job, folder / job)}" for job in flink.JOBS}


@pytest.mark.chaos
@pytest.mark.parametrize("version", golden.versions())
def test_golden_savepoints_are_gone_on_from(version: str, aside: World, tmp_path: Path) -> None:
    """As after any stop: nothing is read or decided again, and each run ends once, under the keys of that time."""
    settings = golden.of_namespace(aside.settings)
    refill.fill(settings, version)
    refill.left_behind(settings, version, carried(version, tmp_path))
    release = Console(aside, tmp_path / "desk", namespace=golden.NAMESPACE, app=settings.app)
    release.run(RELEASE, 2)
    before = list(Journal(settings))
    release.run(RELEASE, 3)
    world = World(settings, Follower(settings), aside.ledger, aside.app)
    finish(world, version)
    check(world, version, before)
    assert world.log.letters == {}


@pytest.mark.chaos
@pytest.mark.parametrize("version", golden.versions())
def test_golden_savepoints_are_gone_on_from_by_a_later_release(version: str, aside: World, tmp_path: Path) -> None:
    """Elsewhere, where nothing was written down of them, they are caught up. Threads say in the journal that their
    state has another form now, and it is followed."""
    settings = golden.of_namespace(aside.settings)
    refill.fill(settings, version)
    points = carried(version, tmp_path)
    release = Console(aside, tmp_path / "desk", later_release(tmp_path / "later"), golden.NAMESPACE, settings.app)
    release.run(RELEASE, 2)
    before = list(Journal(settings))
    release.run(RELEASE, 4, CONVERSATION=points["conversation"], TOOLS=points["tools"])
    world = World(settings, Follower(settings), aside.ledger, aside.app)
    moved = {thread_of(event) for event in finish(world, version)}
    entries = check(world, version, before)
    # What was refilled is read again: without a thread, or where others lay that were decided, which is told. Nothing
    # else is refused.
    letters = [reasons(letter)["message"] for place in world.log.letters.values() for letter in place]
    assert [message for message in letters if laws.NO_THREAD not in message and message != REUSED] == []
    assert {entry.thread for entry in entries if '"core":{' in entry.patch and '"v":2' in entry.patch} == moved


def finish(world: World, version: str) -> list[Event]:
    """Let everything go on that was open, and begin more in old threads and in a new one: each run says what it has to.
    The events of all of them."""
    work = golden.opened(version)
    world.produce([world.event("g-event", "it.More", {"text": "go on"}, id="golden-more")])
    world.cli("--namespace", golden.NAMESPACE, "parked", "retry", thread_of(work[golden.PARKED][0]))
    world.open(golden.GATE)
    more = [
        world.go("look", thread=fresh("g")),
        world.go("look", thread="g-nothing", id="golden-again"),
        world.go("", thread="g-long", id="golden-long-again"),
    ]
    events = [event for event, _ in work.values()]
    assert dict(zip(work, world.wait_replied(events), strict=True)) == {name: says for name, (_, says) in work.items()}
    counted = ["run 0", "run 1", f"run {golden.LONG_RUNS}"]
    assert [told.rpartition("; ")[2] for told in world.wait_replied(more)] == counted
    return [*events, *more]


def check(world: World, version: str, before: list[Entry]) -> list[Entry]:
    """The journal goes on behind what it held, each input and run decided once, each effect under its key of that time,
    once; the entries."""
    world.log.stop()
    laws.each_thread_is_one_chain(world)
    laws.each_run_ends_once(world)
    journal = Journal(world.settings)
    entries = list(journal)
    assert journal.voids == []
    assert before and {entry.hash for entry in before} < {entry.hash for entry in entries}
    decided = Counter((e.input.topic, e.input.partition, e.input.offset) for e in entries if e.kind != "timer")
    assert {place: count for place, count in decided.items() if count > 1} == {}
    ids = {event.id for event, _ in golden.opened(version).values()}
    came = {(line["item"], line["key"]) for line in world.lines("arrived") if line["item"].split("/")[1] in ids}
    then = {(item, key) for item, key in golden.facts(version)["keys"].items() if "." in item}  # what gates held
    assert then <= came and len(dict(came)) == len(came)
    assert {key for _, key in came} <= {call for entry in entries for call in calls(entry)}
    return entries


def calls(entry: Entry) -> set[str]:
    """The ids of the calls that a decision asks for."""
    return {effect["call_id"] for effect in json.loads(entry.effects) if effect["do"] == "call"}
