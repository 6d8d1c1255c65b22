# SPDX-License-Identifier: Apache-2.0
"""CPU time of processes over windows of wall time, and how much of the machine went to anybody else.

Read from /proc twenty times a second; between two readings a straight line is assumed.
"""

from __future__ import annotations

import bisect
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

PAUSE_S = 0.05
TICKS = os.sysconf("SC_CLK_TCK")
MACHINE, STOLEN = "machine", "stolen"


def process_s(pid: int) -> float:
    """Seconds of CPU that a process has used, in user and system mode, with children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def machine_s() -> tuple[float, float]:
    """Seconds that all cores were busy together, and seconds that the hypervisor gave to others."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def busy_share(seconds: float) -> float:
    """The share of all cores that anybody uses in the next seconds, other machines included."""
    before, began = sum(machine_s()), time.monotonic()
    time.sleep(seconds)
    return (sum(machine_s()) - before) / ((time.monotonic() - began) * (os.cpu_count() or 1))


def _used(pid: int) -> float:
    """One that was killed has used nothing: once it is gone, all of it is told of the supervisor that has waited."""
    try:
        return process_s(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


@dataclass
class Meter:
    """Reads in the background from `with` on. `pids` by name; two names are the machine's own."""

    pids: dict[str, int]
    _at: list[float] = field(default_factory=list)
    _read: dict[str, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Meter:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self.read()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def read(self) -> None:
        """Take one reading. What a process has used before its first one counts as used by then."""
        with self._lock:
            busy, stolen = machine_s()
            found = {name: _used(pid) for name, pid in self.pids.items()}
            for name, value in {**found, MACHINE: busy, STOLEN: stolen}.items():
                self._read.setdefault(name, [0.0] * len(self._at)).append(value)
            self._at.append(time.time())

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            self.read()

    def used_s(self, name: str, begin: float, end: float) -> float:
        """Seconds of CPU between two times of the clock."""
        return self._value(name, end) - self._value(name, begin)

    def others_share(self, begin: float, end: float) -> float:
        """The share of the whole machine that went to processes which are not ours, or to other machines."""
        ours = sum(self.used_s(name, begin, end) for name in self.pids)
        all_ = self.used_s(MACHINE, begin, end) + self.used_s(STOLEN, begin, end)
        return max(0.0, all_ - ours) / ((end - begin) * (os.cpu_count() or 1))

    def others(self) -> float:
        """The same from the first reading until now."""
        self.read()
        return self.others_share(self._at[0], self._at[-1])

    def _value(self, name: str, at: float) -> float:
        series = self._read[name]
        after = min(max(1, bisect.bisect_left(self._at, at)), min(len(series), len(self._at)) - 1)
        t0, t1, v0, v1 = self._at[after - 1], self._at[after], series[after - 1], series[after]
        return v0 + (v1 - v0) * (min(max(at, t0), t1) - t0) / (t1 - t0)
