# SPDX-License-Identifier: Apache-2.0
"""The tasks without threadlog: each one's calls in order on its own simulators, in this process.

Says of each call whether it is a write (the state differs after it), and of each write whether a duplicate would show:
in the state, if the same call again leaves yet another, or in the answer, if it is told something else the second time.
Runs in the leaderboard's environment."""

from __future__ import annotations

import argparse
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from examples.yardstick.simulators import Simulators
from examples.yardstick.tasks import Task, load


def text(state: Any) -> str:
    """A state as it is compared."""
    return json.dumps(state, sort_keys=True)


def execute(task: Task) -> dict[str, Any]:
    """One task's calls, their outputs and what each did to the state, and the final state."""
    simulators = Simulators(task)
    outputs, writes, shows_in_state, shows_in_answer = [], [], [], []
    before = text(simulators.state())
    for call in task.calls:
        output = simulators.call(call)
        after = text(simulators.state())
        again = simulators.copy()
        answer = again.call(call)
        outputs.append(output)
        writes.append(after != before)
        shows_in_state.append(after != before and text(again.state()) != after)
        shows_in_answer.append(after != before and answer != output)
        before = after
    return {
        "turns": [len(turn.calls) for turn in task.turns],
        "calls": [asdict(call) for call in task.calls],
        "outputs": outputs,
        "writes": writes,
        "shows_in_state": shows_in_state,
        "shows_in_answer": shows_in_answer,
        "state": simulators.state(),
    }


def here() -> Path:
    """The leaderboard's package in this environment."""
    found = importlib.util.find_spec("bfcl_eval")
    if found is None or found.origin is None:
        raise SystemExit("bfcl_eval is not installed for this Python; `make yardstick` runs this with one that has it")
    return Path(found.origin).parent


def main() -> None:
    """Write `{task: what came of it}`."""
    parser = argparse.ArgumentParser(description="The tasks without threadlog.")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.write_text(json.dumps({task.id: execute(task) for task in load(here())}), encoding="utf-8")


if __name__ == "__main__":
    main()
