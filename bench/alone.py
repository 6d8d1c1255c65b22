# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.alone`: what the Python of a turn costs by itself, with dicts in Flink's part.

The operator of the conversation job (`udfs.thread_function`) is given the frames that its source would give it, in the
phases of `bench.conversation`; it loads and stores its state in a dict, and what it writes is dropped. So nothing of
Java is in it, of Kafka, of RocksDB or of conversions between the languages. No stack.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import click

from bench.figures import Figure
from bench.mix import Encoder, Phase, plan
from bench.replay import APP, schemas
from bench.session import without_stack, write
from schemas.codec import Codec
from udfs.thread_function import COLLECT_AFTER, ThreadFunction
from wire.app_code import digest
from wire.frames import Record, pack_in

WARM_UPS = 2
SOON_MS = 60_000  # timers of naps are due by then, deadlines of calls are not
Frames = list[tuple[str, bytes]]  # key, frame


@dataclass
class _Keyed:
    """What an operator asks of Flink: its state and timers by key."""

    key: str = ""
    stored: dict[tuple[str, str], Any] = field(default_factory=dict)
    maps: dict[tuple[str, str], dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    timers: set[tuple[int, str]] = field(default_factory=set)

    def get_state(self, descriptor: Any) -> _Value:
        return _Value(self, descriptor.name)

    def get_map_state(self, descriptor: Any) -> _Map:
        return _Map(self, descriptor.name)

    def get_current_key(self) -> str:
        return self.key

    def timer_service(self) -> _Keyed:
        return self

    def register_processing_time_timer(self, due_ms: int) -> None:
        self.timers.add((due_ms, self.key))

    def delete_processing_time_timer(self, due_ms: int) -> None:
        self.timers.discard((due_ms, self.key))


@dataclass
class _Value:
    """Flink's ValueState."""

    flink: _Keyed
    name: str

    def value(self) -> Any:
        return self.flink.stored.get((self.name, self.flink.key))

    def update(self, value: Any) -> None:
        self.flink.stored[self.name, self.flink.key] = value


@dataclass
class _Map:
    """Flink's MapState."""

    flink: _Keyed
    name: str

    def get(self, key: str) -> str | None:
        return self.flink.maps[self.name, self.flink.key].get(key)

    def put(self, key: str, value: str) -> None:
        self.flink.maps[self.name, self.flink.key][key] = value

    def remove(self, key: str) -> None:
        self.flink.maps[self.name, self.flink.key].pop(key, None)

    def items(self) -> Any:
        return iter(list(self.flink.maps[self.name, self.flink.key].items()))


@dataclass
class Alone:
    """The operator, and the time that it has taken."""

    function: Any
    flink: _Keyed
    encoder: Encoder
    offset: int = 0

    def frames(self, phase: Phase) -> Frames:
        """What the source would make of a phase."""
        found = []
        for topic, key, value, headers in self.encoder.records(phase):
            self.offset += 1
            record = Record(f"bench.{topic}", 0, self.offset, int(time.time() * 1000), key, value, headers)
            found.append((key.decode(), pack_in(record)))
        return found

    def ms_per_turn(self, phases: list[Phase]) -> float:
        """CPU of this thread a turn, over all phases, timers of naps included."""
        spent = 0.0
        for phase in phases:
            frames = self.frames(phase)
            began = time.thread_time()
            for key, frame in frames:
                self.flink.key = key
                list(self.function.process_element(frame, self.flink))
            self._naps()
            spent += time.thread_time() - began
        return 1000 * spent / sum(phase.turns for phase in phases)

    def _naps(self) -> None:
        by = int(time.time() * 1000) + SOON_MS
        while due := sorted(timer for timer in self.flink.timers if timer[0] <= by):
            for timer in due:
                self.flink.timers.discard(timer)
                self.flink.key = timer[1]
                list(self.function.on_timer(timer[0], self.flink) or ())


@click.command()
@click.option("--threads", type=click.IntRange(100), default=6_000, show_default=True, help="Threads of a round.")
@click.option("--phases", type=click.IntRange(5, 100), default=6, show_default=True, help="Inputs of a thread, about.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the mix.")
@click.option("--busy", is_flag=True, help="Measure although the machine has other work; figures are marked.")
def main(threads: int, phases: int, rounds: int, seed: int, busy: bool) -> None:
    """Measure the Python of a turn by itself."""
    (conditions, meter), found = without_stack({"busy": busy}), schemas()
    flink = _Keyed()
    function = ThreadFunction(APP, digest(APP), "bench", found)
    function.open(flink)
    gc.set_threshold(*COLLECT_AFTER)
    alone, spent = Alone(function, flink, Encoder(Codec(found), found.ids, int(time.time() * 1000))), []
    for number in range(WARM_UPS + rounds):
        spent.append(alone.ms_per_turn(plan(seed, f"round-{number}", threads, phases)))
        click.echo(f"  round {number + 1}: {spent[-1]:.3f} ms a turn")
    figures = [Figure("alone.cpu_per_turn", "ms", spent[WARM_UPS:])]
    write("alone", figures, {**conditions, "threads": threads, "phases": phases, "seed": seed}, meter)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # as in a TaskManager; the operator asks for it
        command = [sys.executable, "-m", "bench.alone", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})
    main()
