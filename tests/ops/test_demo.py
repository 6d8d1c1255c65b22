# SPDX-License-Identifier: Apache-2.0
"""The demo runs on a stack of its own, removes no other, and tells what to try next."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ops.cli import main
from ops.commands import demo
from ops.demo import kills
from ops.http import HttpError
from ops.settings import Settings, remember, remember_app
from ops.stack import lifecycle, records
from ops.stack.layout import Layout


class Stack:
    """What the demo asks of the stack, and nothing done."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.did = folder, list[str]()
        self.settings: Settings | None = None
        self.code = 0
        monkeypatch.setattr(lifecycle, "up", self._up)
        monkeypatch.setattr(lifecycle, "down", self._down)
        monkeypatch.setattr(demo, "_traffic", self._step("traffic"))
        monkeypatch.setattr(demo, "_check", self._check)

    def _up(self, settings: Settings, say: Any) -> None:
        self.did.append("up")
        self.settings = settings
        remember(settings)

    def _down(self, settings: Settings, say: Any, purge: bool) -> lifecycle.Downed:
        self.did.append("purge" if purge else "down")
        (settings.state_dir / "settings.json").unlink()
        return lifecycle.Downed(was_running=True)

    def _step(self, name: str) -> Callable[..., None]:
        return lambda *_: self.did.append(name)

    def _check(self, ctx: Any, folder: Path) -> int:
        self.did.append("check")
        (folder / "table.json").write_text(json.dumps({"paid_twice": 0}))
        return self.code

    def demo(self, *options: str) -> Result:
        self.did.clear()
        return CliRunner().invoke(main, ["--state-dir", str(self.folder), "demo", *options])

    @property
    def before(self) -> Any:
        """The table that is shown beside."""
        path = self.folder / "demo" / "before.json"
        return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    return Stack(tmp_path / "state", monkeypatch)


def test_demo_ends_as_the_checker_does(stack: Stack) -> None:
    """Its exit code is the checker's, and what to try next is said either way."""
    stack.code = 1
    said = stack.demo()
    assert (said.exit_code, stack.did) == (1, ["up", "traffic", "check"])
    for words in ("show c1-00000", "tail agent-decisions", "demo --dedup-off", "down", "Flink's page"):
        assert words in said.output


def test_demo_runs_the_refund_desk_whatever_is_set(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker knows no other app, and its TaskManagers must know where the payment service is."""
    monkeypatch.setenv("THREADLOG_APP", "somebody.elses:app")
    monkeypatch.setenv("SUPPORT_DESK_PAYMENTS_URL", "http://127.0.0.1:1")
    assert stack.demo().exit_code == 0
    assert stack.settings is not None and stack.settings.app == demo.APP
    assert demo.os.environ["SUPPORT_DESK_PAYMENTS_URL"] == f"http://127.0.0.1:{stack.settings.port_base}"


@pytest.mark.parametrize("options", [(), ("--fresh",), ("--dedup-off",)])
def test_demo_leaves_a_stack_that_is_not_its_own(stack: Stack, options: tuple[str, ...]) -> None:
    """A stack of somebody else is neither used nor removed, and the way out is said."""
    remember(Settings(state_dir=stack.folder))
    said = stack.demo(*options)
    assert (said.exit_code, stack.did) == (1, [])
    assert "no demo's" in said.output and "--state-dir" in said.output


@pytest.mark.parametrize(
    ("work", "named"),
    [("remembered", "the app my.own:app"), ("submitted", "the app my.own:app"), ("stopped", "the namespace branch"),
     ("runs", "the namespace branch")],
)  # fmt: skip
def test_demo_leaves_what_was_done_with_its_stack_since(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, work: str, named: str
) -> None:
    """An app that was submitted there has its journal there, and so has a branch: neither goes with the next demo."""
    stack.demo()
    layout = Layout(stack.folder)
    match work:
        case "remembered":
            remember_app(stack.folder, "my.own:app")
        case "submitted":  # not remembered: it did not come to run
            records.write(layout, records.Record("tools", "a" * 32, "my.own:app", ""))
        case "stopped":
            records.write(Layout(stack.folder, "branch"), records.Record("tools", "a" * 32, demo.APP, ""))
        case "runs":
            monkeypatch.setattr(demo.Supervisor, "is_running", lambda self: True)
            monkeypatch.setattr(demo.flink, "namespaces", lambda settings: ["branch", "threadlog"])
    for options in (("--fresh",), ("--dedup-off",)):
        said = stack.demo(*options)
        assert (said.exit_code, stack.did) == (1, [])
        assert f"holds more than a demo, which would go with it: {named}." in said.output
        assert "--state-dir" in said.output and "down --purge" in said.output


def test_demo_replaces_one_that_runs(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own jobs are no more than a demo, nor is a JobManager that does not answer."""

    def down(settings: Settings) -> list[str]:
        raise HttpError("", 0, "no answer")

    stack.demo()
    monkeypatch.setattr(demo.Supervisor, "is_running", lambda self: True)
    records.write(Layout(stack.folder), records.Record("tools", "a" * 32, demo.APP, ""))
    for namespaces in (lambda settings: ["threadlog"], down):
        monkeypatch.setattr(demo.flink, "namespaces", namespaces)
        assert stack.demo("--fresh").exit_code == 0
        assert stack.did == ["purge", "up", "traffic", "check"]


def test_demo_starts_cold(stack: Stack) -> None:
    """After a demo a second one is refused, and with --fresh has its stack taken down and its data removed."""
    stack.demo()
    said = stack.demo()
    assert (said.exit_code, stack.did) == (1, [])
    assert "--fresh" in said.output
    assert stack.demo("--fresh").exit_code == 0
    assert stack.did == ["purge", "up", "traffic", "check"]
    assert stack.before is None  # two equal runs side by side would show nothing


def test_demo_that_could_not_start_makes_room(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that failed before there was a stack does not keep the next from starting."""
    failing = lifecycle.StackFailed("no.", "Try again.")
    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "up", lambda *_: (_ for _ in ()).throw(failing))
        assert stack.demo().exit_code == 1
    assert stack.demo("--fresh").exit_code == 0
    assert stack.did == ["up", "traffic", "check"]


def test_demo_without_deduplication_stands_beside_the_run_before(stack: Stack) -> None:
    """It replaces the demo before, with no more to say than --dedup-off, and shows that one's table beside its own."""
    options = ("--seed", "7", "--conversations", "20")
    assert "demo --dedup-off --conversations 20 --seed 7" in stack.demo(*options).output
    said = stack.demo("--dedup-off", *options)
    assert stack.did == ["purge", "up", "traffic", "check"]
    assert stack.before == {"paid_twice": 0}
    assert "the callee's part of the bargain" in said.output and "To see it beside" not in said.output


@pytest.mark.parametrize("other", [("--seed", "8"), ("--dedup-off", "--seed", "7")])
def test_demo_without_deduplication_stands_beside_its_like_only(stack: Stack, other: tuple[str, ...]) -> None:
    """Beside other customers, or another service without keys, it would say nothing; how to get both sides is said."""
    stack.demo(*other)
    said = stack.demo("--dedup-off", "--seed", "7")
    assert stack.before is None
    assert "To see it beside" in said.output and "demo --fresh --seed 7" in said.output


def test_demo_kills_again_what_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill that hit too few refunds does not count; both jobs are hit in turn, the payment service once."""
    unanswered = iter((3, 2, 4, 5))

    def kill_host(settings: Settings, kind: str, watch: Any) -> kills.Kill:
        return kills.Kill("taskmanager-1", kind, 0, next(unanswered), 1, 2, 3)

    monkeypatch.setattr(kills, "kill_host", kill_host)
    monkeypatch.setattr(kills, "kill_payments", lambda *_: kills.Kill("payments", "payments", 0, 3, 1, 2, 3))
    payments = demo.Payments(Settings(), tmp_path / "ledger.jsonl", 1, False)
    demo._kills(demo.Context(Settings()), tmp_path, payments, 3)
    noted = [json.loads(line) for line in (tmp_path / "kills.jsonl").read_text().splitlines()]
    assert [kill["job"] for kill in noted] == ["tools", "payments", "conversation", "conversation", "tools"]
    assert set(noted[0]) == {field.name for field in dataclasses.fields(kills.Kill)}
