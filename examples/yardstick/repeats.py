# SPDX-License-Identifier: Apache-2.0
"""Requests that came again, and the kills that explain them.

A kill of the conversation job repeats no request: what it had decided is committed or gone. Whoever lost his answer
asks again, and that is the tools job after its own kill, or after the service's.

    first asking ─► kill ─► its loss noticed ─► asked again        explained
    kill ─► its loss noticed ─► first asking ─► asked again        not by this kill

A kill as the run notes it: {"target", "killed", "hit": [what ran there, or restarted all the same], "also": [these],
"at_ms": the signal, "noticed_ms": the job began to restart for the last time, or the service was gone}, by the clock of
the ledger."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Any, NamedTuple

TARGETS = ("tools", "conversation", "service")
CAUSES = {"tools", "service"}
# What the tools job sent just before its loss was noticed is in the ledger within so long; the service may have to read
# it first. A service that is gone reads nothing.
LAG_MS = 1_000

Line = dict[str, Any]


class Repeat(NamedTuple):
    """A request that came again although the service had not turned the one before it away: when it had come before,
    when it came, and whether its effect was there by then."""

    before_ms: int
    at_ms: int
    after_effect: bool


def repeats(ledger: list[Line]) -> list[Repeat]:
    """All of them, in order. A request after a 409 is the doing of the one before it."""
    asked_ms: dict[str, int] = {}
    turned_away, settled = set[str](), set[str]()
    found = []
    for line in ledger:
        key = str(line.get("key"))
        if line["kind"] == "arrived":
            if key in asked_ms and key not in turned_away:
                found.append(Repeat(asked_ms[key], line["time_ms"], key in settled))
            turned_away.discard(key)
            asked_ms[key] = line["time_ms"]
        elif line["kind"] == "answered" and line["status"] == 409:
            turned_away.add(key)
        elif line["kind"] == "effect":
            settled.add(key)
    return found


def is_explained(repeat: Repeat, kills: list[Line]) -> bool:
    """Whether a kill that makes somebody ask again lies between the two askings."""
    return any(
        CAUSES.intersection(kill["hit"])
        and repeat.before_ms <= kill["noticed_ms"] + ("tools" in kill["hit"]) * LAG_MS
        and kill["at_ms"] <= repeat.at_ms
        for kill in kills
    )


def after_each(found: list[Repeat], kills: list[Line]) -> list[int]:
    """For each kill how many came between it and the next."""
    moments = [kill["at_ms"] for kill in kills]
    counts = Counter(bisect_right(moments, repeat.at_ms) - 1 for repeat in found)
    return [counts[number] for number in range(len(kills))]


def requests(ledger: list[Line], kills: list[Line]) -> dict[str, int]:
    """Requests, and those that came again: after which kind of kill, after their effect (a service without keys would
    have it twice), and without any kill that explains them."""
    found, after = repeats(ledger), Counter[str]()
    for kill, count in zip(kills, after_each(found, kills), strict=True):
        after[kill["target"]] += count
    return {
        "kills": len(kills),
        "requests": sum(line["kind"] == "arrived" for line in ledger),
        "repeated_by_crashes": len(found),
        **{f"after_{target}_killed": after[target] for target in TARGETS},
        "repeated_after_effect": sum(repeat.after_effect for repeat in found),
        "repeats_unexplained": sum(not is_explained(repeat, kills) for repeat in found),
    }
