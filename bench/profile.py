# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.profile`: where the CPU goes, as flame graphs and as shares by thread.

async-profiler, fetched by Maven, is loaded into the two TaskManagers and the broker while the jobs are under load: the
conversation under the support desk's mix, the tools job under calls of 10 ms. It samples CPU time, so what waits is not
seen; Python frames have no names in it. Writes .build/bench/profile/NAME.html (a flame graph) and NAME.collapsed (raw).
"""

from __future__ import annotations

import re
import subprocess
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import click

from bench.conversation import APP as MIX_APP
from bench.conversation import JOBS as MIX_JOBS
from bench.conversation import Bench
from bench.latency import APP as LIVE_APP
from bench.latency import JOBS as LIVE_JOBS
from bench.live import ASK
from bench.session import FOLDER, Session, options, session
from ops.context import Trouble
from ops.stack.layout import BUILD

PROFILER = "tools.profiler:async-profiler:4.2"
OUT = FOLDER / "profile"
MIN_PERCENT = 0.3  # thinner frames are left out of the picture
CALL_S = 0.01
# What a thread of a JVM does, by its name; the first that fits.
THREADS = (
    ("operator: source chain, Python, sinks", r"-> |^Source|-process|ThreadFunction|Process"),
    ("RocksDB, native threads without a name", r"^\[tid=|rocksdb"),
    ("Kafka clients", r"kafka-producer|Fetcher|kafka-admin"),
    ("compiler", r"Compiler|^C[12]"),
    ("garbage collector", r"G1|GC|VM Thread|VM Periodic"),
    ("RPC, timers, checkpoints", r"pekko|flink-|Async|Checkpoint|jobmanager|Time|Timer|netty|Netty"),
    ("broker: requests", r"data-plane|network-thread|request-handler|kafka-scheduler"),
    ("Python's own threads", r"^python|reactor|Thread-"),
)  # fmt: skip


def library() -> Path:
    """The profiler's library; fetched once."""
    folder = BUILD / "profiler"
    found = folder / "linux-x64" / "libasyncProfiler.so"
    if not found.exists():
        command = ["mvn", "-B", "-q", "dependency:copy", f"-Dartifact={PROFILER}", f"-DoutputDirectory={folder}"]
        if subprocess.run(command, check=False).returncode:
            raise Trouble(f"Maven could not fetch {PROFILER}.", "Is its repository within reach?")
        (jar,) = folder.glob("async-profiler-*.jar")
        with zipfile.ZipFile(jar) as archive:
            archive.extract("linux-x64/libasyncProfiler.so", folder)
    return found


def _agent(pid: int, arguments: str) -> None:
    command = ["jcmd", str(pid), "JVMTI.agent_load", str(library()), f'"{arguments}"']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or "return code: 0" not in done.stdout:
        raise Trouble(f"The profiler could not be loaded: {(done.stdout + done.stderr).strip()[-300:]}")


class Profile:
    """Samples processes of a stack between `with` and its end. `targets`: file name → process of the stack."""

    def __init__(self, run: Session, targets: dict[str, str]) -> None:
        self._pids = {name: run.meter.pids[part] for name, part in targets.items()}

    def __enter__(self) -> Profile:
        OUT.mkdir(parents=True, exist_ok=True)
        for pid in self._pids.values():
            _agent(pid, "start,event=itimer,interval=1ms,threads")
        return self

    def __exit__(self, *_: object) -> None:
        for name, pid in self._pids.items():
            _agent(pid, f"dump,collapsed,threads,file={OUT / name}.collapsed")
            _agent(pid, f"stop,flamegraph,threads,title={name},minwidth={MIN_PERCENT},file={OUT / name}.html")


def shares(collapsed: str) -> dict[str, float]:
    """The share of each kind of thread in samples of the form "[thread];frame;frame COUNT"."""
    samples: Counter[str] = Counter()
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        thread = stack.partition(";")[0].strip("[]")
        kind = next((kind for kind, pattern in THREADS if re.search(pattern, thread)), f"other: {thread[:30]}")
        samples[kind] += int(count)
    return {kind: count / samples.total() for kind, count in samples.most_common() if count >= samples.total() / 200}


def _tell(name: str) -> None:
    click.echo(f"\n{name}: {OUT / name}.html")
    for kind, share in shares((OUT / f"{name}.collapsed").read_text()).items():
        click.echo(f"  {share:6.1%}  {kind}")


def _calls(run: Session, threads: int, prefix: str) -> None:
    """A read and an effect on each thread, and their answers."""
    with run.journal() as follower:
        for number, tool in enumerate(("look", "act"), 1):
            run.send((f"{prefix}-{n}", ASK, {"text": f"{tool}:{CALL_S}", "data": "{}"}) for n in range(threads))
            follower.wait(2 * threads * number)


@click.command()
@click.option("--threads", type=click.IntRange(100), default=6_000, show_default=True, help="Under load.")
@options
def main(**given: Any) -> None:
    """Draw flame graphs of both jobs and the broker under load."""
    threads = given["threads"]
    with session(given, MIX_APP, MIX_JOBS) as run:
        bench = Bench(run)
        for number in range(2):
            bench.whole(f"warm-up-{number}", threads, 6)
        with Profile(run, {"conversation": run.hosts["conversation"], "broker": "kafka"}):
            bench.whole("profiled", threads, 6)
    time.sleep(1)
    with session({**given, "busy": True}, LIVE_APP, LIVE_JOBS) as run:  # the load is ours
        _calls(run, threads, "warm-up")
        with Profile(run, {"tools": run.hosts["tools"]}):
            _calls(run, threads, "profiled")
    for name in ("conversation", "tools", "broker"):
        _tell(name)


if __name__ == "__main__":
    main()
