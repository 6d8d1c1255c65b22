# SPDX-License-Identifier: Apache-2.0
"""The tool service's contract, against the real process, SIGKILL included, with a simulator that is easy to follow."""

from __future__ import annotations

import json
import os
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

from examples.yardstick import tasks
from examples.yardstick.ledger import Ledger, Watch

ROOT = Path(__file__).parents[2]
SIMULATOR = """
import datetime, random

class File:
    def __init__(self):
        self._last_modified, self.me = datetime.datetime.now(), self

class Purse:
    def _load_scenario(self, config, long_context=False):
        self.left, self._random, self.file = config["left"], random.Random(7), File()

    def pay(self, amount):
        if amount > self.left:
            raise ValueError("too much")
        self.left -= amount
        return {"left": self.left, "code": self._random.randint(0, 10**9)}
"""
BACKENDS = 'CLASS_FILE_PATH_MAPPING = {"Purse": "bfcl_eval.purse"}\nSTATELESS_CLASSES = []\n'
TASK = {"id": "t", "question": [[{"content": "Pay."}]], "initial_config": {"Purse": {"left": 100}}}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that is laid out as the leaderboard's is."""
    top = tmp_path_factory.mktemp("site") / "bfcl_eval"
    files = {
        "__init__.py": "",
        "purse.py": SIMULATOR,
        "constants/__init__.py": "",
        "constants/executable_backend_config.py": BACKENDS,
        str(tasks.TASKS): json.dumps({**TASK, "involved_classes": ["Purse"]}),
        str(tasks.TRUTH): json.dumps({"id": "t", "ground_truth": [["pay(amount=1)", "pay(2)"]]}),
    }
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


class Service:
    def __init__(self, package: Path, ledger: Path, *options: str) -> None:
        self.ledger, self.options = ledger, options
        self.environment = {**os.environ, "PYTHONPATH": f"{package.parent}:{ROOT}"}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "examples.yardstick.service",
            "--port",
            str(self.port),
            "--ledger",
            str(self.ledger),
        ]
        self.process = subprocess.Popen([*command, *self.options], cwd=ROOT, env=self.environment)
        until = time.monotonic() + 15
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the service did not start")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers or {})
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as said:
                return said.status, json.load(said)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def pay(self, amount: int = 1, key: str | None = '"k"', task: str = "t", thread: str = "a") -> tuple[int, Any]:
        body = {"task": task, "function": "pay", "args": [amount], "kwargs": {}}
        return self.ask(f"/threads/{thread}/calls", body, {"Idempotency-Key": key} if key is not None else {})

    def lines(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.ledger.read_text().splitlines()) if line["kind"] == kind]


@pytest.fixture
def service(package: Path, tmp_path: Path) -> Iterator[Service]:
    one = Service(package, tmp_path / "ledger.jsonl", "--delay-ms", "0", "0")
    yield one
    one.kill()


@pytest.fixture
def slow(package: Path, tmp_path: Path) -> Iterator[Service]:
    one = Service(package, tmp_path / "ledger.jsonl", "--delay-ms", "1500", "1500")
    yield one
    one.kill()


def test_yardstick_service_executes_a_key_once(service: Service) -> None:
    """Same key and body: the same answer, one effect."""
    assert service.pay() == service.pay()
    assert len(service.lines("effect")) == 1


def test_yardstick_service_refuses_what_it_cannot_honour(service: Service) -> None:
    """No key, a bare key, an unknown task: 400. A used key with another body: 422. None has an effect."""
    assert service.pay(key=None)[0] == service.pay(key="bare")[0] == service.pay(task="other")[0] == 400
    assert service.pay(1)[0] == 200
    assert service.pay(2)[0] == 422
    assert len(service.lines("effect")) == 1


def test_yardstick_service_holds_a_key_in_flight(slow: Service) -> None:
    """The key's second request is a conflict while the first is at work, and the ledger shows one unanswered."""
    watch = Watch(slow.ledger)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(slow.pay)
        while not slow.lines("arrived"):
            time.sleep(0.01)
        assert slow.pay()[0] == 409
        assert watch.unanswered() == 1
        assert first.result()[0] == 200
    assert watch.unanswered() == 0


def test_yardstick_service_killed_before_the_effect_executes_it_then(slow: Service) -> None:
    """A request that a SIGKILL cut off before its effect has none until it comes again."""
    with ThreadPoolExecutor() as pool:
        cut_off = pool.submit(slow.pay)
        while not slow.lines("arrived"):
            time.sleep(0.01)
        slow.kill()
        assert isinstance(cut_off.exception(), OSError)
    assert slow.lines("effect") == []
    slow.start()
    assert slow.pay()[0] == 200
    assert len(slow.lines("effect")) == 1


def test_yardstick_service_killed_after_the_effect_remembers_it(service: Service) -> None:
    """After a SIGKILL and a line cut short, state, chance and answers are those of before."""
    before, states = [service.pay(n, f'"k{n}"') for n in (1, 2)], service.ask("/states")
    service.kill()
    with service.ledger.open("ab") as ledger:
        ledger.write(b'{"kind": "eff')
    service.start()
    assert service.ask("/states") == states
    assert [service.pay(n, f'"k{n}"') for n in (1, 2)] == before
    assert len(service.lines("effect")) == 2
    assert service.pay(3, '"k3"')[1] != before[1][1]


def test_yardstick_service_refuses_a_ledger_it_cannot_repeat(service: Service) -> None:
    """A recorded output that the simulators do not give again keeps the service from starting."""
    service.pay()
    service.kill()
    lines = [json.loads(line) for line in service.ledger.read_text().splitlines()]
    changed = [{**line, "output": "?"} if line["kind"] == "effect" else line for line in lines]
    service.ledger.write_text("".join(json.dumps(line) + "\n" for line in changed))
    with pytest.raises(AssertionError):
        service.start()


def test_yardstick_service_has_simulators_per_thread(service: Service) -> None:
    """What one thread pays is not missing in another's purse."""
    assert service.pay(60)[1] == service.pay(60, '"other"', thread="b")[1]
    assert set(service.ask("/states")[1]) == {"a", "b"}


def test_yardstick_service_gives_an_error_as_an_output(service: Service) -> None:
    """What a simulator raises is what the model would be told."""
    assert service.pay(101) == (200, {"output": "Error during execution: too much"})


def test_yardstick_service_state_leaves_out_the_wall_clock_only(service: Service) -> None:
    """The time of writing is not in the state; a cycle is written as the place of its object."""
    service.pay()
    _, states = service.ask("/states")
    purse = states["a"]["dict"][0][1]["fields"]
    assert purse["file"] == {"class": "File", "fields": {"me": {"same as": "/Purse/file"}}}
    assert purse["left"] == 99


def test_yardstick_service_without_deduplication_pays_again(package: Path, tmp_path: Path) -> None:
    """The bargain's other half: without it, a repeated request is a second effect, before a SIGKILL and after."""
    service = Service(package, tmp_path / "ledger.jsonl", "--dedup-off", "--delay-ms", "0", "0")
    try:
        assert service.pay() != service.pay()
        service.kill()
        service.start()
        assert json.loads(service.pay()[1]["output"])["left"] == 97
    finally:
        service.kill()


def test_yardstick_ledger_cuts_off_a_torn_line(tmp_path: Path) -> None:
    """A line without its end was never answered for."""
    path = tmp_path / "ledger.jsonl"
    Ledger(path).append("started")
    with path.open("ab") as file:
        file.write(b'{"kind":')
    assert [line["kind"] for line in Ledger(path).lines] == ["started"]
    assert path.read_bytes().endswith(b"\n")
