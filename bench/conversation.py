# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.conversation`: turns a second and CPU a turn of the whole conversation job beside the bare job.

    stack of its own ─► both jobs ─► warm-up ─► bare, whole, bare, whole, … ─► figures with their conditions

A turn is one input record that has become one committed journal entry; entries of timers are extra. Each round sends
new threads through a script of the support desk's mix, in phases that follow each other when the journal shows that the
former was handled. Rate and CPU are taken over the middle of each phase, by the broker's append times and the
TaskManager's own accounting; the journal of each round is compared with what was planned, entry by entry.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bench import figures, stack
from bench.bare import INPUT, OUTPUT
from bench.feed import Committed, Feeder, Follower
from bench.figures import Figure
from bench.meter import Meter
from bench.mix import Encoder, Phase, bare_records, plan, shares
from bench.rounds import Round, check, read_entries, run, summary
from examples.support_desk import traffic
from ops.context import Trouble
from ops.reading import codec_of
from ops.settings import Settings, SettingsError
from ops.settings import load as load_settings
from ops.stack import lifecycle
from ops.stack.layout import BUILD, ROOT
from schemas.codec import Codec
from schemas.topics import kafka_name
from threadlog.entry import Entry

FOLDER = BUILD / "bench"
DEFAULTS = {"state_dir": FOLDER / "stack", "namespace": "bench", "port_base": 25000, "taskmanagers": 2}


@dataclass
class Bench:
    """Everything that the rounds of a run share."""

    settings: Settings
    codec: Codec
    encoder: Encoder
    feeder: Feeder
    meter: Meter
    seed: int
    say: Callable[[str], None]
    mixes: list[Phase] = field(default_factory=list)
    sent: int = 0

    def pair(self, name: str, threads: int, phases: int) -> tuple[Round, Round]:
        """One round of the bare job, then one of the whole."""
        planned = plan(self.seed, name, threads, phases)
        self.mixes = planned
        bare, whole = self._bare(planned), self._whole(planned)
        self.say(
            f"  {name}: bare {bare.turns_per_s:,.0f}/s {bare.cpu_ms_per_turn:.3f} ms, "
            f"whole {whole.turns_per_s:,.0f}/s {whole.cpu_ms_per_turn:.3f} ms, "
            f"ratio {whole.turns_per_s / bare.turns_per_s:.3f}, others {max(bare.others, whole.others):.0%}"
        )
        return bare, whole

    def _bare(self, planned: list[Phase]) -> Round:
        records = []
        for phase in planned:
            records.append(list(bare_records(phase, INPUT, self.sent)))
            self.sent += len(phase.records)
        counts = [len(phase) for phase in records]
        with Follower(self.settings.bootstrap, f"{self.settings.namespace}.{OUTPUT}") as follower:
            found = run(records, counts, self.feeder, follower)
        return summary(found, lambda one: "event", self.meter, "bare", records, sum(counts))

    def _whole(self, planned: list[Phase]) -> Round:
        records = [list(self.encoder.records(phase)) for phase in planned]
        counts, turns = [phase.entries for phase in planned], sum(phase.turns for phase in planned)
        with Follower(self.settings.bootstrap, kafka_name(self.settings.namespace, "agent-decisions")) as follower:
            found = run(records, counts, self.feeder, follower)
        kinds = self._verified(planned, [seen for _, seen in found])
        return summary(found, lambda one: kinds[one.partition, one.offset], self.meter, "whole", records, turns)

    def _verified(self, planned: list[Phase], seen: list[list[Committed]]) -> dict[tuple[int, int], str]:
        """The kind of each entry by its place, once the journal has shown to be what was planned."""
        kinds: dict[tuple[int, int], str] = {}
        heads: dict[str, str] = {}
        for number, (phase, committed) in enumerate(zip(planned, seen, strict=True)):
            entries: list[Entry] = read_entries(self.codec, committed)
            check(number, phase, entries, heads)
            places = [(one.partition, one.offset) for one in committed]
            kinds |= dict(zip(places, (entry.kind for entry in entries), strict=True))
        return kinds


def _settings(given: dict[str, Any]) -> Settings:
    overrides = {key: given.get(key) or default for key, default in DEFAULTS.items()}
    try:
        settings = load_settings({**overrides, "app": stack.APP}, os.environ, Path.cwd())
    except SettingsError as error:
        raise Trouble(str(error)) from error
    if settings.state_dir.exists() and any(settings.state_dir.iterdir()):
        raise Trouble(
            f"{settings.state_dir} has a stack in it.", f"`threadlog --state-dir {settings.state_dir} down --purge`"
        )
    return settings


def _measured(pairs: list[tuple[Round, Round]]) -> list[Figure]:
    """The figures of a run."""
    found = []
    for name, rounds in (("whole", [whole for _, whole in pairs]), ("bare", [bare for bare, _ in pairs])):
        found += [
            Figure(f"{name}.turns_per_s", "turns/s", [r.turns_per_s for r in rounds]),
            Figure(f"{name}.turns_per_s_with_gaps", "turns/s", [r.turns_per_s_with_gaps for r in rounds]),
            Figure(f"{name}.cpu_per_turn", "ms", [r.cpu_ms_per_turn for r in rounds]),
            Figure(f"{name}.broker_cpu_per_turn", "ms", [r.broker_ms_per_turn for r in rounds]),
        ]
    found.append(Figure("whole.entries_per_s", "entries/s", [whole.entries_per_s for _, whole in pairs]))
    found.append(Figure("ratio.turns_per_s", "whole/bare", [w.turns_per_s / b.turns_per_s for b, w in pairs]))
    found.append(Figure("ratio.cpu_per_turn", "whole/bare", [w.cpu_ms_per_turn / b.cpu_ms_per_turn for b, w in pairs]))
    return found


def _conditions(settings: Settings, given: dict[str, Any], pairs: list[tuple[Round, Round]]) -> dict[str, Any]:
    bare, whole = pairs[-1]
    others = max(one.others for pair in pairs for one in pair)
    return {
        "threads": given["threads"], "phases": given["phases"], "rounds": len(pairs), "seed": given["seed"],
        "parallelism": settings.parallelism, "partitions": settings.partitions,
        "checkpoint_interval_ms": settings.checkpoint_interval_ms, "taskmanagers_per_job": 1, "state": "rocksdb",
        "turns_per_round": whole.turns, "value_bytes_in": round(whole.value_bytes_in),
        "journal_bytes": round(whole.value_bytes_out), "bare_value_bytes_in": round(bare.value_bytes_in),
        "bare_value_bytes_out": round(bare.value_bytes_out), "others_share_of_machine_max": round(others, 3),
        "sender_and_reader": "one process, same machine",
    }  # fmt: skip


def _run(settings: Settings, given: dict[str, Any]) -> tuple[list[tuple[Round, Round]], list[Phase]]:
    processes = stack.up(settings, click.echo)
    ids = traffic.register(settings.registry_url)
    codec = codec_of(settings)
    pids = {part.name: part.pid for part in stack.parts(settings)} | {"bench": os.getpid()}
    pids = {name: pid for name, pid in pids.items() if pid not in {one.pid for one in processes.values()}}
    pids |= {name: process.pid for name, process in processes.items()}
    encoder = Encoder(codec, ids, int(time.time() * 1000))
    with Meter(pids) as meter:
        bench = Bench(
            settings, codec, encoder, Feeder(settings.bootstrap, settings.namespace), meter, given["seed"], click.echo
        )
        bench.pair("warm-up", max(1, given["threads"] // 2), given["phases"])
        pairs = []
        for number in range(given["rounds"]):
            pairs.append(bench.pair(f"round-{number + 1}", given["threads"], given["phases"]))
            gc.collect()
    return pairs, bench.mixes


@click.command()
@click.option("--threads", type=click.IntRange(100), default=20_000, show_default=True, help="Threads of a round.")
@click.option("--phases", type=click.IntRange(5, 100), default=6, show_default=True, help="Inputs of a thread, about.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Rounds of each job.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the mix.")
@click.option("--busy", is_flag=True, help="Measure although the machine has other work; the figures are marked.")
@click.option("--keep", is_flag=True, help="Leave the stack up.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Folder of the stack.")
@click.option("--namespace", help="Prefix of its topics.")
@click.option("--port-base", type=int, help="First of its ten ports.")
def main(**given: Any) -> None:
    """Measure turns a second and CPU a turn of the whole conversation job beside the bare job."""
    machine = figures.machine()
    if not figures.quiet(machine["load_average"]) and not given["busy"]:
        raise Trouble(
            f"The load average is {machine['load_average']}: a figure taken now would be somebody else's.",
            "Wait until it is 1 or less, or give --busy.",
        )
    settings = _settings(given)
    gc.disable()  # millions of planned records live until their round is over; walking them would be load of our own
    try:
        pairs, mixes = _run(settings, given)
    finally:
        if not given["keep"]:
            lifecycle.down(settings, click.echo, purge=True)
    conditions = {**machine, **_conditions(settings, given, pairs), "mix": shares(mixes)}
    conditions["busy"] = (
        not figures.quiet(machine["load_average"]) or conditions["others_share_of_machine_max"] > figures.OTHERS_MAX
    )
    found = _measured(pairs)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "conversation.jsonl").write_text("".join(f"{one.line(conditions)}\n" for one in found))
    raw = [{"bare": dataclasses.asdict(bare), "whole": dataclasses.asdict(whole)} for bare, whole in pairs]
    (FOLDER / "conversation.windows.json").write_text(json.dumps(raw, indent=1))
    click.echo(f"\n{figures.table(found)}\n")
    click.echo(json.dumps(conditions, ensure_ascii=False))
    if conditions["busy"]:
        click.echo("The machine was busy with other work: do not quote these figures.")
    click.echo(f"One JSON object per figure: {(FOLDER / 'conversation.jsonl').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
