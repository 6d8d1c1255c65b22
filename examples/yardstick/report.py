# SPDX-License-Identifier: Apache-2.0
"""What came of it, as text: the table of the runs, and a page with everything that a reader needs to check it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from examples.yardstick.simulators import WALL_CLOCK

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


def verdict(whole: dict[str, Any]) -> str:
    """One sentence."""
    found = "Every run is equal to direct execution." if whole["equal"] else "NOT equal to direct execution."
    return f"{found} {whole['seconds']} s in all."


def table(tables: dict[str, dict[str, Any]]) -> str:
    """The runs side by side, wrong rows marked."""
    said = [f"  {'':<26}" + "".join(f"{name:>10}" for name in tables)]
    for row in next(iter(tables.values())):
        if row != "wrong":
            mark = "   <- wrong" if any(row in one["wrong"] for one in tables.values()) else ""
            said.append(f"  {row.replace('_', ' '):<26}" + "".join(f"{one[row]:>10}" for one in tables.values()) + mark)
    return "\n".join(said)


def _markdown(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def page(whole: dict[str, Any]) -> str:
    """Conditions, tables, kills and the list of writes."""
    settings = ", ".join(f"{key} {value}" for key, value in whole["settings"].items())
    hits = [hit for one in whole["runs"].values() for hit in one["kills"]]
    kills = [[n, hit["killed"], hit["target"], hit["unanswered"], hit["seconds"]] for n, hit in enumerate(hits, 1)]
    functions = [
        [name, *(counts[key] for key in COUNTED)] for name, counts in whole["writes"].items() if counts["writes"]
    ]
    took = ", ".join(f"{name} {one['seconds']} s" for name, one in whole["runs"].items())
    return "\n\n".join([
        f"{verdict(whole)} Runs: {took}; {settings}. Commit {whole['commit']}; {whole['cpu']}, {whole['cores']} cores.",
        f"```\n{table(whole['tables'])}\n```",
        calls(whole["writes"]),
        _markdown(["kill", "process", "of", "requests open", "s until all ran again"], kills),
        _markdown(["function that writes", *COUNTED.values()], functions),
    ]) + "\n"  # fmt: skip
