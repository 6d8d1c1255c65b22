# SPDX-License-Identifier: Apache-2.0
"""Processes by pid and start time, so that nothing is ever ended that is not ours."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ops.stack.layout import Layout


@dataclass(frozen=True)
class Process:
    """A process as it was started: the kernel gives a number again, but not with the same start time."""

    name: str
    pid: int
    started: int

    def alive(self) -> bool:
        """True while this very process runs; a zombie counts as dead."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """When the process began, in the kernel's ticks since boot; None when there is none, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def read(layout: Layout, name: str) -> Process | None:
    """The part's process as its start script wrote it down, dead or alive."""
    try:
        pid, started = (layout.run / f"{name}.pid").read_text().split()
    except (OSError, ValueError):
        return None
    return Process(name, int(pid), int(started))


def note(layout: Layout, name: str, pid: int) -> None:
    """Write a process down as the start scripts do, so that `down` ends it."""
    (layout.run / f"{name}.pid").write_text(f"{pid} {start_time(pid)}")


def forget(layout: Layout, name: str) -> None:
    """Take away what was written down of a part that was stopped; what is left of one tells that it died."""
    process = read(layout, name)
    if process is None or not process.alive():
        (layout.run / f"{name}.pid").unlink(missing_ok=True)


def starts(layout: Layout, name: str) -> int:
    """How often the part was started since `up`."""
    path = layout.run / f"{name}.starts"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def living(layout: Layout) -> list[Process]:
    """Every process of this stack that runs, whether or not a supervisor still watches it."""
    found = (read(layout, path.stem) for path in sorted(layout.run.glob("*.pid")) if path.stem != "supervisor")
    return [process for process in found if process is not None and process.alive()]


def supervisor(layout: Layout) -> Process | None:
    """The running supervisor of this stack: told by our configuration file on its command line."""
    try:
        pid = int((layout.run / "supervisor.pid").read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    started = start_time(pid)
    ours = os.fsencode(layout.supervisor_conf) in arguments
    return Process("supervisor", pid, started) if ours and started is not None else None


def send(process: Process, number: signal.Signals) -> None:
    """Signal the process group of a part, or the process alone when it leads none."""
    if not process.alive():
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)


def wait_gone(processes: list[Process], seconds: float) -> list[Process]:
    """Those still alive when the time is over, or an empty list as soon as all are gone."""
    until = time.monotonic() + seconds
    while (left := [process for process in processes if process.alive()]) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def end(processes: list[Process], grace_s: float) -> None:
    """Ask politely, wait, then insist."""
    for process in processes:
        send(process, signal.SIGTERM)
    for process in wait_gone(processes, grace_s):
        send(process, signal.SIGKILL)
    wait_gone(processes, 10)
