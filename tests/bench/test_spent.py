# SPDX-License-Identifier: Apache-2.0
"""Where the time of a profile went: cores by process, samples by kind of thread."""

from __future__ import annotations

import pytest

from bench import spent
from bench.meter import MACHINE, STOLEN, Meter
from bench.rounds import Round, Window

SECONDS = 10


@pytest.fixture
def meter() -> Meter:
    """Ten seconds in which the job took 1.2 cores of two, the broker 0.2, the sender 0.3, ZooKeeper 0.05."""
    rates = {"taskmanager-1": 1.2, "kafka": 0.2, "bench": 0.3, "zookeeper": 0.05, MACHINE: 1.8, STOLEN: 0.1}
    read = {name: [0.0, rate * SECONDS] for name, rate in rates.items()}
    return Meter(dict.fromkeys(rates.keys() - {MACHINE, STOLEN}, 1), [100.0, 100.0 + SECONDS], read)


def test_the_cores_of_a_round_add_up_to_what_the_machine_was_busy(meter: Meter) -> None:
    windows = [Window(2.0, 400, 0, 0, 0, 0, 0, 101.0), Window(3.0, 600, 0, 0, 0, 0, 0, 105.0)]
    found = Round(windows, 1_000, SECONDS, 1, 1)
    told = spent.cores(found, meter, "taskmanager-1")
    assert list(told.values()) == pytest.approx([1.2, 0.2, 0.3, 0.05, 0.15])
    text = spent.cores_table({"conversation": (found, told)}, 2)
    assert "| the job's TaskManager | 1.20 | 6.000 |" in text
    assert "| all, of 2 | 1.90 | 9.500 |" in text
    assert "| turns a second | 200 |  |" in text


def test_samples_are_told_by_the_kind_of_their_thread() -> None:
    collapsed = "[threads -> (committed-cut, at-once-cut) (1/1)#0 tid=7];a;b 70\n[C2 CompilerThread0];c 30\n"
    kinds = spent.shares(collapsed)
    assert kinds == {"operators: source chain, Python, sinks": 0.7, "compiler": 0.3}
    assert list(spent.shares("[executor-Fetch tid=13263];a 1\n[executor-Fetch tid=4];b 1")) == ["other: executor-Fetch"]
    text = spent.threads_table({"conversation": (kinds, 1.0), "broker": ({"compiler": 1.0}, None)})
    assert "| compiler | 30.0%, 0.300 ms | 100.0% |" in text
    assert "| operators: source chain, Python, sinks | 70.0%, 0.700 ms |  |" in text


def test_of_a_function_the_time_is_told_in_which_it_or_what_it_called_held_the_interpreter() -> None:
    """By shares: one sampler missed more than the other. A sample without a function says nothing."""
    early = "run (a/x.py:3);step (b/engine.py:10);hash (b/canonical.py:1) 60\nrun (a/x.py:4) 40\n 20\n"
    late = "run (a/x.py:3);step (b/engine.py:12);step (b/engine.py:9) 45\nrun (<string>:1) 5\n"
    told = {"early": spent.functions(early, 1.0), "late": spent.functions(late, 2.0)}
    assert told["early"] == {"run (a/x.py)": 1.0, "step (b/engine.py)": 0.6, "hash (b/canonical.py)": 0.6}
    assert told["late"] == pytest.approx({"run (a/x.py)": 1.8, "step (b/engine.py)": 1.8, "run (<string>)": 0.2})
    table = spent.differences_table(told, 2).splitlines()
    assert table[0] == "| function | early | late | more |"
    assert table[2:] == ["| step (b/engine.py) | 0.600 | 1.800 | 1.200 |", "| run (a/x.py) | 1.000 | 1.800 | 0.800 |"]


def test_the_interpreter_has_the_samples_in_which_it_is_on_the_stack() -> None:
    assert spent.interpreter_share("[t];a;_PyEval_EvalFrameDefault;b 30\n[t];a;PyEval_X 30\n[gc];c 40\n") == 0.6


def test_a_task_is_told_by_the_median_of_its_seconds() -> None:
    seen = {"threads -> (a, b)": {"busy": [0.0, 900.0, 980.0], "backPressured": [0.0] * 3, "idle": [1000.0, 100, 20]}}
    assert spent.Tasks("", "conversation", seen).rows() == [
        ("conversation: threads and what is chained to it", "90%", "0%", "10%")
    ]
