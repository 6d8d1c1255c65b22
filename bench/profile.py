# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.profile`: where the CPU goes, as flame graphs and as shares by thread.

async-profiler, fetched by Maven, is loaded into the TaskManagers and the broker while the jobs are under load: the
conversation, and the bare job beside it, under the support desk's mix, the tools job under calls of 10 ms. It samples
CPU time, so what waits is not seen; Python frames have no names in it. Those are in a second graph of the same load:
py-spy looks 100 times a second which function holds the interpreter; it needs the right to trace processes, as root or
by `kernel.yama.ptrace_scope=0`.

Writes .build/bench/profile/NAME.html (a flame graph), NAME.collapsed (raw) and NAME-python.svg.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
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
from ops.stack.layout import BUILD, ROOT

PROFILER, CONVERTER = "tools.profiler:async-profiler:4.2", "tools.profiler:jfr-converter:4.2"
OUT, FETCHED = FOLDER / "profile", BUILD / "profiler"
MIN_PERCENT = 0.3  # thinner frames are left out of the picture
CALL_S = 0.01
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


def library() -> Path:
    """The profiler's library; fetched once."""
    found = FETCHED / "linux-x64" / "libasyncProfiler.so"
    if not found.exists():
        with zipfile.ZipFile(_fetched(PROFILER)) as archive:
            archive.extract("linux-x64/libasyncProfiler.so", FETCHED)
    return found


def _fetched(artifact: str) -> Path:
    """A jar from Maven's repository; fetched once."""
    _, name, version = artifact.split(":")
    jar = FETCHED / f"{name}-{version}.jar"
    if not jar.exists():
        command = ["mvn", "-B", "-q", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={FETCHED}"]
        if subprocess.run(command, check=False).returncode:
            raise Trouble(f"Maven could not fetch {artifact}.", "Is its repository within reach?")
    return jar


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
            _agent(pid, f"stop,collapsed,threads,file={OUT / name}.collapsed")
            draw(name)


def draw(name: str) -> None:
    """A flame graph of what was sampled, without the folders of this machine."""
    raw = OUT / f"{name}.collapsed"
    raw.write_text(re.sub(r"(?<=;)/[^;]*/", "", raw.read_text()))
    options = ["--title", name, "--minwidth", str(MIN_PERCENT)]
    command = ["java", "-jar", str(_fetched(CONVERTER)), *options, str(raw), str(raw.with_suffix(".html"))]
    if subprocess.run(command, check=False).returncode:
        raise Trouble(f"{raw} could not be drawn.")


class PythonProfile:
    """Samples the Python of one process between `with` and its end, into NAME-python.svg."""

    def __init__(self, run: Session, name: str) -> None:
        self._path, self._pid = OUT / f"{name}-python.svg", run.meter.pids[run.hosts[name]]

    def __enter__(self) -> PythonProfile:
        OUT.mkdir(parents=True, exist_ok=True)
        program = Path(sys.executable).with_name("py-spy")
        options = ["--rate", "100", "--nonblocking", "--gil", "--duration", "unlimited", "--format", "flamegraph"]
        command = [str(program), "record", "--pid", str(self._pid), *options, "--output", str(self._path)]
        self._sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *raised: object) -> None:
        self._sampler.send_signal(signal.SIGINT)  # as a person would end it: it then draws
        told = self._sampler.communicate(timeout=60)[1]
        if self._sampler.returncode:
            raise Trouble(f"py-spy could not look into process {self._pid}: {told.strip()[-300:]}")


def shares(collapsed: str) -> dict[str, float]:
    """The share of each kind of thread in samples of the form "[thread];frame;frame COUNT"."""
    samples: Counter[str] = Counter()
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        thread = stack.partition(";")[0].strip("[]")
        kind = next((kind for kind, pattern in THREADS if re.search(pattern, thread)), f"other: {thread[:30]}")
        samples[kind] += int(count)
    return {kind: count / samples.total() for kind, count in samples.most_common() if count >= samples.total() / 200}


def _tell(name: str, ms_per_turn: float | None) -> None:
    click.echo(f"\n{name}: {OUT / name}.html")
    for kind, share in shares((OUT / f"{name}.collapsed").read_text()).items():
        spent = "" if ms_per_turn is None else f"  {share * ms_per_turn:6.3f} ms a turn"
        click.echo(f"  {share:6.1%}{spent}  {kind}")


def _calls(run: Session, threads: int, prefix: str) -> None:
    """A read and an effect on each thread, and their answers."""
    with run.journal() as follower:
        for number, tool in enumerate(("look", "act"), 1):
            run.send((f"{prefix}-{n}", ASK, {"text": f"{tool}:{CALL_S}", "data": "{}"}) for n in range(threads))
            follower.wait(2 * threads * number)


@click.command()
@click.option("--threads", type=click.IntRange(100), default=6_000, show_default=True, help="Under load.")
@click.option("--write-docs", type=click.Path(path_type=Path, file_okay=False), help="Copy the graphs to a folder.")
@options
def main(**given: Any) -> None:
    """Draw flame graphs of both jobs and the broker under load."""
    threads = given["threads"]
    with session(given, MIX_APP, MIX_JOBS) as run:
        bench = Bench(run)
        for number in range(2):
            bench.pair(f"warm-up-{number}", threads, 6)
        with Profile(run, {"conversation": run.hosts["conversation"], "broker": "kafka"}):
            whole = bench.whole("profiled", threads, 6)
        with Profile(run, {"bare": run.hosts["bare"]}):
            bare = bench.bare("profiled-bare", threads, 6)
        with PythonProfile(run, "conversation"):
            bench.whole("python", threads, 6)
    time.sleep(1)
    with session({**given, "busy": True}, LIVE_APP, LIVE_JOBS) as run:  # the load is ours
        _calls(run, threads, "warm-up")
        with Profile(run, {"tools": run.hosts["tools"]}):
            _calls(run, threads, "profiled")
        with PythonProfile(run, "tools"):
            _calls(run, threads, "python")
    for name, ms in (("conversation", whole.cpu_ms_per_turn), ("bare", bare.cpu_ms_per_turn)):
        _tell(name, ms)
    for name in ("tools", "broker"):
        _tell(name, None)
    if given["write_docs"] is not None:
        given["write_docs"].mkdir(parents=True, exist_ok=True)
        for graph in (*OUT.glob("*.html"), *OUT.glob("*.svg")):
            text = graph.read_text().replace(f"{ROOT}/", "")  # py-spy writes its command line into the picture
            (given["write_docs"] / graph.name).write_text(text)


if __name__ == "__main__":
    main()
