# SPDX-License-Identifier: Apache-2.0
"""The service that the tools of the app under test call: one process, every step one fsynced line of its ledger.

What it does with a request is in the request's item, `KIND.GATE/...`; POST /open/GATE opens a gate for good.

    now            has its effect and answers
    before.GATE    waits for the gate, then has its effect
    after.GATE     has its effect, then waits for the gate with the answer
    busy.GATE      turns requests away (503) until the gate is open
    cut            has its effect and cuts the line; whoever comes again is told no (404)
    gone.GATE      has its effect and waits for the gate with the answer; whoever comes again is told no (404)

A key has its effect once, whatever comes; `--dedup-off` makes it a service that ignores keys.

    {"kind": "arrived"|"paid"|"answered", "key", "item", "tool", "thread", "life": the asking reactor's, "at_s"}
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from aiohttp import web


class Service:
    """Gates and effects; the ledger is on the disk before anything is answered."""

    def __init__(self, ledger: Path, dedup: bool) -> None:
        self._ledger = ledger.open("ab")
        self._dedup = dedup
        self._gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._paid: set[str] = set()

    def _note(self, kind: str, about: dict[str, Any]) -> None:
        self._ledger.write(json.dumps({"kind": kind, **about, "at_s": time.monotonic()}).encode() + b"\n")
        self._ledger.flush()
        os.fsync(self._ledger.fileno())

    def _pay(self, about: dict[str, Any]) -> None:
        if about["tool"] != "look" and not (self._dedup and about["key"] in self._paid):
            self._note("paid", about)
            self._paid.add(about["key"])

    async def ask(self, request: web.Request) -> web.Response:
        """A tool's request."""
        said = await request.json()
        about = {"key": request.headers["Idempotency-Key"], "tool": request.match_info["tool"], **said}
        self._note("arrived", about)
        kind, _, gate = about["item"].partition("/")[0].partition(".")
        known = about["key"] in self._paid
        if kind == "busy" and not self._gates[gate].is_set():
            return web.Response(status=503)
        if kind in ("cut", "gone") and known:
            return web.Response(status=404)
        if kind == "before":
            await self._gates[gate].wait()
        self._pay(about)
        if kind == "cut" and request.transport is not None:
            request.transport.abort()
        if kind in ("after", "gone"):
            await self._gates[gate].wait()
        self._note("answered", about)
        return web.Response(text=about["item"])

    async def open(self, request: web.Request) -> web.Response:
        """Let through what waits at a gate, now and later."""
        self._gates[request.match_info["gate"]].set()
        return web.json_response({})


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="The tool service of the tests.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--dedup-off", action="store_true", help="have an effect on every request, whatever its key")
    given = parser.parse_args()
    service = Service(given.ledger, not given.dedup_off)
    app = web.Application()
    app.add_routes([web.post("/open/{gate}", service.open), web.post("/{tool}", service.ask)])
    web.run_app(app, host="127.0.0.1", port=given.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
