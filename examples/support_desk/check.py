# SPDX-License-Identifier: Apache-2.0
"""Does it add up? The sender's file, the payment ledger and the read_committed topics, compared line by line.

Shares no code with the product: it reads what anyone can read, with a Kafka client, an Avro library and the registry.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import fastavro

TOPICS = ("agent-decisions", "agent-replies", "tool-invocations", "tool-results", "dead-letters")
WRONG = (
    "unaccounted", "unanswered", "replies_doubled", "paid_twice", "lost", "order_violations", "recovery_gaps",
)  # fmt: skip
MESSAGE = "support_desk.CustomerMessage"


def lines(path: Path) -> list[dict[str, Any]]:
    """A JSONL file; a last line without its end is left out."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def money(ledger: list[dict[str, Any]], asked: set[str], done: set[str]) -> dict[str, int]:
    """What the ledger says about refunds: `asked` keys, of which `done` were reported as paid."""
    paid = Counter(line["key"] for line in ledger if line["kind"] == "paid")
    orders = Counter(line["order"] for line in ledger if line["kind"] == "paid")
    ended: dict[str, Any] = {}
    repeated = 0
    for line in ledger:
        key = str(line.get("key"))
        if line["kind"] == "arrived":
            # Repeats the service itself provoked (429, 500, 409, a dropped connection) are not the crashes' doing.
            repeated += key in ended and ended[key] not in (429, 500, 409, "dropped")
            ended[key] = "open"
        elif line["kind"] in ("answered", "dropped"):
            ended[key] = line.get("status", "dropped")
    return {
        "refunds_asked": len(asked),
        "refunds_paid": len(paid),
        "paid_twice": sum(count > 1 for count in orders.values()),
        "lost": len(done - set(paid)) + len(set(paid) - asked),
        "repeated_by_crashes": repeated,
    }


def journal(decisions: list[dict[str, Any]]) -> dict[str, int]:
    """Chains and order of the journal, thread by thread."""
    threads: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for decision in decisions:
        threads[decision["thread"]].append(decision)
    gaps = disorder = 0
    for chain in threads.values():
        previous = ""
        last: dict[tuple[str, int], int] = {}
        for expected, entry in enumerate(chain, 1):
            gaps += entry["seq"] != expected or entry["prev"] != previous
            previous = entry["hash"]
            place = (entry["input"]["topic"], entry["input"]["partition"])
            if not place[0] or entry.get("kind") == "timer":
                continue  # made of the clock, not of a record
            disorder += entry["input"]["offset"] <= last.get(place, -1)
            last[place] = entry["input"]["offset"]
    return {"recovery_gaps": gaps, "order_violations": disorder}


def compare(
    sent: list[dict[str, Any]], ledger: list[dict[str, Any]], topics: dict[str, list[dict[str, Any]]]
) -> dict[str, int]:
    """The whole table."""
    decisions, replies = topics["agent-decisions"], topics["agent-replies"]
    places = [
        (d["input"]["partition"], d["input"]["offset"])
        for d in decisions
        if d["input"]["topic"].endswith("agent-events")
    ]
    dead = {(d["partition"], d["offset"]) for d in topics["dead-letters"] if d["topic"].endswith("agent-events")}
    accounted = set(places) | dead
    missing = [event for event in sent if (event["partition"], event["offset"]) not in accounted]
    wanted = {event["id"] for event in sent if event["type"] == MESSAGE and not event["bad"]}
    asked = {call["call_id"] for call in topics["tool-invocations"] if call["tool"] == "refund"}
    results = {result["call_id"]: result["status"] for result in topics["tool-results"] if result["tool"] == "refund"}
    counted = money(ledger, asked, {key for key, status in results.items() if status == "done"})
    counted["lost"] += len(asked - set(results))
    chained = journal(decisions)
    chained["order_violations"] += len(places) - len(set(places))
    return {
        "events_sent": len(sent), "accounted_for": len(sent) - len(missing), "unaccounted": len(missing),
        "dead_letters": len(dead), "decisions": len(decisions), "replies": len(replies),
        "replies_doubled": len(replies) - len({reply["reply_id"] for reply in replies}),
        "unanswered": len(wanted - {reply["event_id"] for reply in replies}), **counted, **chained,
    }  # fmt: skip


def faults(table: dict[str, int], crashed: bool) -> list[str]:
    """The rows that do not add up. After kills, nothing repeated means that the kills hit nothing."""
    wrong = [row for row in WRONG if table[row]]
    empty = [row for row in ("events_sent", "decisions", "refunds_paid") if not table[row]]
    return wrong + empty + (["repeated_by_crashes"] if crashed and not table["repeated_by_crashes"] else [])


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


def read(bootstrap: str, name: str) -> list[Any]:
    """Every committed message of a topic, up to where it ended when asked."""
    from confluent_kafka import Consumer, TopicPartition

    settings = {"bootstrap.servers": bootstrap, "group.id": "support-desk-check", "isolation.level": "read_committed"}
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
        if message.error():
            left.discard(message.partition())
        else:
            found.append(message)
    consumer.close()
    return found


def letter(message: Any) -> dict[str, Any]:
    """From where a dead letter came."""
    about = {
        name.rpartition(".")[2]: value
        for name, value in message.headers() or []
        if name.startswith("__streams.errors.")
    }
    return {"topic": about["topic"].decode(), "partition": int(about["partition"]), "offset": int(about["offset"])}


def gather(bootstrap: str, registry: str, namespace: str) -> dict[str, list[dict[str, Any]]]:
    """All topics, decoded."""
    reader, found = Reader(registry), {}
    for topic in TOPICS:
        messages = read(bootstrap, f"{namespace}.{topic}")
        found[topic] = [letter(one) if topic == "dead-letters" else reader.value(one.value()) for one in messages]
    return found


def main() -> None:
    """Print the table; exit 1 unless it adds up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("sent", "ledger"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("bootstrap", "registry", "namespace"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument(
        "--crashed", action="store_true", help="processes were killed: some request must have been repeated"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    table = compare(lines(given.sent), lines(given.ledger), gather(given.bootstrap, given.registry, given.namespace))
    wrong = faults(table, given.crashed)
    if given.json:
        print(json.dumps({**table, "adds_up": not wrong, "wrong": wrong}))
    else:
        for row, count in table.items():
            print(f"  {row.replace('_', ' '):<24}{count:>8}{'   <- wrong' if row in wrong else ''}")
        print("It adds up." if not wrong else "It does NOT add up: " + ", ".join(wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
