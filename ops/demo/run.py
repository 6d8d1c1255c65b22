# SPDX-License-Identifier: Apache-2.0
"""The demo's acts: a payment service under the knife, traffic, kills chosen by what the ledger shows, quiet.

Examples are started as processes and never imported: the product does not depend on them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops import http
from ops.settings import Settings
from ops.stack import flink, health, processes
from ops.stack.layout import PYTHON, ROOT, Layout

UNANSWERED = 3
QUIET_S = 16  # longer than the app waits for a confirmation, so that silence means the end


@dataclass
class Payments:
    """The payment service's process. After a kill it goes on from its ledger; it outlives the demo, until `down`."""

    settings: Settings
    ledger: Path
    seed: int
    dedup_off: bool
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it and wait until it answers."""
        url = f"http://127.0.0.1:{self.settings.port(0)}"
        if health.listens(self.settings.port(0)):
            raise OSError(f"port {self.settings.port(0)}, the payment service's, is taken by another program")
        command = [PYTHON, "-m", "examples.support_desk.payments", "--port", self.settings.port(0)]
        command += ["--ledger", self.ledger, "--seed", self.seed, *(["--dedup-off"] if self.dedup_off else [])]
        with (self.ledger.parent / "payments.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 15
        while time.monotonic() < until:
            try:
                http.call(f"{url}/health", timeout_s=1)
            except http.HttpError:
                time.sleep(0.1)
                continue
            if self.process.poll() is None:
                processes.note(Layout(self.settings.state_dir), "payments", self.process.pid)
                return
            break
        raise OSError(f"the payment service does not start on {url}; read {self.ledger.parent / 'payments.log'}")

    def kill(self) -> None:
        """SIGKILL, a moment of absence, start."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        time.sleep(0.5)
        self.start()


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def unanswered(ledger: list[dict[str, Any]]) -> int:
    """Refunds that arrived since the service started and have no answer yet."""
    open_now: set[int] = set()
    for line in ledger:
        if line["kind"] == "started":
            open_now.clear()
        elif line["kind"] == "arrived":
            open_now.add(line["request"])
        elif line["kind"] in ("answered", "dropped"):
            open_now.discard(line["request"])
    return len(open_now)


def wait_unanswered(ledger: Path, seconds: float) -> int:
    """Wait until at least three refunds are open; how many are."""
    until = time.monotonic() + seconds
    while (count := unanswered(lines(ledger))) < UNANSWERED and time.monotonic() < until:
        time.sleep(0.02)
    return count


def kill_host(settings: Settings, kind: str) -> str:
    """SIGKILL the TaskManager that hosts a job's subtasks; its name, empty when none was found."""
    for name in flink.job_hosts(settings).get(kind, []):
        process = processes.read(Layout(settings.state_dir), name)
        if process is not None and process.alive():
            processes.send(process, signal.SIGKILL)
            return name
    return ""


def committed(settings: Settings) -> int:
    """The sum of end offsets of the topics in which work shows."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": settings.bootstrap, "group.id": "demo-quiet", "enable.auto.commit": False}
    )
    total = 0
    for topic in ("agent-decisions", "tool-results"):
        name = f"{settings.namespace}.{topic}"
        for part in consumer.list_topics(name, timeout=10).topics[name].partitions:
            total += consumer.get_watermark_offsets(TopicPartition(name, part), timeout=10)[1]
    consumer.close()
    return total


def wait_quiet(settings: Settings, ledger: Path, seconds: float) -> bool:
    """Wait until neither topics nor ledger have grown for a while under running jobs; False when the time ran out."""
    until, since, before = time.monotonic() + seconds, time.monotonic(), (-1, -1)
    while time.monotonic() < until:
        now = (committed(settings), len(lines(ledger)))
        recovering = flink.wait_running(settings, list(flink.JOBS), 0)  # silence while a job restarts is not the end
        if now != before or recovering:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > QUIET_S:
            return True
        time.sleep(0.5)
    return False
