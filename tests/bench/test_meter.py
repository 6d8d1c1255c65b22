# SPDX-License-Identifier: Apache-2.0
"""What others took of the machine while a bench ran: told with each figure, and enough of it marks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import figures, meter, session
from bench.figures import Figure
from bench.meter import Meter
from ops.context import Trouble

CORES = 2


class Machine:
    """Seconds of CPU by process id, and of the whole machine; a process that is gone has none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used: dict[int, float] = {}
        self.busy, self.now = 0.0, 1_000.0
        monkeypatch.setattr(meter, "process_s", self._process_s)
        monkeypatch.setattr(meter, "machine_s", lambda: (self.busy, 0.0))
        monkeypatch.setattr(meter.time, "time", lambda: self.now)
        monkeypatch.setattr(meter.os, "cpu_count", lambda: CORES)

    def _process_s(self, pid: int) -> float:
        if pid not in self.used:
            raise FileNotFoundError
        return self.used[pid]

    def goes_on(self, seconds: float, others: float = 0.0, **used: float) -> None:
        """So many seconds in which processes (p1=…) use so much CPU, and others so much."""
        for name, spent in used.items():
            self.used[int(name[1:])] = self.used.get(int(name[1:]), 0.0) + spent
        self.busy, self.now = self.busy + others + sum(used.values()), self.now + seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_others_are_what_is_left_since_the_first_reading(machine: Machine) -> None:
    """Whatever either had used before."""
    machine.goes_on(50, p1=30, others=60)
    found = Meter({"job": 1})
    found.read()
    machine.goes_on(10, p1=12, others=4)
    assert found.others() == pytest.approx(4 / (10 * CORES))


def test_a_killed_process_is_not_counted_twice(machine: Machine) -> None:
    """The supervisor that has waited for it is told of all that it had used; others would be lost in that."""
    machine.goes_on(100, p1=60, p2=1)
    found = Meter({"taskmanager-1": 1, "supervisor": 2})
    found.read()
    machine.goes_on(10, p1=5, others=4)
    machine.used[2] += machine.used.pop(1)
    assert found.others() == pytest.approx(4 / (10 * CORES))


def test_a_process_that_is_metered_later_is_none_of_the_others(machine: Machine) -> None:
    """Its successor's CPU is the stack's, from its start on."""
    found = Meter({"job": 1})
    machine.goes_on(1, p1=1)
    found.read()
    machine.goes_on(10, p1=5, p7=8)
    found.pids = {**found.pids, "job/7": 7}
    assert found.others() == 0


def report(machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch, others: float, **told: Any) -> Any:
    """The conditions of a figure of a bench of ten seconds in which others used so much."""
    monkeypatch.setattr(session, "FOLDER", folder)
    monkeypatch.setattr(session, "ROOT", folder)
    found = Meter({"bench": 1})
    machine.goes_on(0, p1=0)
    found.read()
    machine.goes_on(10, p1=8, others=others)
    session.write("some", [Figure("a", "ms", [1.0])], {"busy": False, **told}, found)
    return json.loads((folder / "some.jsonl").read_text())["conditions"]


@pytest.mark.parametrize(("others", "told", "busy"), [(1, {}, False), (3, {}, True), (1, {"busy": True}, True)])
def test_a_report_says_what_others_took_and_whether_that_is_too_much(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: float, told: Any, busy: bool
) -> None:
    """A machine that was quiet before the start may have had other work since."""
    conditions = report(machine, tmp_path, monkeypatch, others, **told)
    assert conditions == {"busy": busy, "others_share_of_machine": pytest.approx(others / 20)}


def ready(monkeypatch: pytest.MonkeyPatch, load: float, cores: float) -> bool:
    """Whether the machine is quiet at this load average, with so much of its cores at work."""
    monkeypatch.setattr(figures.os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(figures, "busy_share", lambda seconds: cores)
    return figures.quiet()


def test_a_machine_is_quiet_when_its_cores_are_whatever_ran_a_minute_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load average after a bench is that bench's own."""
    assert [ready(monkeypatch, *it) for it in ((0.9, 0.9), (4, 0.05), (4, 0.2))] == [True, True, False]


def test_a_bench_does_not_begin_on_a_machine_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is told to; its figures are marked then."""
    monkeypatch.setattr(figures, "machine", lambda: {"load_average": 3.0})
    monkeypatch.setattr(figures, "quiet", lambda: False)
    with pytest.raises(Trouble, match=r"The load average is 3\.0, and the cores are at work"):
        session.quiet_machine({"busy": False})
    assert session.quiet_machine({"busy": True})["busy"]
