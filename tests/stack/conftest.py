# SPDX-License-Identifier: Apache-2.0
"""One stack for the whole session, with the app under test, its service and a reader that follows everything.

Whatever happens, the stack is taken down by the pids it wrote; its logs are kept beside pytest's temporary files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import http
from ops.settings import Settings
from ops.stack import lifecycle
from ops.stack.layout import BUILD, PYTHON, ROOT, Layout
from tests.stack import chaos, laws
from tests.stack.console import Console
from tests.stack.follower import Follower
from tests.stack.world import World, fresh, wait_until

HERE = Path(__file__).parent
PORT_BASE = 22000
APP = "it_app"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the stack."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.stack)


@pytest.fixture(scope="session", autouse=True)
def polite() -> Iterator[None]:
    """A terminated session takes its stack down like an interrupted one."""
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's folder: state, ledger, logs, and the app's code, which is importable."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "app").mkdir()
    shutil.copy(HERE / "app.py", folder / "app" / f"{APP}.py")
    sys.path.insert(0, str(folder / "app"))
    return folder


@pytest.fixture(scope="session")
def service(folder: Path) -> Iterator[Path]:
    """The tool service; its ledger."""
    ledger, url = folder / "ledger.jsonl", f"http://127.0.0.1:{PORT_BASE}"
    command = [str(PYTHON), "-m", "tests.stack.service", "--port", str(PORT_BASE), "--ledger", str(ledger)]
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def answers() -> bool:
        assert process.poll() is None, (folder / "service.log").read_text()
        try:
            http.call(f"{url}/open/none", {}, timeout_s=1)
        except http.HttpError:
            return False
        return True

    try:
        wait_until("the tool service answers", answers, 30)
        yield ledger
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def stack(folder: Path, service: Path) -> Iterator[Settings]:
    """A started stack: both jobs run, with one TaskManager to spare."""
    if not (BUILD / "flink-lib" / "threadlog-connector.jar").exists():
        pytest.skip("needs the stack's programs: run `make setup`")
    os.environ["IT_SERVICE_URL"] = f"http://127.0.0.1:{PORT_BASE}"
    settings = Settings(state_dir=folder / "state", namespace="it", port_base=PORT_BASE, app=f"{APP}:app")
    began = time.monotonic()
    try:
        lifecycle.up(settings, print)
        print(f"stack up after {time.monotonic() - began:.1f} s")
        yield settings
    finally:
        shutil.copytree(Layout(settings.state_dir).logs, folder / "logs", dirs_exist_ok=True)
        lifecycle.down(settings, print, purge=True)


@pytest.fixture(scope="session")
def followed(stack: Settings, service: Path, folder: Path) -> Iterator[World]:
    """The world around the stack."""
    log = Follower(stack)
    yield World(stack, log, service, folder / "app" / f"{APP}.py")
    log.stop()


@pytest.fixture
def world(followed: World) -> Iterator[World]:
    """The world; after each test the laws are checked over everything that was ever sent and decided."""
    yield followed
    laws.check(followed)


@pytest.fixture
def console(world: World, tmp_path: Path) -> Console:
    """A shell, at which the runbook's commands are given."""
    return Console(world, tmp_path / "desk")


@pytest.fixture(scope="module")
def cleared(followed: World) -> Iterator[World]:
    """The stack without jobs; afterwards its own run again."""
    followed.wait_running()
    chaos.clear(followed)
    yield followed
    chaos.clear(followed)
    followed.cli("--namespace", followed.settings.namespace, "start")


@pytest.fixture
def empty(cleared: World) -> Iterator[World]:
    """A world in a new namespace, in which no job runs yet."""
    settings = chaos.settings_of(cleared, fresh("chaos"))
    lifecycle.ensure_wire(settings, print)
    log = Follower(settings)
    world = World(settings, log, cleared.ledger, cleared.app)
    try:
        yield world
    finally:
        chaos.Managers(world).send(signal.SIGCONT)
        log.stop()
        chaos.clear(world)
