# SPDX-License-Identifier: Apache-2.0
"""Samplers of running processes, and the flame graphs that are drawn of their samples.

async-profiler, fetched by Maven, is loaded into a Java process and samples its CPU time, once a millisecond or as often
as the kernel's clock ticks: what waits is not seen, and Python's frames have no names in it. py-spy looks from outside,
100 times a second, which Python function holds the interpreter; it needs the right to trace processes, as root or by
`kernel.yama.ptrace_scope=0`.

Graphs lie in .build/bench/profile, NAME.html beside its samples, NAME.collapsed; those of Python are NAME-python.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

from bench.session import FOLDER, Session
from ops.context import Trouble
from ops.stack.layout import BUILD, ROOT

PROFILER, CONVERTER = "tools.profiler:async-profiler:4.2", "tools.profiler:jfr-converter:4.2"
OUT, FETCHED = FOLDER / "profile", BUILD / "profiler"
MIN_PERCENT = 0.3  # thinner frames are left out of the picture
PY_SPY = ("--rate", "100", "--format", "raw")
END_S = 60


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
    raw.write_text(re.sub(r"(?<=;)/[^;]*/", "", raw.read_text()).replace(f"{ROOT}/", ""))
    options = ["--title", name, "--minwidth", str(MIN_PERCENT)]
    command = ["java", "-jar", str(_fetched(CONVERTER)), *options, str(raw), str(raw.with_suffix(".html"))]
    if subprocess.run(command, check=False).returncode:
        raise Trouble(f"{raw} could not be drawn.")


class PythonProfile:
    """Samples the Python of a job's process between `with` and its end, as NAME-python."""

    def __init__(self, run: Session, name: str, job: str) -> None:
        self._name, self._pid = f"{name}-python", run.meter.pids[run.hosts[job]]

    def __enter__(self) -> PythonProfile:
        OUT.mkdir(parents=True, exist_ok=True)
        options = ["--pid", str(self._pid), *PY_SPY, "--nonblocking", "--gil", "--duration", "unlimited"]
        command = [*_py_spy(self._name), *options]
        self._sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        self._sampler.send_signal(signal.SIGINT)  # as a person would end it: it then writes
        try:
            told = self._sampler.communicate(timeout=END_S)[1]
        finally:
            self._sampler.kill()
        if raised is not None:
            return
        if self._sampler.returncode:
            raise Trouble(f"py-spy could not look into process {self._pid}: {told.strip()[-300:]}")
        draw(self._name)


def python_of(command: list[str], name: str) -> None:
    """Run a Python program to its end, sampled from its first line, as NAME-python. Raises Trouble."""
    OUT.mkdir(parents=True, exist_ok=True)
    whole = [*_py_spy(f"{name}-python"), *PY_SPY, "--", sys.executable, *command]
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"py-spy could not look into {' '.join(command)}: {(done.stdout + done.stderr).strip()[-300:]}")
    draw(f"{name}-python")


def _py_spy(name: str) -> list[str]:
    return [str(Path(sys.executable).with_name("py-spy")), "record", "--output", str(OUT / f"{name}.collapsed")]


def copy(folder: Path) -> None:
    """Copy page and graphs to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for found in (*OUT.glob("*.html"), *OUT.glob("*.md")):
        (folder / found.name).write_text(found.read_text())
