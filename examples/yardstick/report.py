# SPDX-License-Identifier: Apache-2.0
"""What came of it, as text: the table of the runs, and a page with everything that a reader needs to check it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from examples.yardstick.simulators import WALL_CLOCK

WRITES = "yardstick-writes.jsonl"  # beside the page
# What a service without keys may spoil, and nothing else.
SPOILT = {
    "effects_twice", "order_differs", "ledger_outputs_differ", "journal_outputs_differ", "reply_outputs_differ",
    "states_differ",
}  # fmt: skip
CONDITIONS = {
    "commit": "commit", "cpu": "processor", "cores": "cores", "memory_gib": "memory, GiB", "kernel": "Linux",
    "python": "Python", "java": "Java", "flink": "Flink", "kafka": "Kafka", "connector": "connector",
    "load_average": "load average before",
}  # fmt: skip
COUNTED = {
    "calls": "calls",
    "writes": "writes",
    "state": "a duplicate shows in the state",
    "answer": "... in its answer",
    "either": "... in either",
}


def writes(direct: dict[str, Any]) -> dict[str, Counter[str]]:
    """By function: its calls, how many of them are writes, and of how many of these a duplicate would show."""
    found: dict[str, Counter[str]] = {}
    for one in direct.values():
        rows = zip(one["calls"], one["writes"], one["shows_in_state"], one["shows_in_answer"], strict=True)
        for call, write, state, answer in rows:
            flags = {"calls": True, "writes": write, "state": state, "answer": answer, "either": state or answer}
            counts = found.setdefault(call["function"], Counter())
            counts.update({name: int(flag) for name, flag in flags.items()})
    return dict(sorted(found.items()))


def calls(by_function: dict[str, Counter[str]]) -> str:
    """The sums of `writes`, and what its comparison of states leaves out."""
    whole = sum(by_function.values(), Counter[str]())
    left_out = ", ".join(f"{owner}.{name}" for owner, name in sorted(WALL_CLOCK))
    return (
        f"{whole['calls']} calls, {whole['writes']} of them writes; a duplicate would show for {whole['either']} of "
        f"these: for {whole['state']} in the state, for {whole['answer']} in its answer.\n"
        f"Left out of states, being wall clock: {left_out}."
    )


def each_write(direct: dict[str, Any]) -> Iterator[str]:
    """A line for each write, as JSON. `ordinal` is its number among all calls of its task, from 0; the two others say
    where a duplicate of it would show."""
    for task, one in sorted(direct.items()):
        for ordinal, call in enumerate(one["calls"]):
            if one["writes"][ordinal]:
                shows = {name: one[name][ordinal] for name in ("shows_in_state", "shows_in_answer")}
                yield json.dumps({"task": task, "ordinal": ordinal, "function": call["function"], **shows}) + "\n"


def demonstration(tables: dict[str, dict[str, Any]]) -> tuple[int, str]:
    """What runs against a service without keys have shown. 1: each request that came again after its effect has it
    twice, and the check has seen that; 2: they have shown nothing."""
    expected = SPOILT | {"repeated_by_crashes"}  # kills that hit nothing show nothing
    others = sorted({row for one in tables.values() for row in one["wrong"]} - expected)
    if others or tables["straight"]["wrong"]:
        said = ", ".join(others or tables["straight"]["wrong"]).replace("_", " ")
        return 2, f"NOT equal to direct execution, and not for want of keys: {said}."
    killed = tables.get("killed", {"effects_twice": 0, "repeated_after_effect": 0})
    twice, after = killed["effects_twice"], killed["repeated_after_effect"]
    if twice != after:
        said = f"Requests that came again after their effect: {after}; effects twice: {twice}."
        return 2, f"{said} The check does not add up."
    if not twice:
        return 2, "Nothing is shown: no request came again after its effect, so keys would not have been needed."
    return 1, f"NOT equal to direct execution: without keys, {twice} requests that came again have their effect twice."


def outcome(whole: dict[str, Any]) -> tuple[int, str]:
    """The code to end with, and a sentence. 0: equal; 1: not equal; 2: a demonstration that shows nothing."""
    if whole["settings"].get("dedup_off"):
        return demonstration(whole["tables"])
    return (0, "Every run is equal to direct execution.") if whole["equal"] else (1, "NOT equal to direct execution.")


def verdict(whole: dict[str, Any]) -> str:
    """What came of it, in a line."""
    return f"{outcome(whole)[1]} {whole['seconds']} s in all."


def table(tables: dict[str, dict[str, Any]]) -> str:
    """The runs side by side, wrong rows marked."""
    said = [f"  {'':<26}" + "".join(f"{name:>10}" for name in tables)]
    for row in next(iter(tables.values())):
        if row not in ("wrong", "after_each_kill"):
            mark = "   <- wrong" if any(row in one["wrong"] for one in tables.values()) else ""
            said.append(f"  {row.replace('_', ' '):<26}" + "".join(f"{one[row]:>10}" for one in tables.values()) + mark)
    return "\n".join(said)


def _markdown(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _kills(whole: dict[str, Any]) -> str:
    hits = [hit for one in whole["runs"].values() for hit in one["kills"]]
    repeated = [count for one in whole["tables"].values() for count in one["after_each_kill"]]
    rows = [
        [number, hit["killed"], _target(hit), hit["unanswered"], count, hit["seconds"]]
        for number, (hit, count) in enumerate(zip(hits, repeated, strict=True), 1)
    ]
    titles = ["kill", "process", "of", "requests open", "repeated until the next", "s until all went on"]
    return _markdown(titles, rows)


def _target(hit: dict[str, Any]) -> str:
    """What the kill was meant for, and what restarted with it though it ran elsewhere: it explains repeats too."""
    return "; ".join([hit["target"], *(f"{job} restarted too" for job in hit["also"])])


def page(whole: dict[str, Any]) -> str:
    """Conditions, tables, kills and the list of writes."""
    settings = ", ".join(f"{key} {value}" for key, value in whole["settings"].items())
    machine = "; ".join(f"{said} {whole['machine'][key]}" for key, said in CONDITIONS.items())
    functions = [
        [name, *(counts[key] for key in COUNTED)] for name, counts in whole["writes"].items() if counts["writes"]
    ]
    took = ", ".join(f"{name} {one['seconds']} s" for name, one in whole["runs"].items())
    return "\n\n".join([
        f"{verdict(whole)} Runs: {took}; {settings}.",
        f"Measured on: {machine}.",
        f"```\n{table(whole['tables'])}\n```",
        _kills(whole),
        calls(whole["writes"]),
        f"One line for each write: [{WRITES}]({WRITES}).",
        _markdown(["function that writes", *COUNTED.values()], functions),
    ]) + "\n"  # fmt: skip
