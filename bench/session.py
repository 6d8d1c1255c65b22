# SPDX-License-Identifier: Apache-2.0
"""What every bench on a running stack needs: a stack of its own, a sender, a reader of the journal, a meter, a report.

with session(given, APP, ("conversation", "tools")) as run:    a stack, up and then away
    run.send([("thread", ASK, {...})])                        events, as fast as the broker takes them
    run.report("latency", figures)                            a table, and JSON lines with their conditions
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bench import figures, stack
from bench.customer import Planned
from bench.feed import Feeder, Follower
from bench.figures import Figure
from bench.meter import Meter
from bench.mix import NOTE, Encoder
from bench.rounds import read_entries
from examples.support_desk import traffic
from ops.context import Trouble
from ops.reading import codec_of
from ops.settings import Settings, SettingsError
from ops.settings import load as load_settings
from ops.stack import lifecycle
from ops.stack.command_line import checkpoint_interval_ms
from ops.stack.layout import BUILD, ROOT
from schemas.codec import Codec
from schemas.topics import kafka_name
from threadlog.entry import Entry
from wire.control import TOOLS
from wire.registry import Registry

FOLDER = BUILD / "bench"
DEFAULTS = {"state_dir": FOLDER / "stack", "namespace": "bench", "port_base": 25000}
PATIENCE_S = 300
_numbers = itertools.count()


@dataclass
class Session:
    """A running stack. `hosts`: the process that each job runs in, by the job's name."""

    settings: Settings
    hosts: dict[str, str]
    codec: Codec
    encoder: Encoder
    feeder: Feeder
    meter: Meter
    conditions: dict[str, Any]
    said: list[Figure] = field(default_factory=list)

    def send(self, events: Iterable[tuple[str, str, dict[str, Any]]]) -> list[str]:
        """Send events (thread, type, data) and wait until the broker has them; the id that each was given."""
        ids = []

        def planned() -> Iterator[Planned]:
            for thread, kind, data in events:
                ids.append(f"e-{next(_numbers)}")
                yield Planned("agent-events", thread, ids[-1], kind, data)

        self.feeder.send(map(self.encoder.event, planned()))
        return ids

    @contextmanager
    def journal(self) -> Iterator[Follower]:
        """Keeps every journal entry from now on."""
        with Follower(self.settings.bootstrap, kafka_name(self.settings.namespace, "agent-decisions")) as follower:
            yield follower

    def entries(self, follower: Follower, since: int = 0) -> list[tuple[float, Entry]]:
        """What it has kept, each with the clock's time when it could be read."""
        seen = follower.seen[since:]
        times = (one.seen_s for one in seen)
        return list(zip(times, read_entries(self.codec, seen), strict=True))

    def follow_restarts(self) -> None:
        """Meter what the supervisor has started in the place of what was killed, or it would pass for others' work."""
        known = self.meter.pids.values()
        new = {f"{one.name}/{one.pid}": one.pid for one in stack.parts(self.settings) if one.pid not in known}
        self.meter.pids = {**self.meter.pids, **new}

    def report(self, name: str, found: list[Figure], **conditions: Any) -> None:
        """Print a table; write one JSON object per figure, with its conditions, to .build/bench/NAME.jsonl."""
        write(name, found, {**self.conditions, **conditions}, self.meter)


def write(name: str, found: list[Figure], conditions: dict[str, Any], meter: Meter) -> None:
    """As `Session.report`, for a bench without a stack. `meter` has read since the beginning: what others took since
    is a condition, and too much of it makes the figures ones of a busy machine."""
    others = meter.others()
    busy = conditions["busy"] or others > figures.OTHERS_MAX
    conditions = {**conditions, "busy": busy, "others_share_of_machine": round(others, 3)}
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.jsonl"
    path.write_text("".join(f"{one.line(conditions)}\n" for one in found))
    click.echo(f"\n{figures.table(found)}\n")
    if conditions["busy"]:
        click.echo("The machine was busy with other work: do not quote these figures.")
    click.echo(f"One JSON object per figure: {path.relative_to(ROOT)}")


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that all benches share."""
    for option in reversed((
        click.option("--busy", is_flag=True, help="Measure although the machine has other work; figures are marked."),
        click.option("--keep", is_flag=True, help="Leave the stack up."),
        click.option("--state-dir", type=click.Path(path_type=Path), help="Folder of the stack."),
        click.option("--namespace", help="Prefix of its topics."),
        click.option("--port-base", type=int, help="First of its ten ports."),
        click.option("--checkpoint-interval-ms", type=int, help="Of the jobs but the tools (default: 200)."),
        click.option("--seed", type=int, default=1, show_default=True, help="Of what is sent."),
    )):  # fmt: skip
        command = option(command)
    return command


def cool_down(busy: bool) -> None:
    """Wait until what the stack before has left is done; not for ever, and not when `busy` is allowed."""
    until = time.monotonic() + PATIENCE_S
    while not busy and not figures.quiet() and time.monotonic() < until:
        pass  # to look takes seconds


def _settings(given: dict[str, Any], app: str, taskmanagers: int) -> Settings:
    overrides = {key: given.get(key) or default for key, default in DEFAULTS.items()}
    overrides |= {"taskmanagers": taskmanagers, "checkpoint_interval_ms": given.get("checkpoint_interval_ms")}
    try:
        settings = load_settings({**overrides, "app": app}, os.environ, Path.cwd())
    except SettingsError as error:
        raise Trouble(str(error)) from error
    if settings.state_dir.exists() and any(settings.state_dir.iterdir()):
        raise Trouble(
            f"{settings.state_dir} has a stack in it.", f"`threadlog --state-dir {settings.state_dir} down --purge`"
        )
    return settings


def quiet_machine(given: dict[str, Any]) -> dict[str, Any]:
    """What is measured on, with `busy`. Raises Trouble on a machine that has other work, unless --busy is given."""
    machine = figures.machine()
    quiet = figures.quiet()
    if not quiet and not given["busy"]:
        raise Trouble(
            f"The load average is {machine['load_average']}, and the cores are at work: a figure taken now would be "
            f"somebody else's.",
            "Wait until nothing else runs, or give --busy.",
        )
    return {**machine, "busy": not quiet}


def without_stack(given: dict[str, Any]) -> tuple[dict[str, Any], Meter]:
    """As `quiet_machine`, and a meter of this process and its children, from now on."""
    conditions, meter = quiet_machine(given), Meter({"bench": os.getpid()})
    meter.read()
    return conditions, meter


@contextmanager
def session(given: dict[str, Any], app: str, jobs: tuple[str, ...], spare: int = 0) -> Iterator[Session]:
    """A stack of its own with these jobs, each on a TaskManager of its own; it is removed in the end."""
    machine = quiet_machine(given)
    settings = _settings(given, app, len(jobs) + spare)
    try:
        hosts = stack.up(settings, app, jobs, click.echo)
        ids = traffic.register(settings.registry_url)
        codec = codec_of(settings)
        ids |= {NOTE: Registry(settings.registry_url).id_of(NOTE)}
        pids = {part.name: part.pid for part in stack.parts(settings)} | {"bench": os.getpid()}
        conditions = {
            **machine, "jobs": list(jobs), "seed": given["seed"], "parallelism": settings.parallelism,
            "partitions": settings.partitions, "checkpoint_interval_ms": settings.checkpoint_interval_ms,
            "taskmanagers": settings.taskmanagers, "state": "rocksdb",
            "sender_and_reader": "one process, same machine",
        }  # fmt: skip
        if TOOLS in jobs:
            conditions["tools_checkpoint_interval_ms"] = checkpoint_interval_ms(settings, TOOLS)
        with Meter(pids) as meter, closing(Feeder(settings.bootstrap, settings.namespace)) as feeder:
            yield Session(
                settings, hosts, codec, Encoder(codec, ids, int(time.time() * 1000)), feeder, meter, conditions
            )
    finally:
        if not given["keep"]:
            lifecycle.down(settings, click.echo, purge=True)
