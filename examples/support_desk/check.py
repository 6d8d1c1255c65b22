# SPDX-License-Identifier: Apache-2.0
"""Does it add up? The sender's file, the payment ledger and the read_committed topics, compared line by line.

Shares no code with the product: it reads what anyone can read, with a Kafka client, an Avro library and the registry.
The rules are in `rules.py`.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import fastavro

from examples.support_desk import rules
from examples.support_desk.rules import Line, Topics

TOPICS = ("agent-decisions", "agent-replies", "tool-invocations", "tool-results", "dead-letters")
NONE = (
    "replies_doubled", "replies_differ", "unanswered", "paid_but_told_failed", "paid_twice", "lost", "journal_gaps",
    "order_violations", "never_recovered",
)  # fmt: skip
SOME = ("events_sent", "decisions", "refunds_paid", "refunds_told_done")
CASES = 20  # so many single cases are told
Table = dict[str, float]


def lines(path: Path) -> list[Line]:
    """A JSONL file; a last line without its end is left out."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def named(sent: list[Line], ledger: list[Line], topics: Topics) -> dict[str, list[str]]:
    """The rows whose single cases can be told, each case one line."""
    found = rules.journal(topics["agent-decisions"])
    found["order_violations"] += rules.misplaced(sent, topics, ledger, rules.told(topics["agent-decisions"]))
    return found


def compare(sent: list[Line], ledger: list[Line], topics: Topics, kills: list[Line]) -> Table:
    """The whole table, each row with its count or seconds."""
    decisions = topics["agent-decisions"]
    asked = {call["call_id"] for call in topics["tool-invocations"] if call["tool"] == "refund"}
    return {
        **rules.accounts(sent, topics, bool(kills)),
        **rules.money(ledger, asked, rules.told(decisions)),
        "repeated_by_crashes": rules.repeats(ledger),
        **{row: len(cases) for row, cases in named(sent, ledger, topics).items()},
        **rules.recovery(kills, rules.silences(kills, topics, ledger)),
    }


def faults(table: Table) -> list[str]:
    """The rows that do not add up.

    After kills, nothing repeated means that the kills hit nothing; without any, nobody has cause to repeat a request,
    or to know nothing of one that was paid. Who was cut off from the answer by a kill has asked again before it gave
    up."""
    explained = sum(table[f"refunds_{end}"] for end in ("paid", "refused", "failed", "in_doubt"))
    wrong = {
        "accounted_for": table["accounted_for"] != table["events_sent"],
        "dead_letters": table["dead_letters"] != table["bad_records"],
        "refunds_asked": table["refunds_asked"] != explained,
        "paid_but_in_doubt": table["paid_but_in_doubt"] > (table["repeated_by_crashes"] if table["kills"] else 0),
        "repeated_by_crashes": bool(table["kills"]) != bool(table["repeated_by_crashes"]),
    }
    return [
        *(row for row in NONE if table[row]),
        *(row for row in SOME if not table[row]),
        *(row for row, is_wrong in wrong.items() if is_wrong),
    ]


def shown(row: str, value: float | None) -> str:
    """A value as the table shows it: seconds with a tenth, counts whole."""
    return "" if value is None else f"{value:.1f}" if row.endswith("_s") else f"{value:.0f}"


def printed(table: Table, before: Table | None, wrong: list[str]) -> list[str]:
    """The table as lines; the run before, if there is one, in a column of its own."""
    found = [] if before is None else [f"{'':<26}{'run before':>10}{'this run':>10}"]
    for row, value in table.items():
        cells = [value] if before is None else [before.get(row), value]
        columns = "".join(f"{shown(row, cell):>10}" for cell in cells)
        found.append(f"  {row.replace('_', ' '):<24}{columns}{'   <- wrong' if row in wrong else ''}")
    return found


def silent(kills: list[Line], silent_s: list[float | None]) -> list[str]:
    """One line: how long each kill silenced what it hit."""
    gaps = ["for ever" if gap is None else f"{gap:.1f} s" for gap in silent_s]
    each = ", ".join(f"{kill['job']} {gap}" for kill, gap in zip(kills, gaps, strict=True))
    return [f"Silent after each kill: {each}"] if each else []


def verdict(wrong: list[str]) -> str:
    """The last line."""
    return "It does NOT add up: " + ", ".join(row.replace("_", " ") for row in wrong) if wrong else "It adds up."


class Reader:
    """Decodes the Confluent wire format with schemas fetched from the registry."""

    def __init__(self, registry: str) -> None:
        self.registry = registry
        self.schemas: dict[int, Any] = {}
        self.open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def value(self, raw: bytes) -> Any:
        """One record's fields."""
        number = int.from_bytes(raw[1:5], "big")
        if number not in self.schemas:
            with self.open(f"{self.registry}/schemas/ids/{number}", timeout=20) as said:
                self.schemas[number] = fastavro.parse_schema(json.loads(json.load(said)["schema"]))
        return fastavro.schemaless_reader(io.BytesIO(raw[5:]), self.schemas[number], None)


def read(bootstrap: str, name: str, isolation: str = "read_committed") -> list[Any]:
    """Every committed message of a topic, up to where it ended when asked; with "read_uncommitted", every one."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    settings = {"bootstrap.servers": bootstrap, "group.id": "support-desk-check", "isolation.level": isolation}
    consumer = Consumer(
        {**settings, "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "earliest"}
    )
    found: list[Any] = []
    parts = consumer.list_topics(name, timeout=20).topics[name].partitions
    consumer.assign([TopicPartition(name, part, 0) for part in parts])
    left = set(parts)
    while left:
        message = consumer.poll(30)
        if message is None:
            raise SystemExit(f"{name} could not be read to its end within 30 s")
        error = message.error()
        if error is None:
            found.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition())
        else:  # what was not read must not pass for what is not there
            raise SystemExit(f"{name} could not be read: {error}")
    consumer.close()
    return found


def letter(message: Any) -> dict[str, Any]:
    """From where a dead letter came, and why it is one, in a word."""
    about = {
        name.rpartition(".")[2]: value
        for name, value in message.headers() or []
        if name.startswith("__streams.errors.")
    }
    where = {"partition": int(about["partition"]), "offset": int(about["offset"])}
    return {"topic": about["topic"].decode(), **where, "code": about["exception"].decode()}


def gather(bootstrap: str, registry: str, namespace: str) -> Topics:
    """All topics, decoded; `log_ms` is when the broker appended the record."""
    reader, found = Reader(registry), Topics()
    for topic in TOPICS:
        messages = read(bootstrap, f"{namespace}.{topic}")
        decoded = [letter(one) if topic == "dead-letters" else reader.value(one.value()) for one in messages]
        found[topic] = [{**one, "log_ms": m.timestamp()[1]} for one, m in zip(decoded, messages, strict=True)]
    return found


def main() -> None:
    """Print the table; exit 1 unless it adds up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("sent", "ledger"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("bootstrap", "registry", "namespace"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument(
        "--kills",
        type=Path,
        help="what was killed and when; some request must have been repeated, and without kills none",
    )
    parser.add_argument("--table", type=Path, help="file to write the table to, as JSON")
    parser.add_argument("--before", type=Path, help="such a file of another run, to be shown beside this one")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    topics = gather(given.bootstrap, given.registry, given.namespace)
    sent, ledger, kills = lines(given.sent), lines(given.ledger), lines(given.kills) if given.kills else []
    table = compare(sent, ledger, topics, kills)
    wrong = faults(table)
    if given.table:
        given.table.write_text(json.dumps(table))
    if given.json:
        print(json.dumps({**table, "adds_up": not wrong, "wrong": wrong}))
    else:
        before = json.loads(given.before.read_text()) if given.before else None
        silent_s = rules.silences(kills, topics, ledger)
        cases = [case for row in named(sent, ledger, topics).values() for case in row]
        print("\n".join([*printed(table, before, wrong), *silent(kills, silent_s), *cases[:CASES], verdict(wrong)]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
