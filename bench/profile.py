# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.profile`: where the time goes, as tables and flame graphs.

    a round as it is: cores by process, Flink's tasks ─► the same with a profiler in it: CPU by kind of thread, graphs

The conversation, and the bare job beside it, are under the support desk's mix, the tools job under calls of 10 ms. What
a turn costs in which process, and which task was busy, is read from rounds in which nothing is profiled. Short runs at
message 10 and at message 1,000 are made as by `bench.history`, with more turns a window, and so the young threads are
more than the old ones; with it the evicted run is executed on the engine alone (`--alone`).
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import click

from bench.conversation import APP as MIX_APP
from bench.conversation import JOBS as MIX_JOBS
from bench.conversation import Bench
from bench.history import APP as HISTORY_APP
from bench.history import BEFORE, WINDOW, aged, ages
from bench.history import JOBS as HISTORY_JOBS
from bench.latency import APP as LIVE_APP
from bench.latency import JOBS as LIVE_JOBS
from bench.live import ASK
from bench.rounds import Round
from bench.sampling import OUT, Profile, PythonProfile, copy, python_of
from bench.session import Session, options, session
from bench.sheet import MACHINE
from bench.spent import (
    STATES,
    Tasks,
    cores,
    cores_table,
    differences_table,
    functions,
    interpreter_share,
    markdown,
    shares,
    threads_table,
)
from bench.turns import alternated, ms_per_turn, take_turns

CALL_S, PHASES = 0.01, 6
# Short runs at message 10 and at message 1,000: threads, and how many messages of each; as many turns of both.
YOUNG, OLD, PAIRS = (1_000, WINDOW), (200, 5 * WINDOW), 3
ENDS, FUNCTION_ROWS = ("message-10", "message-1000"), 16
WARM_UPS = 6  # by then the bare job is as fast as it gets, see bench.conversation
EVICTED = ["-m", "bench.history", "--alone", "--rounds", "3"]
HEAD = """\
# Where the time goes

Made by `.venv/bin/python -m bench.profile --write-docs docs/profiles`. What it means for the floors:
[performance.md](../performance.md#where-the-time-goes).

Commit {commit}; {machine}. {threads:,} threads of {phases} inputs a round, after {warm_ups} rounds for warming up;
checkpoints every {checkpoint_interval_ms} ms.

## Cores, by process

The middles of the phases of one round of each job, nothing profiled. A rate is the cores over what a turn costs in all
processes together.

"""
TASKS = """
## Flink's tasks in the same rounds

Shares of a task's time; medians of what Flink told once a second, of the whole round with the gaps between its phases,
in which nothing comes. A task that waits for a core is busy, not idle. The tools job under calls of 10 ms, a read and
an effect a thread.

"""
THREADS = """
## CPU by kind of thread

Samples of CPU time (async-profiler), in rounds of their own; the milliseconds are shares of what a turn cost in the
round in which nothing was profiled. Short runs: {pairs} windows of each kind in turns are not profiled, one is.
{young:,} threads of which {early} messages are measured behind {before}, and {old:,} threads of which {late} are; these
are, on average, at message {as_it_is:,} where nothing is profiled, {profiled:,} here, {python:,} in the table below.

"""
FUNCTIONS = """
## Short runs at message 10 and at message 1,000, by Python function

Milliseconds of a turn in which a function, or what it called, held the interpreter: its share of py-spy's samples, of
what the interpreter has by the table above ({:.3f} and {:.3f} ms); those in which the two differ the most.

"""
GRAPHS = """
## Graphs

To be opened in a browser. CPU of the whole process: [conversation](conversation.html), [bare job](bare.html),
[tools](tools.html), [broker](broker.html) under the conversation's load, the conversation with short runs at
[message 10](message-10.html) and at [message 1,000](message-1000.html). Python's functions, by who holds the
interpreter (py-spy): [conversation](conversation-python.html), [tools](tools-python.html), short runs at
[message 10](message-10-python.html) and at [message 1,000](message-1000-python.html), and of the run that was evicted
and is executed again from its start, [the engine alone](evicted-python.html).
"""


def _calls(run: Session, threads: int, prefix: str) -> None:
    """A read and an effect on each thread, and their answers."""
    with run.journal() as follower:
        for number, tool in enumerate(("look", "act"), 1):
            run.send((f"{prefix}-{n}", ASK, {"text": f"{tool}:{CALL_S}", "data": "{}"}) for n in range(threads))
            follower.wait(2 * threads * number)


def _history(run: Session) -> dict[str, float]:
    """Profiles of short runs at message 10 and at message 1,000; ms of CPU a turn of each, where none is profiled."""
    old, host = aged(run, "old", ages(OLD[0])), run.hosts["conversation"]
    young = [aged(run, f"young-{number}", [BEFORE] * YOUNG[0]) for number in range(PAIRS + 2)]
    pairs = alternated(
        PAIRS,
        lambda number: ms_per_turn(run, young[number], ASK, YOUNG[1]),
        lambda number: ms_per_turn(run, old, ASK, OLD[1]),
    )
    for name, names, (_, messages) in zip(ENDS, (young[-2], old), (YOUNG, OLD), strict=True):
        with Profile(run, {name: host}):
            take_turns(run, names, ASK, messages)
    for name, names, (_, messages) in zip(ENDS, (young[-1], old), (YOUNG, OLD), strict=True):
        with PythonProfile(run, name, "conversation"):
            take_turns(run, names, ASK, messages)
    return {name: median(times) for name, times in zip(ENDS, zip(*pairs, strict=True), strict=True)}


def _samples(name: str) -> str:
    return (OUT / f"{name}.collapsed").read_text()


def page(
    run: Session, threads: int, rounds: dict[str, tuple[Round, dict[str, float]]], tasks: list[Any],
    ends: dict[str, float],
) -> str:  # fmt: skip
    """The tables, with their conditions. `ends`: what a turn of a short run cost at message 10 and at 1,000, ms."""
    told = run.conditions
    machine = ", ".join(f"{name} {told[name]}" for name in MACHINE)
    head = HEAD.format(**told | {"machine": machine, "threads": threads, "phases": PHASES, "warm_ups": WARM_UPS})
    ms = {name: found.cpu_ms_per_turn for name, (found, _) in rounds.items()} | ends
    raw = {name: _samples(name) for name in ("conversation", "bare", *ENDS, "tools", "broker")}
    kinds = {name: (shares(samples), ms.get(name)) for name, samples in raw.items()}
    held = {name: ends[name] * interpreter_share(raw[name]) for name in ENDS}
    python = {name: functions(_samples(f"{name}-python"), held[name]) for name in ENDS}
    return "".join([
        head, cores_table(rounds, told["cores"]), TASKS, markdown(["job and task", *STATES], tasks),
        THREADS.format(**_conditions()), threads_table(kinds), FUNCTIONS.format(*held.values()),
        differences_table(python, FUNCTION_ROWS), GRAPHS,
    ])  # fmt: skip


def _conditions() -> dict[str, int]:
    """Of the short runs: the old threads get older with every window."""
    (young, early), (old, late) = YOUNG, OLD
    middle = round(mean(ages(old)))
    return {
        "pairs": PAIRS, "young": young, "early": early, "before": BEFORE, "old": old, "late": late,
        "as_it_is": middle + PAIRS * late // 2, "profiled": middle + PAIRS * late + late // 2,
        "python": middle + (PAIRS + 1) * late + late // 2,
    }  # fmt: skip


@click.command()
@click.option("--threads", type=click.IntRange(100), default=6_000, show_default=True, help="Under load.")
@click.option("--write-docs", type=click.Path(path_type=Path, file_okay=False), help="Page and graphs, to a folder.")
@options
def main(**given: Any) -> None:
    """Tell where the time of both jobs and the broker goes under load, and draw flame graphs."""
    threads, rounds, tasks = given["threads"], {}, []
    with session(given, MIX_APP, MIX_JOBS) as run:
        bench = Bench(run)
        for number in range(WARM_UPS):
            bench.pair(f"warm-up-{number}", threads, PHASES)
        for name, one_round in (("conversation", bench.whole), ("bare", bench.bare)):
            with Tasks(run.settings.flink_rest, name) as looked:
                found = one_round(f"{name}-as-it-is", threads, PHASES)
            rounds[name] = found, cores(found, run.meter, run.hosts[name])
            tasks += looked.rows()
        with Profile(run, {"conversation": run.hosts["conversation"], "broker": "kafka"}):
            bench.whole("profiled", threads, PHASES)
        with Profile(run, {"bare": run.hosts["bare"]}):
            bench.bare("profiled-bare", threads, PHASES)
        with PythonProfile(run, "conversation", "conversation"):
            bench.whole("python", threads, PHASES)
    time.sleep(1)
    with session({**given, "busy": True}, LIVE_APP, LIVE_JOBS) as tools:  # the load is ours
        _calls(tools, threads, "warm-up")
        with Tasks(tools.settings.flink_rest, "tools") as looked:
            _calls(tools, threads, "as-it-is")
        tasks += looked.rows()
        with Profile(tools, {"tools": tools.hosts["tools"]}):
            _calls(tools, threads, "profiled")
        with PythonProfile(tools, "tools", "tools"):
            _calls(tools, threads, "python")
    time.sleep(1)
    with session({**given, "busy": True}, HISTORY_APP, HISTORY_JOBS) as history:
        ends = _history(history)
    python_of(EVICTED, "evicted")
    text = page(run, threads, rounds, tasks, ends)
    (OUT / "README.md").write_text(text)
    click.echo(f"\n{text}")
    if given["write_docs"] is not None:
        copy(given["write_docs"])


if __name__ == "__main__":
    main()
