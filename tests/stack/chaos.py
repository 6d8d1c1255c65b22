# SPDX-License-Identifier: Apache-2.0
"""A world of its own for each fault that may break a journal: another namespace on the same cluster, with the watch
beside it, and laws that hold for a journal with void entries in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from ops.reading import Journal, codec_of, whole_topic
from ops.settings import Settings
from ops.stack import flink, processes, records
from ops.stack.layout import PYTHON, ROOT, Layout, layout_of
from ops.stack.submit import stop_jobs, submit
from tests.stack.laws import INPUTS, each_run_ends_once, each_spawn_is_sent_once
from tests.stack.world import Event, World, wait_until
from wire.control import Written, last_rebuild, read_marks
from wire.frames import thread_in
from wire.transactions import Open, conversations, open_transactions

# Less than a recovery takes would be no outage; the local broker looks for timed-out transactions every five seconds.
TIMEOUT_MS = 6_000
# The sink takes turns with two names; a third is in use for a moment.
NAMES = 3
Place = tuple[str, int, int]


def settings_of(world: World, namespace: str) -> Settings:
    """The same stack, another namespace, and transactions that time out soon."""
    return replace(world.settings, namespace=namespace, transaction_timeout_ms=TIMEOUT_MS)


# --- the jobs


def clear(world: World) -> None:
    """No job of the world's namespace runs, and the state folder knows of none."""
    stop_jobs(world.settings, layout_of(world.settings), list(flink.JOBS), print)
    for job in flink.live_jobs(world.settings).values():
        flink.cancel(world.settings, job)
    for kind in flink.JOBS:
        (layout_of(world.settings).jobs / f"{kind}.json").unlink(missing_ok=True)


def start(world: World) -> None:
    """Both jobs, from nothing."""
    layout = layout_of(world.settings)
    submit(world.settings, layout, world.settings.app, list(flink.JOBS), print, find=lambda *_: "")


# --- the laws


def valid(settings: Settings) -> tuple[Counter[Place], set[str], Journal]:
    """How many valid entries each input has, the calls that valid entries ask for, and the journal with its voids."""
    journal, decided, asked = Journal(settings), Counter[Place](), set[str]()
    for entry in journal:
        if entry.kind != "timer":
            decided[entry.input.topic, entry.input.partition, entry.input.offset] += 1
        asked |= {effect["call_id"] for effect in json.loads(entry.effects) if effect["do"] == "call"}
    return decided, asked, journal


def undecided(settings: Settings) -> set[Place]:
    """The inputs that have no valid entry."""
    decided = valid(settings)[0]
    given = {
        (topic, r.partition, r.offset) for topic in INPUTS for r in whole_topic(settings, topic) if thread_in(r.key)
    }
    return given - set(decided)


def check(world: World, events: list[Event]) -> None:
    """Every input is decided once by a valid entry, every payment made once, and none for what is void alone."""
    wait_until(
        "a valid entry for every input", lambda: not undecided(world.settings), 300, lambda: undecided(world.settings)
    )
    wait_until(
        "every call is answered", lambda: not open_calls(world.settings), 180, lambda: open_calls(world.settings)
    )
    decided, asked, journal = valid(world.settings)
    assert {place: count for place, count in decided.items() if count != 1} == {}
    if not journal.voids:  # a void decision may have begun, ended and said the same
        each_run_ends_once(world)
        each_spawn_is_sent_once(world)
    ids = {event.id for event in events} | spawned(world.settings)
    paid = [line for line in world.lines("paid") if line["item"].split("/")[1] in ids]
    assert [key for key, count in Counter(line["key"] for line in paid).items() if count > 1] == []
    assert [item for item, count in Counter(line["item"] for line in paid).items() if count > 1] == []
    assert {line["key"] for line in paid} - asked == set()


def spawned(settings: Settings) -> set[str]:
    """The ids of the events that decisions, void ones too, had for other threads."""
    records = whole_topic(settings, "agent-signals")
    return {(dict(record.headers).get("ce_id") or b"").decode() for record in records}


def open_calls(settings: Settings) -> set[str]:
    """The calls of valid entries that no valid entry has the answer of."""
    asked, answered = set[str](), set[str]()
    for entry in Journal(settings):
        effects = json.loads(entry.effects)
        asked |= {effect["call_id"] for effect in effects if effect["do"] == "call"}
        if entry.kind == "result":
            answered.add(entry.input.id.partition("/")[0])
    return asked - answered


def told_of_all(world: World, watch: Watching) -> bool:
    """Whether the watch has told of each void entry of the journal, but those that a rebuild had healed by then, and of
    nothing else as void."""
    voids = {(void.partition, void.offset) for void in valid(world.settings)[2].voids}
    told = {(line["partition"], line["offset"]) for line in watch.lines(alarm="void")}
    rebuilt = _last_rebuild(world)
    ends = rebuilt.mark.journal if rebuilt else {}
    return told <= voids and all(offset < ends.get(partition, 0) for partition, offset in voids - told)


def is_rebuilt(world: World) -> bool:
    """Whether the state was ever made from the journal alone."""
    return _last_rebuild(world) is not None


def _last_rebuild(world: World) -> Written | None:
    settings = world.settings
    return last_rebuild(read_marks(settings.bootstrap, settings.namespace, codec_of(settings)))


# --- the watch


@dataclass
class Watching:
    """A `threadlog watch --json` in a process of its own."""

    process: subprocess.Popen[bytes]
    out: Path

    def lines(self, **wanted: Any) -> list[dict[str, Any]]:
        """What it has told so far, of that kind."""
        told = [json.loads(line) for line in self.out.read_bytes().split(b"\n")[:-1] if line.startswith(b"{")]
        return [one for one in told if wanted.items() <= one.items()]

    def wait(self, seconds: float = 300, **wanted: Any) -> dict[str, Any]:
        """Wait until it tells of that."""
        wait_until(f"the watch tells {wanted}", lambda: bool(self.lines(**wanted)), seconds, lambda: self.lines()[-3:])
        return self.lines(**wanted)[0]


@contextlib.contextmanager
def watching(world: World, out: Path, *arguments: str) -> Iterator[Watching]:
    """The watch on a world, ended as a person ends it."""
    # What a shell starts in the background ignores the signal, and its children with it.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heard}; from ops.cli import main; main()"
    where = ("--state-dir", str(world.settings.state_dir))
    command = [
        str(PYTHON),
        "-c",
        program,
        "--json",
        *where,
        "--namespace",
        world.settings.namespace,
        "watch",
        *arguments,
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(world.app.parent),
        "THREADLOG_TRANSACTION_TIMEOUT_MS": str(world.settings.transaction_timeout_ms),
    }
    with out.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield Watching(process, out)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()


# --- the faults


@dataclass
class Managers:
    """The TaskManagers of a stack."""

    world: World
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = [f"taskmanager-{n}" for n in range(1, self.world.settings.taskmanagers + 1)]

    def send(self, number: signal.Signals, first: str = "") -> None:
        """Signal all of them, that one first."""
        for name in sorted(self.names, key=lambda name: name != first):
            processes.send(self.world.process(name), number)


def checkpoint_of(layout: Layout, job_id: str) -> int:
    """The number of the newest complete checkpoint of a job; 0 where it has none."""
    folder = layout.checkpoints / job_id
    with contextlib.suppress(FileNotFoundError):
        found = [name for name in os.listdir(folder) if name.startswith("chk-")]
        complete = [int(name[4:]) for name in found if os.path.exists(folder / name / "_metadata")]
        return max(complete, default=0)
    return 0


def stop_after_checkpoint(world: World, delay_s: float = 0) -> int:
    """Stop all TaskManagers so long after a checkpoint was written; how many transactions that left open.

    Without a delay, and with luck, that is before the checkpoint's transaction is committed: the checkpoint is complete
    some milliseconds before."""
    host = _stop_host(world, delay_s)
    Managers(world).send(signal.SIGSTOP, host)
    return len(open_of(world))


def _stop_host(world: World, delay_s: float = 0) -> str:
    layout, job = layout_of(world.settings), flink.live_jobs(world.settings)["conversation"]
    host = flink.hosts(world.settings, job.id)[0]
    process, before = world.process(host), checkpoint_of(layout, job.id)
    while checkpoint_of(layout, job.id) <= before:
        time.sleep(0.0005)
    time.sleep(delay_s)
    processes.send(process, signal.SIGSTOP)
    return host


def fence(world: World) -> float:
    """Begin under the names of the conversation's transactions while it holds still between a checkpoint and its
    commit, as a second writer would; for how long it was held, less than it takes to be given up.

    With luck, as above: what the checkpoint is about to commit is then aborted."""
    prefix = conversations(world.settings.namespace)
    takers = [
        Producer({"bootstrap.servers": world.settings.bootstrap, "transactional.id": f"{prefix}-0-{number}"})
        for number in range(NAMES)
    ]
    for taker in takers:  # so that they are connected
        taker.list_topics(timeout=10)
    host, began = _stop_host(world), time.monotonic()
    try:
        with ThreadPoolExecutor(NAMES) as pool:
            [*pool.map(lambda taker: taker.init_transactions(2.0), takers)]
    finally:
        processes.send(world.process(host), signal.SIGCONT)
    return time.monotonic() - began


def open_of(world: World) -> list[Open]:
    """The open transactions of the world's conversation."""
    return open_transactions(world.settings.bootstrap, conversations(world.settings.namespace))


def outlast_the_timeout(world: World) -> float:
    """Wait until the broker has ended every open transaction, then end the stopped TaskManagers; how long that took."""
    began = time.monotonic()
    wait_until("the transactions time out", lambda: not open_of(world), 60)
    Managers(world).send(signal.SIGKILL)
    return time.monotonic() - began


def last_savepoint(world: World) -> str:
    """Where the conversation was stopped last."""
    found = records.read(layout_of(world.settings), "conversation")
    assert found is not None
    return found.savepoint
