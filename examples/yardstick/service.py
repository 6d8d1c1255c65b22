# SPDX-License-Identifier: Apache-2.0
"""The tool service: the tasks' simulators behind HTTP, in a process of their own, one set of instances per thread.

    POST /threads/THREAD/calls    {"task", "function", "args", "kwargs"} under an Idempotency-Key → {"output"}
    GET  /states                  {thread: state of its simulators}
    GET  /health

The key is honoured as the IETF draft says: same key and body, the same answer, or 409 while the first request is in
flight; same key and another body, 422; none, 400. A request takes its time, half of it before the effect and half
after, so that a crash of either side meets it in each half. After a SIGKILL the service executes its ledger again: the
simulators are deterministic, and an output that is not the recorded one ends it. `--dedup-off` executes every request.

Runs in the leaderboard's environment, so it has the standard library only."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from examples.yardstick.direct import here
from examples.yardstick.ledger import Ledger
from examples.yardstick.simulators import Simulators
from examples.yardstick.tasks import Call, Task, load

_KEY = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"')  # a structured-field string without escapes
_PATH = re.compile(r"/threads/([\w.-]{1,200})/calls")
_BODY = {"task": str, "function": str, "args": list, "kwargs": dict}

Answer = tuple[int, dict[str, Any]]


class Service:
    """The simulators of all threads, rebuilt from the ledger. Every public method may be called from any thread."""

    def __init__(
        self,
        ledger: Ledger,
        tasks: list[Task],
        seed: int = 1,
        delay_ms: tuple[int, int] = (50, 200),
        dedup: bool = True,
    ) -> None:
        self.seed, self.delay_ms, self.dedup = seed, delay_ms, dedup
        self._ledger, self._tasks = ledger, {task.id: task for task in tasks}
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._threads: dict[str, Simulators] = {}
        self._bodies: dict[str, str] = {}
        self._outputs: dict[str, str] = {}
        self._in_flight: set[str] = set()
        self._requests = 0
        for line in ledger.lines:
            self._execute_again(line)
        ledger.append("started", seed=seed, dedup=dedup)

    def _execute_again(self, line: dict[str, Any]) -> None:
        if line["kind"] == "arrived":
            self._requests = line["request"]
            self._bodies.setdefault(line["key"], line["digest"])
        elif line["kind"] == "effect":
            output = self._perform(line)
            if output != line["output"]:
                raise SystemExit(f"request {line['request']} gave {line['output']!r} and now gives {output!r}")
            self._outputs.setdefault(line["key"], output)

    def _perform(self, about: dict[str, Any]) -> str:
        name = about["thread"]
        if name not in self._threads:
            self._threads[name] = Simulators(self._tasks[about["task"]])
        return self._threads[name].call(Call(about["function"], about["args"], about["kwargs"]))

    def answer(self, thread: str, key: str | None, body: bytes) -> Answer:
        """The answer to a request, after its time."""
        asked = _asked(body)
        if key is None or asked is None or asked["task"] not in self._tasks:
            return 400, {
                "title": "wanted: a quoted Idempotency-Key, and {task, function, args, kwargs} of a known task"
            }
        about, known = self._arrive(thread, key, hashlib.sha256(body).hexdigest(), asked)
        if known is None:
            try:
                known = 200, {"output": self._work(about)}
            finally:
                self._in_flight.discard(key)
        return known

    def _arrive(
        self, thread: str, key: str, digest: str, asked: dict[str, Any]
    ) -> tuple[dict[str, Any], Answer | None]:
        """Note a request; what is known of it, and its answer unless it must be worked on."""
        with self._lock:
            self._requests += 1
            about = {"request": self._requests, "key": key, "digest": digest, "thread": thread, **asked}
            self._ledger.append("arrived", **about)
            known = self._known(key, digest) if self.dedup else None
            self._bodies.setdefault(key, digest)
            if known is None:
                self._in_flight.add(key)
            else:
                self._note_answer(about, known[0], again=known[0] == 200)
        return about, known

    def _known(self, key: str, digest: str) -> Answer | None:
        if self._bodies.get(key, digest) != digest:
            return 422, {"title": "this Idempotency-Key was used with another body"}
        if key in self._in_flight:
            return 409, {"title": "a request with this Idempotency-Key is in flight"}
        return (200, {"output": self._outputs[key]}) if key in self._outputs else None

    def _work(self, about: dict[str, Any]) -> str:
        """One call of a thread after the other: its simulators would see them in no order otherwise."""
        half_s = self._delay_s(about["key"]) / 2
        with self._turns[about["thread"]]:
            time.sleep(half_s)
            with self._lock:
                output = self._perform(about)
                self._ledger.append("effect", **about, output=output)
                self._outputs.setdefault(about["key"], output)
        time.sleep(half_s)
        with self._lock:
            self._note_answer(about, 200, again=False)
        return output

    def _note_answer(self, about: dict[str, Any], status: int, again: bool) -> None:
        named = {name: about[name] for name in ("request", "key", "thread")}
        self._ledger.append("answered", **named, status=status, again=again)

    def _delay_s(self, key: str) -> float:
        low, high = self.delay_ms
        drawn = hashlib.sha256(f"{self.seed}/{key}".encode()).digest()
        return (low + int.from_bytes(drawn[:4], "big") % (high - low + 1)) / 1000

    def states(self) -> dict[str, Any]:
        """The state of every thread's simulators."""
        with self._lock:
            return {name: simulators.state() for name, simulators in self._threads.items()}

    def health(self) -> dict[str, Any]:
        """What this process is and has done."""
        return {"ok": True, "requests": self._requests, "dedup": self.dedup}


def _asked(body: bytes) -> dict[str, Any] | None:
    """The body's fields, None unless they are what they should be."""
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    if not isinstance(asked, dict) or asked.keys() != _BODY.keys():
        return None
    return asked if all(isinstance(asked[name], kind) for name, kind in _BODY.items()) else None


def key_of(header: str | None) -> str | None:
    """The key in the header, None when there is none or it is not a quoted string."""
    found = _KEY.fullmatch(header or "")
    return found.group(1) if found else None


class Handler(BaseHTTPRequestHandler):
    """The HTTP face; `service` is set by `serve`."""

    service: Service
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024  # an answer in one packet
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """States and health."""
        found = {"/states": self.service.states, "/health": self.service.health}.get(self.path)
        self._say(404, {"title": "no such page"}) if found is None else self._say(200, found())

    def do_POST(self) -> None:
        """A call."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        place = _PATH.fullmatch(self.path)
        if place is None:
            self._say(404, {"title": "no such page"})
        else:
            self._say(*self.service.answer(place.group(1), key_of(self.headers.get("Idempotency-Key")), body))

    def _say(self, status: int, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:  # whoever asked is gone; the ledger has the answer
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """The ledger is the log."""


class Server(ThreadingHTTPServer):
    """One thread per connection."""

    daemon_threads = True
    request_queue_size = 512  # all callers come back at once after a restart


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="The leaderboard's simulators as a tool service.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--delay-ms", type=int, nargs=2, default=(50, 200), metavar=("LOW", "HIGH"))
    parser.add_argument("--dedup-off", action="store_true", help="execute every request, whatever its key")
    given = parser.parse_args()
    low, high = given.delay_ms
    if not 0 <= low <= high:
        parser.error(f"--delay-ms {low} {high}: expected 0 <= LOW <= HIGH")
    Handler.service = Service(Ledger(given.ledger), load(here()), given.seed, (low, high), not given.dedup_off)
    Server(("127.0.0.1", given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
