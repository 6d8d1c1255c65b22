# SPDX-License-Identifier: Apache-2.0
"""Where the time of a job under load went: by process, by Flink's tasks, by kind of thread; tables of it.

A rate is explained by the first two: which cores were busy for whom, and which task was never idle."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.meter import MACHINE, STOLEN, Meter
from bench.rounds import Round
from bench.sheet import row
from ops import http

# What a thread of a JVM does, by its name; the first that fits.
THREADS = (
    ("operators: source chain, Python, sinks", r"^(?!OutputFlusher).*(\(\d+/\d+|-> )"),
    ("RocksDB, native threads without a name", r"^\[tid=|rocksdb"),
    ("Kafka clients", r"kafka-producer|Fetcher|kafka-admin"),
    ("compiler", r"Compiler|^C[12]"),
    ("garbage collector", r"G1|GC|VM Thread|VM Periodic"),
    ("RPC, timers, checkpoints", r"pekko|flink-|Async|Checkpoint|jobmanager|Time|Timer|netty|Netty"),
    ("broker: requests", r"data-plane|network-thread|request-handler|kafka-scheduler"),
    ("Python's own threads", r"^python|reactor|Thread-"),
)  # fmt: skip
STATES = ("busy", "backPressured", "idle")
LOOK_S = 1.0


@dataclass
class Tasks:
    """Looks at the tasks of a job from `with` to its end: how they spend a second, in ms.

    Flink tells a mean of the last seconds, somewhat late; what is told of a task is the median. `job`: the end of its
    name."""

    rest: str
    job: str
    seen: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def __enter__(self) -> Tasks:
        listed = http.call(f"{self.rest}/jobs/overview")["jobs"]
        self._url = next(f"{self.rest}/jobs/{one['jid']}" for one in listed if one["name"].endswith(self.job))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tasks", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        vertices = http.call(self._url)["vertices"]
        asked = ",".join(f"{state}TimeMsPerSecond" for state in STATES)
        while not self._over.wait(LOOK_S):
            for one in vertices:
                try:
                    told = http.call(f"{self._url}/vertices/{one['id']}/subtasks/metrics?get={asked}")
                except http.HttpError:  # a JobManager that is busy is asked again
                    continue
                kept = self.seen.setdefault(one["name"], {state: [] for state in STATES})
                for state, value in ((value["id"].removesuffix("TimeMsPerSecond"), value["avg"]) for value in told):
                    kept[state].append(value)

    def rows(self) -> list[tuple[str, ...]]:
        """Of each task its name and the share of its time in each state."""
        return [
            (f"{self.job}: {task_name(name)}", *(f"{median(values[state]) / 1000:.0%}" for state in STATES))
            for name, values in self.seen.items()
        ]


def task_name(name: str) -> str:
    """A task's name; of a chain its first operator's."""
    first, *more = name.split(" -> ")
    return first + " and what is chained to it" * bool(more)


def shares(collapsed: str) -> dict[str, float]:
    """The share of each kind of thread in samples of the form "[thread];frame;frame COUNT"."""
    samples: Counter[str] = Counter()
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        thread = stack.partition(";")[0].strip("[]")
        other = "other: " + re.sub(r"[- ]*\d* tid=.*", "", thread)[:40]
        kind = next((kind for kind, pattern in THREADS if re.search(pattern, thread)), other)
        samples[kind] += int(count)
    return {kind: count / samples.total() for kind, count in samples.most_common() if count >= samples.total() / 200}


def cores(found: Round, meter: Meter, host: str) -> dict[str, float]:
    """Cores that were busy in the middles of a round's phases, by whom: all of the machine's when nothing is idle."""
    spans = [(window.begin_s, window.begin_s + window.seconds) for window in found.windows]
    wall = sum(end - begin for begin, end in spans)

    def used(names: Iterable[str]) -> float:
        return sum(meter.used_s(name, *span) for name in names for span in spans) / wall

    known = {"the job's TaskManager": [host], "the broker": ["kafka"], "the sender and reader": ["bench"]}
    ours = {name for names in known.values() for name in names}
    told = {said: used(names) for said, names in known.items()}
    told["the rest of the stack"] = used(set(meter.pids) - ours)
    told["other processes, other machines, the kernel"] = max(0.0, used([MACHINE, STOLEN]) - sum(told.values()))
    return told


def cores_table(rounds: dict[str, tuple[Round, dict[str, float]]], all_cores: int) -> str:
    """By process: cores, and the ms of CPU that a turn cost it. `rounds`: by job, with what `cores` told of each."""
    heads = ["process", *(head for job in rounds for head in (f"{job}: cores busy", "CPU ms a turn"))]
    rows = []
    for process in next(iter(rounds.values()))[1]:
        each = ((found.turns_per_s, told[process]) for found, told in rounds.values())
        rows.append([process, *(cell for rate, busy in each for cell in (f"{busy:.2f}", f"{1000 * busy / rate:.3f}"))])
    sums = [(found.turns_per_s, sum(told.values())) for found, told in rounds.values()]
    rows.append([
        f"all, of {all_cores}",
        *(cell for rate, busy in sums for cell in (f"{busy:.2f}", f"{1000 * busy / rate:.3f}")),
    ])  # fmt: skip
    rows.append(["turns a second", *(cell for rate, _ in sums for cell in (f"{rate:,.0f}", ""))])
    return markdown(heads, rows)


def threads_table(told: dict[str, tuple[dict[str, float], float | None]]) -> str:
    """By kind of thread: its share of the samples of each process, and ms of CPU a turn where these are known."""
    kinds = list(dict.fromkeys(kind for shares_, _ in told.values() for kind in shares_))
    rows = []
    for kind in kinds:
        cells = [kind]
        for shares_, ms in told.values():
            share = shares_.get(kind)
            spent = f", {share * ms:.3f} ms" if share is not None and ms is not None else ""
            cells.append("" if share is None else f"{share:.1%}{spent}")
        rows.append(cells)
    return markdown(["kind of thread", *told], rows)


def interpreter_share(collapsed: str) -> float:
    """The share of a process's samples in which Python's interpreter is on the stack."""
    samples: Counter[bool] = Counter()
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        samples["PyEval" in stack] += int(count)
    return samples[True] / samples.total()


def functions(collapsed: str, ms: float) -> dict[str, float]:
    """Of each Python function the ms of a turn in which it, or what it called, held the interpreter. `collapsed`:
    samples of the form "function (path:line);function (path:line) COUNT"; ms: of a turn in the interpreter. A sampler
    that looks from outside misses some, so their number is no time."""
    samples, in_all = Counter[str](), 0
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack:
            in_all += int(count)
            samples.update(dict.fromkeys((re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")), int(count)))
    return {name: ms * count / in_all for name, count in samples.items()}


def differences_table(told: dict[str, dict[str, float]], rows: int) -> str:
    """The functions in which two profiles differ the most, the second less the first."""
    (_, first), (_, second) = told.items()
    more = {name: second.get(name, 0.0) - first.get(name, 0.0) for name in first | second}
    names = sorted(more, key=lambda name: -abs(more[name]))[:rows]
    cells = [[name, *(f"{ms.get(name, 0.0):.3f}" for ms in (first, second, more))] for name in names]
    return markdown(["function", *told, "more"], cells)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column to the left, all others to the right."""
    return "".join(row(cells) for cells in (heads, ["---", *["---:"] * (len(heads) - 1)], *rows))
