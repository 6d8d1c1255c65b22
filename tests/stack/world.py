# SPDX-License-Identifier: Apache-2.0
"""The hands of the tests: send anything, open gates, kill parts, see how often the jobs were restarted."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro

from ops import http
from ops.settings import Settings
from ops.stack import flink, health, processes
from ops.stack.layout import PYTHON, ROOT, Layout
from schemas.cloudevents import root_traceparent, write_headers
from schemas.codec import Schema, our_schema
from schemas.topics import kafka_name
from tests.stack.follower import PATIENCE_S, Follower, Place
from wire.kafka import producer
from wire.registry import Registry

SOURCE = "/tests"
TYPES: dict[str, Any] = {
    f"it.{name}": {"type": "record", "name": name, "namespace": "it", "fields": [{"name": field, "type": type}]}
    for name, field, type in (
        ("Go", "plan", "string"),
        ("More", "text", "string"),
        ("Nobodys", "text", "string"),
        ("Number", "x", "double"),
        ("Tree", "next", ["null", "Tree"]),
    )
}
PLANS = ("look", "pay", "", "both", "nap:0.05", "spawn")
Headers = list[tuple[str, bytes | None]]
_numbers = itertools.count(1)


def fresh(word: str) -> str:
    """A name that no other test has."""
    return f"{word}-{next(_numbers)}"


@dataclass(frozen=True)
class Event:
    """A record as it will be sent; `dataclasses.replace` makes it bad."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    topic: str = "agent-events"
    id: str = ""


@dataclass
class World:
    """One started stack and everything around it."""

    settings: Settings
    log: Follower
    ledger: Path
    app: Path
    ids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.producer = producer(self.settings.bootstrap)
        registry = Registry(self.settings.registry_url)
        self.ids = {name: registry.register(name, Schema("AVRO", json.dumps(schema))) for name, schema in TYPES.items()}
        self.ids |= registry.ensure_subjects()

    # --- sending

    def encode(self, type: str, data: dict[str, Any]) -> bytes:
        """Data in the Confluent wire format, by any writer's own means."""
        schema = TYPES.get(type) or json.loads(our_schema(type))
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), data)
        return b"\0" + self.ids[type].to_bytes(4, "big") + out.getvalue()

    def event(self, thread: str, type: str, data: dict[str, Any], topic: str = "agent-events", id: str = "") -> Event:
        """A good record."""
        id, value = id or fresh("e"), self.encode(type, data)
        now_ms, trace = time.time_ns() // 1_000_000, root_traceparent(SOURCE, id)
        headers = write_headers(
            id=id, source=SOURCE, type=type, thread=thread, time_ms=now_ms, value=value, traceparent=trace
        )
        return Event(thread.encode(), value, headers, topic, id)

    def produce(self, events: list[Event]) -> list[Place]:
        """Send records; where the log holds them, once all are acknowledged."""
        places: list[Place | None] = [None] * len(events)

        def delivered(index: int, topic: str) -> Callable[[Any, Any], None]:
            def note(error: Any, message: Any) -> None:
                places[index] = None if error else (topic, message.partition(), message.offset())

            return note

        for index, event in enumerate(events):
            name = kafka_name(self.settings.namespace, event.topic)
            call = delivered(index, event.topic)
            self.producer.produce(name, event.value, event.key, headers=event.headers, on_delivery=call)
            self.producer.poll(0)
        assert self.producer.flush(60) == 0 and None not in places, "the broker did not take every record"
        return [place for place in places if place]

    def go(self, plan: str, thread: str = "", id: str = "") -> Event:
        """An event that begins a run; sent."""
        event = self.event(thread or fresh("t"), "it.Go", {"plan": plan}, id=id)
        self.produce([event])
        return event

    def more(self, event: Event, text: str) -> None:
        """What the run that `event` began may wait for; sent."""
        self.produce([self.event(thread_of(event), "it.More", {"text": text})])

    # --- the service

    def open(self, gate: str) -> None:
        """Open a gate of the service."""
        http.call(f"http://127.0.0.1:{self.settings.port(0)}/open/{gate}", {})

    def lines(self, kind: str, word: str = "") -> list[dict[str, Any]]:
        """The lines of the ledger of a kind whose item contains a word."""
        whole = self.ledger.read_bytes().split(b"\n")[:-1]
        return [line for line in map(json.loads, whole) if line["kind"] == kind and word in line["item"]]

    # --- waiting

    def replied(self, event: Event) -> str:
        """What the run of an event said came of it; empty as long as it has not."""
        said = self.log.replies.get((thread_of(event), event.id))
        return said[0]["text"] or "nothing" if said else ""

    def wait_replied(self, events: list[Event], seconds: float = PATIENCE_S) -> list[str]:
        """Wait until the run of each event has said what came of it."""

        def missing() -> list[str]:
            return [event.id for event in events if not self.replied(event)]

        wait_until("a reply to every event", lambda: not missing(), seconds, missing)
        return [self.replied(event) for event in events]

    def wait_spawned(self, events: list[Event], seconds: float = PATIENCE_S) -> int:
        """Wait until each run that runs of these events' threads have spawned has said what came of it; how many."""
        threads = {thread_of(event) for event in events}

        def spawned() -> list[dict[str, Any]]:
            seens = [seen for thread in threads for seen in list(self.log.threads.get(thread, []))]
            return [effect for seen in seens for effect in seen.effects if effect["do"] == "signal"]

        def missing() -> list[str]:
            return [
                one["signal_id"] for one in spawned() if not self.log.replies.get((one["thread"], one["signal_id"]))
            ]

        wait_until("a reply of every run that was spawned", lambda: not missing(), seconds, missing)
        return len(spawned())

    def wait_arrived(self, word: str, count: int, seconds: float = PATIENCE_S) -> None:
        """Wait until the service has seen so many requests for items with this word."""
        until = time.monotonic() + seconds
        while len(self.lines("arrived", word)) < count:
            assert time.monotonic() < until, f"not within {seconds} s: {count} requests for {word}"
            time.sleep(0.05)

    def wait_running(self) -> None:
        """Wait until each task of both jobs runs."""
        assert flink.wait_running(self.settings, list(flink.JOBS), PATIENCE_S) == []

    # --- the cluster

    def attempts(self) -> dict[str, int]:
        """How often the tasks of each job were started, together. The metric numRestarts says it up to 10 s late."""
        return {kind: sum(_attempts(self.settings, job.id)) for kind, job in flink.live_jobs(self.settings).items()}

    def process(self, part: str) -> processes.Process:
        """The process of a part."""
        process = processes.read(Layout(self.settings.state_dir), part)
        assert process is not None, f"{part} was never started"
        return process

    def kill(self, part: str) -> None:
        """SIGKILL a part."""
        process = self.process(part)
        assert process.alive(), f"{part} does not run"
        processes.send(process, signal.SIGKILL)
        assert processes.wait_gone([process], 10) == []

    def wait_again(self, part: str, before: processes.Process) -> None:
        """Wait until the supervisor has started a part again and it does its work."""
        check = health.checks(self.settings)[part]

        def well() -> bool:
            now = processes.read(Layout(self.settings.state_dir), part)  # None while its start script writes it down
            return now not in (None, before) and check(self.settings) is None

        wait_until(f"{part} is back", well)

    def kill_host(self, kind: str) -> str:
        """SIGKILL the TaskManager that a job runs on; its name."""
        name = flink.job_hosts(self.settings)[kind][0]
        self.kill(name)
        return name

    def report_silence(self, what: str, killed: float, record_property: Callable[[str, object], None]) -> None:
        """Say for how long nothing new became readable after a kill: a figure, no claim."""
        silence_s = round(self.log.silence_s(killed), 1)
        record_property("silence_s", silence_s)
        print(f"\n{what} killed: nothing new in the journal for {silence_s} s")

    def wait_restarted(self, kind: str, before: dict[str, int]) -> None:
        """Wait until a job's tasks were started again and all run."""

        def done() -> bool:
            try:
                return self.attempts().get(kind, 0) > before[kind] and not flink.wait_running(self.settings, [kind], 0)
            except http.HttpError:
                return False

        wait_until(f"{kind} runs again", done)

    def cli(self, *arguments: str) -> list[dict[str, Any]]:
        """What `threadlog --json …` prints; the app under test can be imported, as in its author's folder."""
        program = "from ops.cli import main; main()"
        command = [str(PYTHON), "-c", program, "--json", "--state-dir", str(self.settings.state_dir), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(self.app.parent)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def change_app(self, old: str, new: str) -> None:
        """Edit the app's code; it takes effect when it is submitted."""
        code = self.app.read_text()
        assert old in code
        self.app.write_text(code.replace(old, new))


def _attempts(settings: Settings, job_id: str) -> list[int]:
    job = http.call(f"{settings.flink_rest}/jobs/{job_id}")
    details = (http.call(f"{settings.flink_rest}/jobs/{job_id}/vertices/{vertex['id']}") for vertex in job["vertices"])
    return [task["attempt"] for detail in details for task in detail["subtasks"]]


def wait_until(
    what: str, done: Callable[[], bool], seconds: float = PATIENCE_S, state: Callable[[], Any] = lambda: ""
) -> None:
    """Wait for something that only asking can tell; fails with `what` and the `state` when the time is over."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what} {state()}"
        time.sleep(0.1)


def thread_of(event: Event) -> str:
    """The thread of a good record."""
    assert event.key is not None
    return event.key.decode()


class Traffic:
    """Short runs on a few threads, sent all the time while something is killed: `with Traffic(world) as traffic`."""

    def __init__(self, world: World, pause_s: float = 0.02, threads: int = 10, plans: Sequence[str] = PLANS) -> None:
        self.world, self.pause_s, self.plans, self.sent = world, pause_s, plans, list[Event]()
        self._threads = [fresh("traffic") for _ in range(threads)]
        self._stop = threading.Event()
        self._sender = threading.Thread(target=self._send, name="traffic", daemon=True)

    def _send(self) -> None:
        name = kafka_name(self.world.settings.namespace, "agent-events")
        own = producer(self.world.settings.bootstrap)
        for number in itertools.count():
            if self._stop.wait(self.pause_s):
                break
            plan = self.plans[number % len(self.plans)]
            event = self.world.event(self._threads[number % len(self._threads)], "it.Go", {"plan": plan})
            own.produce(name, event.value, event.key, headers=event.headers)
            own.poll(0)
            self.sent.append(event)
        assert own.flush(60) == 0

    def __enter__(self) -> Traffic:
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._sender.join(timeout=70)
