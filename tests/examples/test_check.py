# SPDX-License-Identifier: Apache-2.0
"""The checker sees each planted fault, and nothing in a sound run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from examples.support_desk import check

Run = dict[str, Any]


def sound() -> Run:
    where = {"topic": "t.agent-events", "partition": 0}
    return {
        "sent": [{"id": f"e{n}", "type": check.MESSAGE, "bad": "", "partition": 0, "offset": n} for n in (0, 1)],
        "ledger": [
            {"kind": "arrived", "key": "k", "order": "o"}, {"kind": "paid", "key": "k", "order": "o"},
            {"kind": "arrived", "key": "k", "order": "o"}, {"kind": "answered", "key": "k", "status": 200},
        ],
        "topics": {
            "agent-decisions": [
                {"thread": "a", "seq": n + 1, "prev": prev, "hash": f"h{n + 1}", "input": where | {"offset": n}}
                for n, prev in enumerate(("", "h1"))
            ],
            "agent-replies": [{"reply_id": f"r{n}", "event_id": f"e{n}"} for n in (0, 1)],
            "tool-invocations": [{"tool": "refund", "call_id": "k"}],
            "tool-results": [{"tool": "refund", "call_id": "k", "status": "done"}],
            "dead-letters": [],
        },
    }  # fmt: skip


def test_a_sound_run_adds_up() -> None:
    table = check.compare(**sound())
    assert check.faults(table, crashed=True) == []
    assert table["repeated_by_crashes"] == 1


PLANTED: dict[str, Callable[[Run], Any]] = {
    "unaccounted": lambda run: run["sent"].append({"id": "e0", "type": "", "bad": "x", "partition": 1, "offset": 9}),
    "unanswered": lambda run: run["topics"]["agent-replies"].pop(),
    "replies_doubled": lambda run: run["topics"]["agent-replies"].append(run["topics"]["agent-replies"][0]),
    "paid_twice": lambda run: run["ledger"].append({"kind": "paid", "key": "k2", "order": "o"}),
    "lost": lambda run: run["ledger"].pop(1),
    "recovery_gaps": lambda run: run["topics"]["agent-decisions"][1].update(prev="other"),
    "order_violations": lambda run: run["topics"]["agent-decisions"][1]["input"].update(offset=0),
    "repeated_by_crashes": lambda run: run["ledger"].pop(2),
}


@pytest.mark.parametrize("row", PLANTED)
def test_a_planted_fault_is_seen(row: str) -> None:
    run = sound()
    PLANTED[row](run)
    assert row in check.faults(check.compare(**run), crashed=True)
