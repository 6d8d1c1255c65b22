# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.replay`: a histories file of the support desk's mix, and how fast it is replayed.

The file is made in this process, by the same code that the conversation job runs between Kafka and its sink: records
as the customers and the tools job would write them, read by `udfs.inputs`, decided by the engine. Threads are mixed as
in a log. It is bounded by the number of decisions, and the same for the same seed.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from bench.app import app
from bench.customer import BEGAN_MS
from bench.figures import Figure
from bench.mix import Encoder, Sent, plan
from bench.session import FOLDER, without_stack
from bench.session import write as write_figures
from examples.support_desk.traffic import SCHEMAS, schema_text
from ops.context import Trouble
from ops.replay.histories import Writer
from ops.replay.pool import replay
from ops.replay.work import COLLECT_AFTER, Job
from ops.settings import Settings
from schemas.codec import Codec, FixedSchemas, Schema
from threadlog.engine import follow, step
from threadlog.entry import Entry
from threadlog.inputs import Input, timer
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.state import State, new_state
from udfs.inputs import Inputs
from wire.app_code import digest
from wire.frames import Record

APP = "bench.app:app"
BATCH_THREADS, PHASES = 500, 12  # planned at once: a plan lies in memory whole


@dataclass
class Conversation:
    """The conversation job in memory, for a bounded number of threads at a time."""

    codec: Codec
    states: dict[str, State] = field(default_factory=dict)
    live: LiveRuns = field(default_factory=LiveRuns)
    offsets: dict[str, int] = field(default_factory=dict)
    now: int = BEGAN_MS
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._inputs = Inputs(self.codec, "bench")

    def record(self, sent: Sent) -> Entry:
        """Decide one record."""
        topic, key, value, headers = sent
        offset = self.offsets[topic] = self.offsets.get(topic, -1) + 1
        self.now += 1
        record = Record(f"bench.{topic}", 0, offset, self.now, key, value, headers)
        return self._step(self._inputs.of_record(record, key.decode(), self.now))

    def sleeps(self) -> Iterator[Entry]:
        """Let every sleep end."""
        for thread in list(self.states):
            while sleeping := [(due, id) for id, due in self._timers(thread) if id.startswith("sleep:")]:
                due, id = min(sleeping)
                self.now = max(self.now, due)
                yield self._step(timer(thread, id, due, self.now))

    def _timers(self, thread: str) -> list[tuple[str, int]]:
        return list(self.states[thread].small["timers"].items())

    def _step(self, input: Input) -> Entry:
        state = self.states.get(input.thread) or new_state(input.thread)
        decision = step(state, input, app, self.limits, self.live)
        if decision is None:
            raise RuntimeError(f"{input.thread}: {input.id} was taken for a record handled before")
        self.states[input.thread] = follow(state, decision)
        return decision.entry


def schemas() -> FixedSchemas:
    """Ours, and those of the customers' events."""
    found = FixedSchemas()
    for name in SCHEMAS:
        found.register(name, Schema("AVRO", schema_text(name)))
    return found


def entries(found: FixedSchemas, decisions: int, seed: int = 1, share: tuple[int, int] = (0, 1)) -> Iterator[Entry]:
    """At most so many decisions of the mix, whole phases of 500 threads at a time.

    `share` (number, of how many): makers that work side by side make other threads."""
    codec = Codec(found)
    encoder = Encoder(codec, found.ids, BEGAN_MS)
    app.digest = digest(APP)
    for batch in itertools.count(*share):
        job = Conversation(codec)
        for phase in plan(seed, f"r{batch}", min(BATCH_THREADS, max(1, decisions // 8)), PHASES):
            for entry in itertools.chain(map(job.record, encoder.records(phase)), job.sleeps()):
                if not decisions:
                    return
                decisions -= 1
                yield entry


def write(path: Path, decisions: int, seed: int = 1) -> Writer:
    """Write a histories file; what was written."""
    found = schemas()
    with path.open("wb") as file:
        writer = Writer(file, found)
        for entry in entries(found, decisions, seed):
            writer.add(entry)
        writer.close()
    return writer


def _replayed(job: Job, workers: int, made: int) -> float:
    """Decisions a second, all of them equal to the bit. Raises Trouble where one is not."""
    began = time.monotonic()
    tally = replay(job, workers, lambda told: None)
    seconds = time.monotonic() - began
    click.echo(f"replayed {tally.decisions:,} decisions of {tally.threads:,} threads in {seconds:.1f} s; "
               f"{dict(tally.standings)}")  # fmt: skip
    if tally.decisions != tally.standings.get("equal") or tally.voids or made not in (0, tally.decisions):
        raise Trouble(f"Of {made or tally.decisions:,} decisions not all are equal to the bit.")
    return tally.decisions / seconds


@click.command()
@click.option("--decisions", type=click.IntRange(1), default=200_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True)
@click.option("--cold", is_flag=True, help="Every run executed from its start at every step.")
@click.option("--file", type=click.Path(path_type=Path), help="Kept; made where it is not there.")
@click.option("--busy", is_flag=True, help="Measure although the machine has other work; figures are marked.")
def main(decisions: int, rounds: int, seed: int, workers: int, cold: bool, file: Path | None, busy: bool) -> None:
    """Make a histories file of the mix and replay it."""
    conditions, meter = without_stack({"busy": busy})
    path, entries_made = file or FOLDER / "replay.jsonl.part", 0
    try:
        if file is None or not file.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            gc.freeze()
            gc.set_threshold(*COLLECT_AFTER)  # as the conversation job has it
            began = time.monotonic()
            made = write(path, decisions, seed)
            entries_made = made.entries
            click.echo(f"made {made.entries:,} decisions of {len(made.threads):,} threads, "
                       f"{path.stat().st_size:,} bytes, in {time.monotonic() - began:.1f} s")  # fmt: skip
        job = Job(APP, Settings(), (path,), cold=cold)
        rates = [_replayed(job, workers, entries_made) for _ in range(rounds)]
        sizes = {"decisions": entries_made or None, "file_bytes": path.stat().st_size, "workers": workers, "cold": cold}
        told = {**conditions, **sizes, "seed": seed}
        write_figures("replay", [Figure("replay.file", "decisions/s", rates)], told, meter)
    finally:
        if file is None:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
