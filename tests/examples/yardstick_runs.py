# SPDX-License-Identifier: Apache-2.0
"""What an equal run of the yardstick leaves behind. Times in ms."""

from __future__ import annotations

from examples.support_desk.rules import hash_of
from examples.yardstick import check


def effect(n: int, at_ms: int = 0) -> check.Line:
    about = {"request": n, "key": f"k{n}", "thread": "t", "function": "f", "args": [n], "kwargs": {}}
    return {"kind": "effect", "time_ms": at_ms, "output": f"o{n}", **about}


def arrived(n: int, at_ms: int) -> check.Line:
    return {"kind": "arrived", "time_ms": at_ms, "key": f"k{n}", "request": n, "thread": "t"}


def entry(kind: str, verdict: str, n: int) -> check.Line:
    topic = {"event": "agent-events", "result": "tool-results"}.get(kind, kind)
    place = {"topic": topic, "partition": 0, "offset": n}
    return {"thread": "t", "seq": 0, "prev": "", "kind": kind, "verdict": verdict, "input": place, "hash": ""}


def sealed(entries: list[check.Line]) -> list[check.Line]:
    """The entries as a thread's chain."""
    previous = ""
    for number, one in enumerate(entries, 1):
        one.update(seq=number, prev=previous)
        previous = one["hash"] = hash_of(one)
    return entries


def killed(target: str, at_ms: int, noticed_ms: int, *hit: str) -> check.Line:
    return {"target": target, "killed": target, "hit": [*hit], "also": [], "at_ms": at_ms, "noticed_ms": noticed_ms}


def equal() -> check.Run:
    """A run of one task with two turns of one call each. The tools job was killed after the first call, so that its
    request arrived twice, and its result as well."""
    calls = [{"function": "f", "args": [n], "kwargs": {}} for n in (0, 1)]
    direct = {"t": {"turns": [1, 1], "calls": calls, "outputs": ["o0", "o1"], "state": {"x": 1}}}
    ledger = [arrived(0, 1_000), effect(0, 1_100), arrived(0, 9_000), arrived(1, 10_000), effect(1, 10_100)]
    turns = [entry("event", "began", 0), entry("result", "resumed", 0), entry("event", "began", 1)]
    return check.Run(
        direct,
        ledger,
        states={"t": {"x": 1}},
        decisions={"t": sealed([*turns, entry("result", "late", 1), entry("result", "resumed", 2)])},
        results={"t": [{"call_id": f"k{n}", "status": "done", "value": f"o{n}"} for n in (0, 1)]},
        replies={"t": [{"turn": n, "outputs": [f"o{n}"]} for n in (0, 1)]},
        letters=["late"],
        kills=[killed("tools", 2_000, 5_000, "tools")],
    )


def straight() -> check.Run:
    """The same without the kill and what came of it."""
    run = equal()
    run.kills.clear()
    run.letters.clear()
    run.ledger.pop(2)
    run.decisions["t"].pop(3)
    sealed(run.decisions["t"])
    return run
