# SPDX-License-Identifier: Apache-2.0
"""Is a run equal to direct execution? The service's ledger and states, and the read_committed topics, against what the
same calls give on the same simulators without threadlog.

Shares no code with the product: it reads what anyone can read, with a Kafka client, an Avro library, the registry."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.support_desk.check import Reader, letter, lines, read
from examples.support_desk.rules import journal
from examples.yardstick.repeats import after_each, repeats, requests

WRONG = (
    "turns_unanswered", "turns_doubled", "replies_out_of_order", "journal_outputs_differ", "reply_outputs_differ",
    "ledger_outputs_differ", "states_differ", "order_differs", "effects_twice", "effects_lost", "calls_not_done",
    "journal_gaps", "entries_unexplained", "repeats_unexplained", "strangers", "dead_letters",
)  # fmt: skip
Line = dict[str, Any]


@dataclass
class Run:
    """What one run left behind, by thread and in order. `direct` is direct execution, `results` are those that runs
    went on with; `letters` are the codes of the dead letters, `kills` as in `repeats`, and `not_committed` counts the
    journal's records that no committed transaction holds."""

    direct: dict[str, Line]
    ledger: list[Line]
    states: dict[str, Any] = field(default_factory=dict)
    decisions: dict[str, list[Line]] = field(default_factory=dict)
    results: dict[str, list[Line]] = field(default_factory=dict)
    replies: dict[str, list[Line]] = field(default_factory=dict)
    letters: list[str] = field(default_factory=list)
    kills: list[Line] = field(default_factory=list)
    not_committed: int = 0


def text(value: Any) -> str:
    """A value as it is compared: as JSON, in which 1, 1.0 and true are three things."""
    return json.dumps(value, sort_keys=True)


def differing(wanted: list[Any], found: list[Any]) -> int:
    """How many places of two lists differ, missing and surplus ones included."""
    pairs = zip(map(text, wanted), map(text, found), strict=False)
    return abs(len(wanted) - len(found)) + sum(one != other for one, other in pairs)


def effects(run: Run) -> dict[str, int]:
    """The ledger's effects against the ground truth, thread by thread; outputs are those of each key's first effect."""
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
    for thread, wanted in run.direct.items():
        chain = made.pop(thread, [])
        calls = [text([one["function"], one["args"], one["kwargs"]]) for one in chain]
        truth = [text([one["function"], one["args"], one["kwargs"]]) for one in wanted["calls"]]
        table["order_differs"] += calls != truth
        table["effects_lost"] += (Counter(truth) - Counter(calls)).total()
        surplus = (Counter(calls) - Counter(truth)).total()
        table["effects_twice"] += max(surplus, len(chain) - len({one["key"] for one in chain}))
        first = {one["key"]: one["output"] for one in reversed(chain)}
        outputs += differing(wanted["outputs"], [first[key] for key in dict.fromkeys(one["key"] for one in chain)])
    table["effects_twice"] += sum(map(len, made.values()))  # on threads that nobody asked for
    return {**table, "ledger_outputs_differ": outputs}


def turns(run: Run) -> dict[str, int]:
    """Replies against turns, their order, and the outputs they report."""
    table = {"turns": 0, "replies": sum(map(len, run.replies.values())), "turns_unanswered": 0, "turns_doubled": 0}
    differ = disorder = 0
    for thread, wanted in run.direct.items():
        left, said = list(wanted["outputs"]), defaultdict[int, list[Line]](list)
        replies = run.replies.get(thread, [])
        for reply in replies:
            said[reply["turn"]].append(reply)
        for number, count in enumerate(wanted["turns"]):
            truth, left = left[:count], left[count:]
            table["turns"] += 1
            table["turns_unanswered"] += not said[number]
            table["turns_doubled"] += len(said[number]) > 1
            differ += sum(differing(truth, reply["outputs"]) for reply in said[number])
        table["turns_doubled"] += sum(number >= len(wanted["turns"]) for number in said)
        disorder += sum(later["turn"] < reply["turn"] for reply, later in itertools.pairwise(replies))
    return {**table, "replies_out_of_order": disorder, "reply_outputs_differ": differ}


def entries(run: Run) -> dict[str, int]:
    """The journal against what was sent: one entry for each turn, one for each call's result, one for each result that
    came again and was refused. After kills each of the latter has a dead letter, and that is no fault."""
    refused = unexplained = 0
    for thread, wanted in run.direct.items():
        found = Counter((entry["kind"], entry["verdict"]) for entry in run.decisions.get(thread, []))
        events = sum(count for (kind, _), count in found.items() if kind == "event")
        resumed, late = found["result", "resumed"], found["result", "late"]
        refused += late
        unexplained += abs(events - len(wanted["turns"])) + abs(resumed - len(wanted["calls"]))
        unexplained += found.total() - events - resumed - late
    late_letters = run.letters.count("late")
    others = len(run.letters) - late_letters
    return {
        "decisions": sum(map(len, run.decisions.values())),
        "refused_repeats": refused,
        "entries_unexplained": unexplained,
        "entries_not_committed": run.not_committed,
        "dead_letters": others + (abs(late_letters - refused) if run.kills else late_letters),
    }


def compare(run: Run) -> dict[str, int]:
    """The whole table of a run."""
    results = [one for chain in run.results.values() for one in chain]
    outputs = {thread: [one["value"] for one in chain] for thread, chain in run.results.items()}
    in_journal = sum(differing(one["outputs"], outputs.get(thread, [])) for thread, one in run.direct.items())
    chained = journal([entry for chain in run.decisions.values() for entry in chain])
    return {
        "tasks": len(run.direct), **turns(run), "calls": sum(len(one["calls"]) for one in run.direct.values()),
        **entries(run), **requests(run.ledger, run.kills), **effects(run),
        "journal_outputs_differ": in_journal,
        "states_differ": sum(text(one["state"]) != text(run.states.get(name)) for name, one in run.direct.items()),
        "calls_not_done": sum(one["status"] != "done" for one in results),
        "journal_gaps": len(chained["journal_gaps"]) + len(chained["order_violations"]),
        "strangers": len({*run.decisions, *run.replies, *run.states} - set(run.direct)),
    }  # fmt: skip


def faults(table: dict[str, int]) -> list[str]:
    """The rows in which the run is not equal. After kills, nothing repeated means that the kills hit nothing; without
    any, nobody has cause to repeat a request. An answer comes again only to a request that did."""
    wrong = [row for row in WRONG if table[row]]
    empty = [row for row in ("tasks", "turns", "calls", "decisions", "effects") if not table[row]]
    wrong += ["repeated_by_crashes"] if bool(table["kills"]) != bool(table["repeated_by_crashes"]) else []
    wrong += (
        ["refused_repeats"] if table["refused_repeats"] > bool(table["kills"]) * table["repeated_by_crashes"] else []
    )
    return wrong + empty


def gather(run: Run, earlier: tuple[str, ...], bootstrap: str, registry: str, namespace: str) -> None:
    """Read the topics into the run: all of them, but for threads whose names begin as those of an earlier run."""
    reader = Reader(registry)

    def messages(name: str, isolation: str = "read_committed") -> list[Any]:
        found = read(bootstrap, f"{namespace}.{name}", isolation)
        return [
            message for message in found if not (message.key() or b"").decode("utf-8", "replace").startswith(earlier)
        ]

    for message in messages("agent-replies"):
        value = reader.value(message.value())
        run.replies.setdefault(value["thread"], []).append(json.loads(value["data"]))
    committed = [reader.value(message.value()) for message in messages("agent-decisions")]
    for entry in committed:
        run.decisions.setdefault(entry["thread"], []).append(entry)
        if entry["kind"] == "result" and entry["verdict"] == "resumed":
            result = reader.value(entry["input"]["value"])
            run.results.setdefault(entry["thread"], []).append({**result, "value": json.loads(result["value"])})
    run.not_committed = len(messages("agent-decisions", "read_uncommitted")) - len(committed)
    run.letters = [letter(message)["code"] for message in messages("dead-letters")]


def main() -> None:
    """Print the table as JSON; exit 1 unless the run is equal to direct execution."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("direct", "ledger", "states", "kills"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("prefix", "bootstrap", "registry", "namespace"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--earlier", action="append", default=[], metavar="PREFIX", help="of a run before this one")
    given = parser.parse_args()
    direct, states, kills = (json.loads(path.read_text()) for path in (given.direct, given.states, given.kills))
    run = Run({given.prefix + task: one for task, one in direct.items()}, lines(given.ledger), states, kills=kills)
    gather(run, tuple(given.earlier), given.bootstrap, given.registry, given.namespace)
    table = compare(run)
    wrong, each = faults(table), after_each(repeats(run.ledger), kills)
    print(json.dumps({**table, "wrong": wrong, "after_each_kill": each}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
