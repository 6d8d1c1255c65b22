# SPDX-License-Identifier: Apache-2.0
"""The payment service's contract, against the real process, SIGKILL included."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from examples.support_desk import orders

ROOT = Path(__file__).parents[2]


def order_of(kind: str, least_s: float = 0.0) -> str:
    names = (f"o-{number}" for number in range(100_000))
    return next(n for n in names if orders.temper(1, n).kind == kind and orders.temper(1, n).delay_s >= least_s)


class Service:
    def __init__(self, ledger: Path, *options: str) -> None:
        self.ledger, self.options = ledger, options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "examples.support_desk.payments",
            "--port",
            str(self.port),
            "--ledger",
            str(self.ledger),
        ]
        self.process = subprocess.Popen([*command, *self.options], cwd=ROOT)
        until = time.monotonic() + 15
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the service did not start")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def refund(self, order: str, key: str | None = '"k"', amount: int = 100) -> tuple[int, Any]:
        headers = {"Idempotency-Key": key} if key is not None else {}
        body = json.dumps({"order_id": order, "amount": amount}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/refunds", body, headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as said:
                return said.status, json.load(said)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, None

    def wait_arrived(self, order: str) -> None:
        """Wait until the service has begun with a request."""
        until = time.monotonic() + 15
        while f'"order": "{order}"' not in self.ledger.read_text():
            assert time.monotonic() < until, "the request does not arrive"
            time.sleep(0.005)

    def paid(self) -> int:
        return self.ledger.read_text().count('"kind": "paid"')


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    one = Service(tmp_path / "ledger.jsonl")
    yield one
    one.kill()


def test_same_key_same_body_is_paid_once(service: Service) -> None:
    order = order_of("prompt")
    assert service.refund(order) == service.refund(order)
    assert service.paid() == 1


def test_keys_that_cannot_be_honoured(service: Service) -> None:
    order = order_of("prompt")
    assert service.refund(order, None)[0] == service.refund(order, "bare")[0] == 400
    assert service.refund(order)[0] == 200
    assert service.refund(order, amount=200)[0] == 422


def test_a_request_in_flight_is_a_conflict(service: Service) -> None:
    order = order_of("slow", 1.45)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(service.refund, order)
        service.wait_arrived(order)
        assert service.refund(order)[0] == 409
        assert first.result()[0] == 200


@pytest.mark.parametrize(("kind", "first"), [("drops", 0), ("fails", 500), ("busy", 429)])
def test_a_second_attempt_settles_it(service: Service, kind: str, first: int) -> None:
    order = order_of(kind)
    assert service.refund(order)[0] == first
    assert service.refund(order)[0] == 200
    assert service.paid() == 1


def test_a_killed_service_goes_on_from_its_ledger(service: Service) -> None:
    order = order_of("prompt")
    before = service.refund(order)
    service.kill()
    with service.ledger.open("ab") as ledger:
        ledger.write(b'{"kind": "pa')
    service.start()
    assert service.refund(order) == before
    assert service.paid() == 1


def test_without_deduplication_every_request_pays(tmp_path: Path) -> None:
    service = Service(tmp_path / "ledger.jsonl", "--dedup-off")
    try:
        service.refund(order_of("prompt"))
        service.refund(order_of("prompt"))
        assert service.paid() == 2
    finally:
        service.kill()
