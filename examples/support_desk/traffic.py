# SPDX-License-Identifier: Apache-2.0
"""Seeded traffic for the refund desk: the same seed gives the same customers, messages, duplicates and bad records.

`events` is pure. `send` is a producer as a stranger would write one: it registers the two schemas, writes Avro in the
Confluent wire format under CloudEvents headers, and notes in its own file what it sent and where the broker put it."""

from __future__ import annotations

import argparse
import functools
import io
import json
import random
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro

from examples.support_desk import orders

MESSAGE, CONFIRMATION = "support_desk.CustomerMessage", "support_desk.Confirmation"
SCHEMAS = {MESSAGE: "customer_message.avsc", CONFIRMATION: "confirmation.avsc"}
BAD = ("no key", "key is not UTF-8", "no schema id", "unknown schema id", "cut short", "trailing bytes", "no ce_id")
BEGAN = "2026-01-01T00:00:00.000Z"  # ce_time is the sender's claim; a constant keeps runs equal


def _message(conversation: str, number: int, **data: Any) -> dict[str, Any]:
    full = {"text": "", "intent": "status", "order_id": "", "amount": 0, "sku": "", **data}
    return {"type": MESSAGE, "thread": conversation, "id": f"{conversation}/m{number}", "data": full}


def _refund(conversation: str, number: int, draw: random.Random) -> list[dict[str, Any]]:
    """A request for money back, and, where it is large, the customer's confirmation (or his silence)."""
    order_id = f"o-{conversation}-{number}"
    order = orders.order(order_id)
    amount = order["total"] + (500 if draw.random() < 0.04 else 0)  # some ask for more than they paid
    text = draw.choice(
        ("It broke on the first day.", "Zu klein, bitte Geld zurück.", "It never came 📦", "I changed my mind.")
    )
    asked = _message(
        conversation, number, text=text, intent="refund", order_id=order_id, amount=amount, sku=order["sku"]
    )
    if amount < 12_000 or draw.random() < 0.06:
        return [asked]
    answer = {"order_id": order_id, "approved": draw.random() < 0.85, "text": ""}
    confirmed = {"type": CONFIRMATION, "thread": conversation, "id": f"{conversation}/c{number}", "data": answer}
    return [asked, {**confirmed, "after": 80}]


def _conversation(name: str, draw: random.Random) -> list[dict[str, Any]]:
    found = _refund(name, 1, draw)
    for number in range(2, 2 + draw.choice((0, 1, 1, 2))):
        kind = draw.random()
        if kind < 0.3:
            found += [{**one, "after": one.get("after", 0) + 120} for one in _refund(name, number, draw)]
        elif kind < 0.6:
            found.append(
                {
                    **_message(name, number, text="Have you got it in stock?", intent="stock", sku=f"sku-{number:02d}"),
                    "after": 1,
                }
            )
        else:
            found.append({**_message(name, number, text="And now?"), "after": draw.choice((1, 160))})
    return found


def events(seed: int, conversations: int) -> list[dict[str, Any]]:
    """Everything to be sent, in order. `copy` marks exact duplicates, `bad` says what is wrong with a record."""
    draw = random.Random(seed)
    placed: list[tuple[float, dict[str, Any]]] = []
    for number in range(conversations):
        name = f"c{seed}-{number:05d}"
        for step, one in enumerate(_conversation(name, draw)):
            at = number * 2 + one.pop("after", 0) + step / 100
            placed.append((at, {**one, "copy": False, "bad": ""}))
            if draw.random() < 0.06:
                placed.append((at + draw.choice((0.001, 60)), {**one, "copy": True, "bad": ""}))
    for number, bad in enumerate(BAD * max(1, conversations // 250)):
        one = _message(f"bad{seed}-{number}", 1, text="unreadable")
        placed.append((draw.random() * conversations * 2, {**one, "copy": False, "bad": bad}))
    placed.sort(key=lambda pair: pair[0])
    return [{"n": number, **one} for number, (_, one) in enumerate(placed)]


def schema_text(name: str) -> str:
    """The schema as it is registered."""
    return (Path(__file__).parent / "schemas" / SCHEMAS[name]).read_text(encoding="utf-8")


def register(registry_url: str) -> dict[str, int]:
    """Register both schemas under their names; the ids."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    ids = {}
    for name in SCHEMAS:
        body = json.dumps({"schema": schema_text(name)}).encode()
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        with opener.open(
            urllib.request.Request(f"{registry_url}/subjects/{name}/versions", body, headers), timeout=20
        ) as said:
            ids[name] = int(json.load(said)["id"])
    return ids


def encode(event: dict[str, Any], ids: dict[str, int]) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers of an event, spoilt as its `bad` says."""
    buffer, kind, bad = io.BytesIO(), event["type"], event["bad"]
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(schema_text(kind))), event["data"])
    payload, schema_id = buffer.getvalue(), 99_999_999 if bad == "unknown schema id" else ids[kind]
    payload = payload[:-3] if bad == "cut short" else payload + b"\x07" if bad == "trailing bytes" else payload
    value = b"plain text" if bad == "no schema id" else b"\0" + schema_id.to_bytes(4, "big") + payload
    key = None if bad == "no key" else b"\xff\xfe" if bad == "key is not UTF-8" else event["thread"].encode()
    high, low, span = orders.number(event["id"]), orders.number("t", event["id"]), orders.number("s", event["id"]) | 1
    trace = f"00-{high:016x}{low:016x}-{span:016x}-01"
    fields = {
        "ce_specversion": "1.0", "ce_id": event["id"], "ce_source": "/support-desk/traffic", "ce_type": kind,
        "ce_subject": event["thread"], "ce_time": BEGAN, "ce_dataschema": f"/schemas/ids/{schema_id}",
        "ce_partitionkey": event["thread"], "content-type": "application/vnd.confluent.avro", "traceparent": trace,
    }  # fmt: skip
    if bad == "no ce_id":
        del fields["ce_id"]
    return key, value, [(name, text.encode()) for name, text in fields.items()]


def paced(items: list[dict[str, Any]], rate: float) -> Iterator[dict[str, Any]]:
    """The items, not faster than `rate` a second."""
    began = time.monotonic()
    for number, item in enumerate(items):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield item


def send(
    items: list[dict[str, Any]], bootstrap: str, registry_url: str, namespace: str, sent: Path, rate: float
) -> int:
    """Send all, note each delivery as one JSON line in `sent`; how many were delivered."""
    from confluent_kafka import Producer

    ids = register(registry_url)
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 2}
    )
    count = 0
    with sent.open("w", encoding="utf-8") as notes:

        def note(event: dict[str, Any], error: Any, message: Any) -> None:
            nonlocal count
            if error is not None:
                raise RuntimeError(f"{event['id']} was not delivered: {error}")
            count += 1
            where = {"partition": message.partition(), "offset": message.offset(), "sent_ms": message.timestamp()[1]}
            notes.write(json.dumps({**event, "source": "/support-desk/traffic", **where}) + "\n")
            notes.flush()

        for event in paced(items, rate):
            key, value, headers = encode(event, ids)
            told = functools.partial(note, event)
            producer.produce(f"{namespace}.agent-events", value, key, headers=[*headers], on_delivery=told)
            producer.poll(0)
        if producer.flush(60):
            raise RuntimeError("the broker did not take all events within 60 s")
    return count


def main() -> None:
    """Send, and say how much."""
    parser = argparse.ArgumentParser(description="Seeded traffic for the refund desk.")
    parser.add_argument("--conversations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=40, help="events a second")
    parser.add_argument("--bootstrap", default="127.0.0.1:19092")
    parser.add_argument("--registry", default="http://127.0.0.1:19094/apis/ccompat/v7")
    parser.add_argument("--namespace", default="threadlog")
    parser.add_argument("--sent", type=Path, required=True, help="the sender's own file")
    given = parser.parse_args()
    items = events(given.seed, given.conversations)
    count = send(items, given.bootstrap, given.registry, given.namespace, given.sent, given.rate)
    print(f"{count} events sent")


if __name__ == "__main__":
    main()
