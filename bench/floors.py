# SPDX-License-Identifier: Apache-2.0
"""What is asked of figures, as data, and whether the runs of one keep to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.figures import short


@dataclass(frozen=True)
class Floor:
    """What is asked of a figure: not less than `limit` where `at_least`, else not more. `unit`: of both, for people.

    `limit` None: nothing is asked of it; it is told beside a floor that does not cover it."""

    figure: str
    what: str
    limit: float | None
    unit: str = ""
    at_least: bool = False

    @property
    def asked(self) -> str:
        """The limit for people."""
        if self.limit is None:
            return "none"
        return f"{'≥' if self.at_least else '≤'} {short(self.limit)} {self.unit}".strip()

    def held(self, value: float) -> bool:
        """Whether a value keeps to it."""
        return self.limit is None or (value >= self.limit if self.at_least else value <= self.limit)

    def verdict(self, runs: Sequence[float]) -> str:
        """`held` or `missed` by the median; where not all runs say the same, how many of them hold. Empty where nothing
        is asked."""
        if self.limit is None:
            return ""
        held = sum(map(self.held, runs))
        said = "held" if self.held(median(runs)) else "**missed**"
        return said if held in (0, len(runs)) else f"{said}: {held} of {len(runs)} runs hold"


FLOORS = (
    Floor(
        "ratio.turns_per_s",
        "whole conversation job over the bare job, turns a second, threads found warm",
        0.60,
        at_least=True,
    ),
    Floor("whole.turns_per_s", "turns of the whole conversation job, the same", 5_000, "a second", at_least=True),
    Floor("whole.cpu_per_turn", "CPU of its TaskManager a turn", 0.25, "ms"),
    Floor(
        "latency.event_to_decision.p50",
        "event to committed decision, p50; less than 50 events a second, checkpoints every 200 ms",
        200,
        "ms",
    ),
    Floor("latency.read_call_overhead.p50", "what a read costs beyond its own time, p50", 15, "ms"),
    Floor(
        "waiting.1000_calls.over_idle",
        "CPU of the stack while 1,000 calls of 36 s wait, over idling; to begin and to answer them is left out",
        10,
        "% of a core",
    ),
    Floor(
        "history.short_runs.ratio", "a turn at message 1,000 over one at message 10, short runs, both found warm", 1.3
    ),
    Floor("history.long_run.ratio", "the same in one long run, found warm", 1.3),
    Floor(
        "history.long_run_evicted.ratio", "the same, evicted and executed again from its start, the engine alone", 1.3
    ),
    Floor("threads.ratio", "a turn on 100,000 threads, found cold, over one on 1,000, found warm", 1.3),
    Floor(
        "recovery.gap",
        "from a SIGKILL to the first decision made after it, with a spare, a state of 400 threads",
        6,
        "s",
    ),
    Floor("replay.cluster", "decisions verified in the cluster, on two cores", 10_000, "a second", at_least=True),
    Floor("replay.file", "the same from a file, by two processes", 10_000, "a second", at_least=True),
    Floor(
        "rebuild.decisions",
        "keyed state made of the journal alone, on two cores: decisions, from when its tasks run to the savepoint",
        5_000,
        "a second",
        at_least=True,
    ),
    Floor(
        "queries.slowest",
        "the slowest of the indexed queries of 1,000,000 decisions, index up to date, without Python's start",
        100,
        "ms",
    ),
    Floor("queries.whole.effects", "SQL that reads a whole table: effects by kind", None, "ms"),
    Floor("queries.whole.decisions_by_input", "the same: decisions by type of input", None, "ms"),
    Floor("queries.whole.verdicts", "the same: decisions by verdict and kind", None, "ms"),
    Floor("queries.refresh_of_1000", "the index brought up to date with 1,000 decisions", None, "ms"),
)
