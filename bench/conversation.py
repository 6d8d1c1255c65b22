# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.conversation`: turns a second and CPU a turn of the whole conversation job beside the bare job.

    stack of its own ─► both jobs ─► warm-up ─► bare, whole, whole, bare, … ─► figures with their conditions

A turn is one input record that has become one committed journal entry; entries of timers are extra. Each round sends
new threads through a script of the support desk's mix, in phases that follow each other when the journal shows that the
former was handled. Rate and CPU are taken over the middle of each phase, by the broker's append times and the
TaskManager's own accounting; the journal of each round is compared with what was planned, entry by entry, and what lies
in the other topics with what the journal asks for, record by record.

Each job is warmed up until its last three rounds lie within a tenth of each other, for the bare job becomes faster by
half when it has had some 200,000 records, after rounds that were alike before; the whole one has as many rounds at
least. That is bounded; the conditions say how many rounds it took, and whether it came to that.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from bench import figures, outputs
from bench.bare import INPUT, OUTPUT
from bench.feed import Committed, Follower
from bench.figures import Figure
from bench.mix import Phase, bare_records, plan, shares
from bench.readings import Checkpoints
from bench.rounds import Round, check, read_entries, run, summary
from bench.session import Session, options, session
from threadlog.entry import Entry

APP, JOBS = "bench.app:app", ("conversation", "bare")
# Rounds of a job before it is measured: at least, at most.
WARM_BARE, WARM_WHOLE = (6, 15), (6, 10)
ALIKE, ALIKE_ROUNDS = 1.1, 3


@dataclass
class Bench:
    """Rounds of both jobs on one stack."""

    run: Session
    mixes: list[Phase] = field(default_factory=list)
    sent: int = 0

    def pair(self, name: str, threads: int, phases: int, whole_first: bool = False) -> tuple[Round, Round]:
        """One round of the bare job and one of the whole."""
        if whole_first:
            whole, bare = self.whole(name, threads, phases), self.bare(name, threads, phases)
        else:
            bare, whole = self.bare(name, threads, phases), self.whole(name, threads, phases)
        click.echo(
            f"  {name}: bare {bare.turns_per_s:,.0f}/s {bare.cpu_ms_per_turn:.3f} ms, "
            f"whole {whole.turns_per_s:,.0f}/s {whole.cpu_ms_per_turn:.3f} ms, "
            f"ratio {whole.turns_per_s / bare.turns_per_s:.3f}, others {max(bare.others, whole.others):.0%}"
        )
        gc.collect()
        return bare, whole

    def bare(self, name: str, threads: int, phases: int) -> Round:
        """A round of the bare job: as many records of the same threads."""
        records, planned = [], plan(self.run.conditions["seed"], name, threads, phases)
        for phase in planned:
            records.append(list(bare_records(phase, INPUT, self.sent)))
            self.sent += len(phase.records)
        counts, meter = [len(phase) for phase in records], self.run.meter
        with Follower(self.run.settings.bootstrap, f"{self.run.settings.namespace}.{OUTPUT}") as follower:
            found = run(records, counts, self.run.feeder, follower)
        return summary(found, lambda one: "event", meter, self.run.hosts["bare"], records, sum(counts))

    def whole(self, name: str, threads: int, phases: int) -> Round:
        """A round of the conversation job. Raises Trouble where it has not written what was planned."""
        planned = self.mixes = plan(self.run.conditions["seed"], name, threads, phases)
        records = [list(self.run.encoder.records(phase)) for phase in planned]
        counts, turns = [phase.entries for phase in planned], sum(phase.turns for phase in planned)
        before, host = outputs.begin(self.run), self.run.hosts["conversation"]
        with self.run.journal() as follower:
            found = run(records, counts, self.run.feeder, follower)
        kinds, asked = self._verified(planned, [seen for _, seen in found])
        outputs.check(self.run, before, asked)
        return summary(found, lambda one: kinds[one.partition, one.offset], self.run.meter, host, records, turns)

    def _verified(
        self, planned: list[Phase], seen: list[list[Committed]]
    ) -> tuple[dict[tuple[int, int], str], Counter[str]]:
        """The kind of each entry by its place, and the records that the entries ask for by topic, once the journal has
        shown to be what was planned."""
        kinds: dict[tuple[int, int], str] = {}
        heads: dict[str, str] = {}
        asked = Counter[str]()
        for number, (phase, committed) in enumerate(zip(planned, seen, strict=True)):
            entries: list[Entry] = read_entries(self.run.codec, committed)
            check(number, phase, entries, heads)
            places = [(one.partition, one.offset) for one in committed]
            kinds |= dict(zip(places, (entry.kind for entry in entries), strict=True))
            asked += outputs.asked(entries)
        return kinds, asked


def steady(rates: Sequence[float]) -> bool:
    """Whether the last of these rates lie within a tenth of each other."""
    last = rates[-ALIKE_ROUNDS:]
    return len(last) == ALIKE_ROUNDS and max(last) <= ALIKE * min(last)


def warm_up(name: str, one_round: Callable[[str], Round], least: int, most: int) -> dict[str, Any]:
    """Rounds of a job until its rate is steady: how many it took, and whether it is. What Java compiles meanwhile, for
    minutes, would be in the figures."""
    rates = list[float]()
    while len(rates) < least or (len(rates) < most and not steady(rates)):
        rates.append(one_round(f"warm-up-{name}-{len(rates) + 1}").turns_per_s)
        click.echo(f"  warm-up {len(rates)}: {name} {rates[-1]:,.0f}/s")
        gc.collect()
    return {f"warm_ups_{name}": len(rates), f"steady_{name}": steady(rates)}


def measured(pairs: list[tuple[Round, Round]], checkpoints: Checkpoints) -> list[Figure]:
    """The figures of pairs of rounds, ratios within each pair."""
    found = []
    for name, rounds in (("whole", [whole for _, whole in pairs]), ("bare", [bare for bare, _ in pairs])):
        found += [
            Figure(f"{name}.turns_per_s", "turns/s", [r.turns_per_s for r in rounds]),
            Figure(f"{name}.turns_per_s_with_gaps", "turns/s", [r.turns_per_s_with_gaps for r in rounds]),
            Figure(f"{name}.cpu_per_turn", "ms", [r.cpu_ms_per_turn for r in rounds]),
            Figure(f"{name}.broker_cpu_per_turn", "ms", [r.broker_ms_per_turn for r in rounds]),
        ]
    if all(every := [checkpoints.every_ms(whole.begin_s, whole.end_s) for _, whole in pairs]):
        found.append(Figure("whole.checkpoint_every", "ms", [ms for ms in every if ms]))
    found.append(Figure("whole.entries_per_s", "entries/s", [whole.entries_per_s for _, whole in pairs]))
    found.append(Figure("ratio.turns_per_s", "whole/bare", [w.turns_per_s / b.turns_per_s for b, w in pairs]))
    found.append(Figure("ratio.cpu_per_turn", "whole/bare", [w.cpu_ms_per_turn / b.cpu_ms_per_turn for b, w in pairs]))
    return found


def _conditions(bench: Bench, pairs: list[tuple[Round, Round]]) -> dict[str, Any]:
    bare, whole = pairs[-1]
    others = max(one.others for pair in pairs for one in pair)
    return {
        "rounds": len(pairs), "turns_per_round": whole.turns, "value_bytes_in": round(whole.value_bytes_in),
        "journal_bytes": round(whole.value_bytes_out), "bare_value_bytes_in": round(bare.value_bytes_in),
        "bare_value_bytes_out": round(bare.value_bytes_out), "others_share_of_machine_max": round(others, 3),
        "busy": bench.run.conditions["busy"] or others > figures.OTHERS_MAX, "mix": shares(bench.mixes),
    }  # fmt: skip


@click.command()
@click.option("--threads", type=click.IntRange(100), default=6_000, show_default=True, help="Threads of a round.")
@click.option("--phases", type=click.IntRange(5, 100), default=6, show_default=True, help="Inputs of a thread, about.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="Rounds of each job.")
@options
def main(**given: Any) -> None:
    """Measure turns a second and CPU a turn of the whole conversation job beside the bare job."""
    gc.disable()  # millions of planned records live until their round is over; walking them would be load of our own
    threads, phases = given["threads"], given["phases"]
    with session(given, APP, JOBS) as running, Checkpoints(running) as checkpoints:
        bench = Bench(running)
        warm = warm_up("bare", lambda name: bench.bare(name, threads, phases), *WARM_BARE)
        warm |= warm_up("whole", lambda name: bench.whole(name, threads, phases), *WARM_WHOLE)
        pairs = [bench.pair(f"round-{n + 1}", threads, phases, n % 2 == 1) for n in range(given["rounds"])]
        sizes = {"threads": threads, "phases": phases, **warm}
        running.report("conversation", measured(pairs, checkpoints), **sizes, **_conditions(bench, pairs))


if __name__ == "__main__":
    main()
