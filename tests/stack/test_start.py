# SPDX-License-Identifier: Apache-2.0
"""The conversation starts from the journal's end or not at all; the laws that are checked after each test say whether
anything was decided or emitted twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ops import http
from ops.reading import Journal, codec_of, whole_topic
from ops.settings import Settings
from ops.stack import flink, lifecycle, records
from ops.stack.command_line import run_command
from ops.stack.layout import Layout, layout_of
from ops.stack.submit import client_environment, pack, stop_jobs
from tests.stack.console import Console
from tests.stack.cutting import cut
from tests.stack.follower import reasons
from tests.stack.test_restore import check_all_end, open_work
from tests.stack.world import Event, World, fresh, wait_until
from wire.control import CAUGHT_UP, STOPPED, Mark, last_mark, plain_path
from wire.journal import entry_of
from wire.kafka import producer

STOP, OLDER = "Stop and start again", "Go on from something older, or from nothing"
REFUSAL = "threadlog: conversation was not started: "
UNGUARDED = (
    ("jobs/conversation.py", "    start = admit(args)\n", "    start = Start(0, False)\n"),
    ("jobs/conversation.py", "acquaint, admit", "acquaint"),
)


def mark(settings: Settings) -> Mark:
    """The last mark in agent-control."""
    found = last_mark(settings.bootstrap, settings.namespace, codec_of(settings))
    assert found is not None
    return found


def savepoint(settings: Settings) -> str:
    """A savepoint of the conversation, which runs on."""
    base = f"{settings.flink_rest}/jobs/{flink.live_jobs(settings)['conversation'].id}/savepoints"
    folder = f"file://{Layout(settings.state_dir).savepoints}"
    trigger = http.call(base, {"target-directory": folder, "cancel-job": False})["request-id"]
    answers: list[dict[str, Any]] = []

    def done() -> bool:
        answers.append(http.call(f"{base}/{trigger}"))
        return bool(answers[-1]["status"]["id"] == "COMPLETED")

    wait_until("a savepoint is complete", done, 60)
    return str(answers[-1]["operation"]["location"])


def flink_run(
    settings: Settings, folder: Path, point: str, kind: str = "conversation", more: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Plain `flink run -s` of a job, with `more` arguments."""
    layout = Layout(settings.state_dir)
    command = [*run_command(settings, layout, settings.app, kind, folder, point), *more]
    environment = client_environment(layout, kind)
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It ended with one sentence that holds these words, a code of its own, and no stack."""
    [said] = [line for line in done.stdout.splitlines() if line.startswith(REFUSAL)]
    assert ([word in said for word in words], done.returncode) == ([True] * len(words), 3), done
    assert "\tat " not in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr


def some_runs(world: World) -> list[Event]:
    """Runs with and without calls that have ended."""
    events = [world.go(plan) for plan in ("look pay", "", "both", "pay") * 5]
    world.wait_replied(events)
    return events


def test_start_with_nothing_decided_since_the_stop_goes_on_from_there(world: World, console: Console) -> None:
    """No catch-up: the job begins from the savepoint that the stop has recorded."""
    some_runs(world)
    stopped = console.run(STOP, 0)
    assert flink.live_jobs(world.settings) == {}
    console.run(STOP, 1)
    found, record = mark(world.settings), records.read(Layout(world.settings.state_dir), "conversation")
    assert record is not None
    assert (found.what, found.savepoint, record.began_from) == (STOPPED, record.began_from, record.began_from)
    assert plain_path(found.savepoint) in stopped
    some_runs(world)


def test_second_copy_is_refused_while_the_first_runs(world: World) -> None:
    """Even before the first has decided anything, and even from the right savepoint; the first goes on undisturbed."""
    world.cli("stop", "--job", "conversation")
    world.cli("start", "--job", "conversation")
    layout, before = Layout(world.settings.state_dir), world.attempts()
    folder, _ = pack(layout, world.settings.app)
    wait_until("a checkpoint holds the first", lambda: bool([*layout.checkpoints.glob("*/chk-*/_metadata")]), 60)
    assert_refused(flink_run(world.settings, folder, mark(world.settings).savepoint), "renews its lease")
    some_runs(world)
    assert world.attempts() == before


def test_start_from_an_older_savepoint_is_refused_and_caught_up(world: World, console: Console) -> None:
    """`flink run -s` with it ends in a sentence and starts nothing; `threadlog start` brings it up to the journal."""
    gate = fresh("older")
    work = open_work(world, gate)
    older = savepoint(world.settings)
    some_runs(world)
    world.cli("stop", "--job", "conversation")
    folder, _ = pack(Layout(world.settings.state_dir), world.settings.app)
    for point, why in ((older, "is not where the job was last stopped"), ("", "from nothing it would decide again")):
        assert_refused(flink_run(world.settings, folder, point), why, "`threadlog start`")
    assert "conversation" not in flink.live_jobs(world.settings)
    console.run(OLDER, 0, OLDER=older)
    assert mark(world.settings).what == CAUGHT_UP
    check_all_end(world, work, gate)
    some_runs(world)


def test_rebuild_goes_on_with_open_work_when_every_savepoint_is_gone(world: World, console: Console) -> None:
    """The state comes from the journal alone, behind a job that was killed with a transaction open: runs in every way
    of waiting go on, due timers fire, queued messages are handled, calls in flight are answered once. The tools job has
    its open calls from there, and repeats none that has ended. What no thread has is told of once."""
    gate, layout = fresh("rebuilt"), Layout(world.settings.state_dir)
    work = open_work(world, gate)
    ended = some_runs(world)
    [nobodys] = world.produce([dataclasses.replace(world.event(fresh("t"), "it.Go", {"plan": ""}), key=None)])
    world.log.wait("a dead letter", lambda: world.log.letters.get(nobodys))
    arrived = effects_that_arrived(world, ended)
    for kind, job in flink.live_jobs(world.settings).items():
        flink.cancel(world.settings, job)
        assert kind in flink.JOBS
    for place in (layout.checkpoints, layout.savepoints, layout.jobs):
        shutil.rmtree(place)
        place.mkdir()
    work["meanwhile"] = world.go("look pay")
    world.more(work["event"], "go on")
    console.run(OLDER, 1)
    assert mark(world.settings).what == CAUGHT_UP
    check_all_end(world, work, gate)
    assert effects_that_arrived(world, ended) == arrived
    some_runs(world)
    assert len(world.log.letters[nobodys]) == 1


def effects_that_arrived(world: World, events: list[Event]) -> list[str]:
    """The keys of effect calls of these runs, each as often as the service has heard it."""
    ids = {event.id for event in events}
    heard = [line for line in world.lines("arrived") if line["tool"] != "look" and line["item"].split("/")[1] in ids]
    assert len({line["item"].split("/")[1] for line in heard}) >= len(ids) // 2
    return sorted(line["key"] for line in heard)


@pytest.mark.chaos
def test_an_older_savepoint_forks_the_journal_without_the_guard(world: World, console: Console) -> None:
    """The same steps with the guard cut out of the job: decided twice, and nothing says so but the journal. What the
    void entries ask for does not run; it would without the gate. The repair is a rebuild: every event then has one
    valid entry."""
    stop_jobs(world.settings, Layout(world.settings.state_dir), list(flink.JOBS), print)
    settings = dataclasses.replace(world.settings, namespace="unguarded")
    lifecycle.ensure_wire(settings, print)
    layout = layout_of(settings)
    folder, _ = pack(layout, settings.app)
    unguarded = cut(settings, "unguarded", *UNGUARDED)
    try:
        events = fork(world, settings, unguarded)
        there = dataclasses.replace(console, namespace="unguarded")
        there.run(OLDER, 2)
        journal = Journal(settings)
        assert len(list(journal)) < len(events)
        assert any("fork" in void.reason for void in journal.voids)
        pay_for_valid_entries_alone(world, settings, folder)
        there.run(OLDER, 3)

        def decided() -> list[str]:
            return [entry.input.id for entry in Journal(settings) if entry.kind == "event"]

        wait_until("an entry for every event", lambda: len(decided()) >= len(events))
        assert sorted(decided()) == sorted(event.id for event in events)
    finally:
        stop_jobs(settings, layout, list(flink.JOBS), print)
        for kind in flink.JOBS:
            path = layout.jobs / f"{kind}.json"
            path.unlink(missing_ok=True)
        world.cli("--namespace", world.settings.namespace, "start")
    some_runs(world)


def fork(world: World, settings: Settings, folder: Path) -> list[Event]:
    """Events to three topics of a job that is put back to an older savepoint; all of them."""
    sender, events = producer(settings.bootstrap), list[Event]()

    def send(count: int, plan: str = "") -> None:
        for number in range(count):
            event = world.event(fresh("t") if plan else f"u{number % 8}", "it.Go", {"plan": plan})
            among = ("agent-events", "human-feedback", "agent-signals")
            topic = f"{settings.namespace}.{among[number % 3 if not plan else 0]}"
            sender.produce(topic, event.value, event.key, headers=event.headers)
            sender.flush(10)
            events.append(event)

    def decided(count: int) -> bool:
        journal = Journal(settings)
        return len(list(journal)) + len(journal.voids) >= count

    assert flink_run(settings, folder, "").returncode == 0
    send(40)
    wait_until("all are decided", lambda: decided(40))
    older = savepoint(settings)
    send(70)
    send(10, "stamp")
    wait_until("all are decided", lambda: decided(120))
    stop_jobs(settings, layout_of(settings), ["conversation"], print)
    assert flink_run(settings, folder, older).returncode == 0
    time.sleep(1)
    send(20)
    wait_until("decided again", lambda: decided(220))
    return events


# Each entry is taken for the one that its thread waits for. A class of the job's own file travels with it, so that no
# TaskManager need load other modules.
NO_GATE = """
class OpenGate(OutboxGate):
    def process_element(self, value, ctx):
        entry = entry_of(unpack_in(value).value, self._codec)
        before = Kept(Head(entry.seq - 1, entry.prev))
        return self._rows(take(before, entry, entry.thread, (0, 0, 0)))


def build("""
IMPORTS = """
from threadlog.following import Head
from threadlog.gate import Kept, take
from wire.frames import unpack_in
from wire.journal import entry_of
"""
UNGATED = (
    ("jobs/tools.py", "= OutboxGate(", "= OpenGate("),
    ("jobs/tools.py", "\ndef build(", IMPORTS + NO_GATE),
)


def pay_for_valid_entries_alone(world: World, settings: Settings, folder: Path) -> None:
    """A tools job that begins with nothing runs what the valid entries of a forked journal ask for, and tells of each
    void one; the same job without its gate runs what they ask for."""
    layout, (valid, void) = layout_of(settings), effects_asked(settings)
    assert len(valid) == len(void) == 10 and not valid & void.keys()

    def paid() -> set[str]:
        return {line["key"] for line in world.lines("paid")}

    def letters() -> set[tuple[str, str]]:
        told = [reasons(letter) for letter in whole_topic(settings, "dead-letters")]
        return {(one["partition"], one["offset"]) for one in told if one["exception"] == "void"}

    assert flink_run(settings, folder, "", "tools").returncode == 0
    wait_until("valid entries are paid for", lambda: valid <= paid())
    journal = Journal(settings)
    list(journal)
    told = {(str(one.partition), str(one.offset)) for one in journal.voids}
    assert told >= set(void.values())
    wait_until("void ones are told of", lambda: letters() >= told)
    assert letters() == told
    assert not paid() & void.keys()
    stop_jobs(settings, layout, ["tools"], print)

    ungated = cut(settings, "ungated", *UNGATED)
    assert flink_run(settings, ungated, "", "tools").returncode == 0
    wait_until("void entries are paid for too", lambda: void.keys() <= paid())
    stop_jobs(settings, layout, ["tools"], print)


def effects_asked(settings: Settings) -> tuple[set[str], dict[str, tuple[str, str]]]:
    """The keys of effect calls in the valid entries of a journal; and in void ones, with where the log holds them."""
    hashes, codec = {entry.hash for entry in Journal(settings)}, codec_of(settings)
    valid, void = set[str](), dict[str, tuple[str, str]]()
    for record in whole_topic(settings, "agent-decisions"):
        entry = entry_of(record.value, codec)
        keys = [e["call_id"] for e in json.loads(entry.effects) if e["do"] == "call" and e["effect"] != "read"]
        if entry.hash in hashes:
            valid |= set(keys)
        else:
            void |= dict.fromkeys(keys, (str(record.partition), str(record.offset)))
    return valid, void
