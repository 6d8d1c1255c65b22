# SPDX-License-Identifier: Apache-2.0
"""Is a run equal to direct execution? The service's ledger and states, and the read_committed topics, against what the
same calls give on the same simulators without threadlog.

Shares no code with the product: it reads what anyone can read, with a Kafka client, an Avro library, the registry."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.support_desk.check import Reader, lines, read
from examples.support_desk.rules import journal

WRONG = (
    "turns_unanswered", "turns_doubled", "journal_outputs_differ", "reply_outputs_differ", "ledger_outputs_differ",
    "states_differ", "order_differs", "effects_twice", "effects_lost", "calls_not_done", "journal_gaps",
)  # fmt: skip
Line = dict[str, Any]


@dataclass
class Run:
    """What one run left behind. `direct` is direct execution, by task; all else is by thread, in order."""

    direct: dict[str, Line]
    ledger: list[Line]
    states: dict[str, Any] = field(default_factory=dict)
    decisions: dict[str, list[Line]] = field(default_factory=dict)
    results: dict[str, list[Line]] = field(default_factory=dict)
    replies: dict[str, list[Line]] = field(default_factory=dict)


def text(value: Any) -> str:
    """A value as it is compared: as JSON, in which 1, 1.0 and true are three things."""
    return json.dumps(value, sort_keys=True)


def differing(wanted: list[Any], found: list[Any]) -> int:
    """How many places of two lists differ, missing and surplus ones included."""
    pairs = zip(map(text, wanted), map(text, found), strict=False)
    return abs(len(wanted) - len(found)) + sum(one != other for one, other in pairs)


def requests(ledger: list[Line]) -> dict[str, int]:
    """Requests; those that came again although the service had not turned the one before them away; and those of them
    whose effect was there already, which a service without keys would have had twice."""
    arrived, turned_away, settled = set[str](), set[str](), set[str]()
    count = repeated = after_effect = 0
    for line in ledger:
        key = str(line.get("key"))
        if line["kind"] == "arrived":
            count += 1
            again = key in arrived and key not in turned_away
            repeated += again
            after_effect += again and key in settled
            turned_away.discard(key)
            arrived.add(key)
        elif line["kind"] == "answered" and line["status"] == 409:
            turned_away.add(key)
        elif line["kind"] == "effect":
            settled.add(key)
    return {"requests": count, "repeated_by_crashes": repeated, "repeated_after_effect": after_effect}


def effects(run: Run) -> dict[str, int]:
    """The ledger's effects against the ground truth, thread by thread."""
    made: dict[str, list[Line]] = defaultdict(list)
    for line in run.ledger:
        if line["kind"] == "effect":
            made[line["thread"]].append(line)
    keys = Counter(line["key"] for chain in made.values() for line in chain)
    done = {one["call_id"] for chain in run.results.values() for one in chain if one["status"] == "done"}
    table = {
        "effects": sum(keys.values()),
        "effects_twice": 0,
        "effects_lost": len(done - set(keys)),
        "order_differs": 0,
    }
    outputs = 0
    for task, wanted in run.direct.items():
        chain = made.pop(task, [])
        calls = [text([one["function"], one["args"], one["kwargs"]]) for one in chain]
        truth = [text([one["function"], one["args"], one["kwargs"]]) for one in wanted["calls"]]
        table["order_differs"] += calls != truth
        table["effects_lost"] += (Counter(truth) - Counter(calls)).total()
        surplus = (Counter(calls) - Counter(truth)).total()
        table["effects_twice"] += max(surplus, len(chain) - len({one["key"] for one in chain}))
        outputs += differing(wanted["outputs"], [one["output"] for one in chain])
    table["effects_twice"] += sum(map(len, made.values()))  # on threads that nobody asked for
    return {**table, "ledger_outputs_differ": outputs}


def turns(run: Run) -> dict[str, int]:
    """Replies against turns, and the outputs they report."""
    table = {"turns": 0, "replies": sum(map(len, run.replies.values())), "turns_unanswered": 0, "turns_doubled": 0}
    differ = 0
    for task, wanted in run.direct.items():
        left, said = list(wanted["outputs"]), defaultdict[int, list[Line]](list)
        for reply in run.replies.get(task, []):
            said[reply["turn"]].append(reply)
        for number, count in enumerate(wanted["turns"]):
            truth, left = left[:count], left[count:]
            table["turns"] += 1
            table["turns_unanswered"] += not said[number]
            table["turns_doubled"] += len(said[number]) > 1
            differ += sum(differing(truth, reply["outputs"]) for reply in said[number])
        table["turns_doubled"] += sum(number >= len(wanted["turns"]) for number in said)
    return {**table, "reply_outputs_differ": differ}


def compare(run: Run) -> dict[str, int]:
    """The whole table of a run."""
    results = [one for chain in run.results.values() for one in chain]
    outputs = {task: [one["value"] for one in chain] for task, chain in run.results.items()}
    in_journal = sum(differing(one["outputs"], outputs.get(task, [])) for task, one in run.direct.items())
    chained = journal([entry for chain in run.decisions.values() for entry in chain])
    return {
        "tasks": len(run.direct), **turns(run), "calls": sum(len(one["calls"]) for one in run.direct.values()),
        "decisions": sum(map(len, run.decisions.values())), **requests(run.ledger), **effects(run),
        "journal_outputs_differ": in_journal,
        "states_differ": sum(text(one["state"]) != text(run.states.get(task)) for task, one in run.direct.items()),
        "calls_not_done": sum(one["status"] != "done" for one in results),
        "journal_gaps": len(chained["journal_gaps"]) + len(chained["order_violations"]),
    }  # fmt: skip


def faults(table: dict[str, int], crashed: bool) -> list[str]:
    """The rows in which the run is not equal. After kills, nothing repeated means that the kills hit nothing; without
    any, nobody has cause to repeat a request."""
    wrong = [row for row in WRONG if table[row]]
    empty = [row for row in ("tasks", "turns", "calls", "decisions", "effects") if not table[row]]
    return wrong + empty + (["repeated_by_crashes"] if crashed != bool(table["repeated_by_crashes"]) else [])


def gather(run: Run, prefix: str, bootstrap: str, registry: str, namespace: str) -> None:
    """Read the topics into the run; its threads are called PREFIX and the task's id."""
    reader = Reader(registry)
    for name, into in (("agent-decisions", run.decisions), ("agent-replies", run.replies)):
        for message in read(bootstrap, f"{namespace}.{name}"):
            value = reader.value(message.value())
            if value["thread"].startswith(prefix):
                into.setdefault(value["thread"].removeprefix(prefix), []).append(value)
    run.replies = {task: [json.loads(one["data"]) for one in said] for task, said in run.replies.items()}
    for task, chain in run.decisions.items():
        taken = [entry for entry in chain if entry["kind"] == "result" and entry["verdict"] == "resumed"]
        results = [reader.value(entry["input"]["value"]) for entry in taken]
        run.results[task] = [{**one, "value": json.loads(one["value"])} for one in results]


def main() -> None:
    """Print the table as JSON; exit 1 unless the run is equal to direct execution."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("direct", "ledger", "states"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("prefix", "bootstrap", "registry", "namespace"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument(
        "--crashed", action="store_true", help="processes were killed: some request must have been repeated, else none"
    )
    given = parser.parse_args()
    states = json.loads(given.states.read_text())
    ledger = [{**line, "thread": line.get("thread", "").removeprefix(given.prefix)} for line in lines(given.ledger)]
    run = Run(json.loads(given.direct.read_text()), ledger)
    run.states = {thread.removeprefix(given.prefix): state for thread, state in states.items()}
    gather(run, given.prefix, given.bootstrap, given.registry, given.namespace)
    table = compare(run)
    wrong = faults(table, given.crashed)
    print(json.dumps({**table, "wrong": wrong}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
