# SPDX-License-Identifier: Apache-2.0
"""The payment service: a process of its own that honours the Idempotency-Key header (IETF httpapi draft).

    same key, same body    the answer given before, or 409 while the first request is in flight
    same key, other body   422
    no or malformed key    400

Every request and every payment is one fsynced line of the ledger before anything is answered, so a SIGKILL at any point
leaves a ledger from which the service goes on: a key that was paid is never paid again. `--dedup-off` pays on every
request, which is what a service without keys does.

    {"kind": "started"|"arrived"|"paid"|"answered"|"dropped", "time_ms", "request", "key", "digest", "order",
     "amount", ...}
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from examples.support_desk import orders

FINAL = frozenset({200, 402})  # answers that belong to a key; a 429 or 500 says only that this request came to nothing
_KEY = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"')  # a structured-field string without escapes


class Ledger:
    """An append-only JSONL file; a line that a crash cut short is cut off."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.read_bytes() if path.exists() else b""
        end = whole.rfind(b"\n") + 1
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in whole[:end].splitlines()]
        self._file = path.open("ab")
        self._file.truncate(end)

    def append(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Write a line; it is on the disk when this returns."""
        line = {"kind": kind, "time_ms": time.time_ns() // 1_000_000, **fields}
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        return line


class Desk:
    """The service's state, rebuilt from its ledger: requests counted, each key's body, payment and answer."""

    def __init__(self, ledger: Ledger, seed: int, dedup: bool) -> None:
        self.ledger, self.seed, self.dedup = ledger, seed, dedup
        self.requests = 0
        self.payments = 0
        self.arrivals: dict[str, int] = {}
        self.bodies: dict[str, str] = {}
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.in_flight: set[str] = set()
        for line in ledger.lines:
            self._remember(line)
        ledger.append("started", seed=seed, dedup=dedup)

    def _remember(self, line: dict[str, Any]) -> None:
        key: str = line.get("key") or ""
        if line["kind"] == "arrived":
            self.requests = max(self.requests, line["request"])
            self.arrivals[line["order"]] = self.arrivals.get(line["order"], 0) + 1
            if key:
                self.bodies.setdefault(key, line["digest"])
        elif line["kind"] == "paid":
            self.payments += 1
            self.answers[key] = (200, line["receipt"])
        elif line["kind"] == "answered" and line["status"] in FINAL and key:
            self.answers.setdefault(key, (line["status"], line["answer"]))

    def note(self, kind: str, about: dict[str, Any], **fields: Any) -> None:
        """A line of the ledger, remembered."""
        self._remember(self.ledger.append(kind, **about, **fields))

    def arrive(self, key: str | None, body: bytes) -> dict[str, Any]:
        """Note a request, whatever it is worth; what is known of it."""
        try:
            asked = json.loads(body)
            order, amount = str(asked["order_id"]), int(asked["amount"])
        except (ValueError, KeyError, TypeError):
            order, amount = "", 0
        digest = hashlib.sha256(body).hexdigest()
        about = {"request": self.requests + 1, "key": key, "digest": digest, "order": order, "amount": amount}
        self.note("arrived", about)
        return about

    def refuse(self, about: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The answer to a request that must not be worked on, None for one that must."""
        key = about["key"]
        if key is None:
            return 400, {"title": 'Idempotency-Key is missing or not a quoted string, as in "8e03978e"'}
        if not about["order"] or about["amount"] <= 0:
            return 400, {"title": "the body must be {order_id, amount > 0}"}
        if not self.dedup:
            return None
        if self.bodies[key] != about["digest"]:
            return 422, {"title": "this Idempotency-Key was used with another body"}
        if key in self.in_flight:
            return 409, {"title": "a request with this Idempotency-Key is in flight"}
        return self.answers.get(key)

    async def work(self, about: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Pay, unless this order's temper or its total says otherwise; status 0 drops the connection."""
        temper, first = orders.temper(self.seed, about["order"]), self.arrivals[about["order"]] == 1
        await asyncio.sleep(temper.delay_s)
        if first and temper.kind == "fails":
            return 500, {"title": "out of order"}
        if first and temper.kind == "busy":
            return 429, {"title": "too many requests"}
        if about["amount"] > orders.order(about["order"])["total"]:
            return 402, {"title": "more than was paid for this order"}
        receipt = {"refund_id": f"rf-{self.payments + 1}", "order_id": about["order"], "amount": about["amount"]}
        self.note("paid", about, receipt=receipt)
        return (0 if first and temper.kind == "drops" else 200), receipt

    async def answer(self, about: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The answer to an arrived request, noted."""
        refused = self.refuse(about)
        if refused is None:
            self.in_flight.add(about["key"])
            try:
                status, body = await self.work(about)
            finally:
                self.in_flight.discard(about["key"])
        else:
            status, body = refused
        if status:
            self.note("answered", about, status=status, answer=body, again=refused is not None and status in FINAL)
        else:
            self.note("dropped", about)
        return status, body


def key_of(header: str | None) -> str | None:
    """The key in the header, None when there is none or it is not a quoted string."""
    found = _KEY.fullmatch(header or "")
    return found.group(1) if found else None


def service(desk: Desk) -> web.Application:
    """The HTTP face of the desk."""

    async def refunds(request: web.Request) -> web.Response:
        about = desk.arrive(key_of(request.headers.get("Idempotency-Key")), await request.read())
        status, body = await desk.answer(about)
        if status == 0 and request.transport is not None:
            request.transport.abort()
        return web.json_response(body, status=status or 500, headers={"Retry-After": "1"} if status == 429 else None)

    async def one_order(request: web.Request) -> web.Response:
        order_id = request.match_info["id"]
        if not order_id.startswith("o-"):
            return web.json_response({"title": "no such order"}, status=404)
        await asyncio.sleep(orders.number(desk.seed, "look", order_id) % 150 / 1000)
        return web.json_response(orders.order(order_id))

    async def one_stock(request: web.Request) -> web.Response:
        return web.json_response({"sku": request.match_info["sku"], "left": orders.stock(request.match_info["sku"])})

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"ok": True, "requests": desk.requests, "dedup": desk.dedup})

    app = web.Application()
    app.add_routes(
        [
            web.post("/refunds", refunds),
            web.get("/orders/{id}", one_order),
            web.get("/stock/{sku}", one_stock),
            web.get("/health", health),
        ]
    )
    return app


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="A payment service that honours Idempotency-Key.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 only in a container: whoever reaches it is paid")
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dedup-off", action="store_true", help="pay on every request, whatever its key")
    given = parser.parse_args()
    desk = Desk(Ledger(given.ledger), given.seed, not given.dedup_off)
    web.run_app(service(desk), host=given.host, port=given.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
