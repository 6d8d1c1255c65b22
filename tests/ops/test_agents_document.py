# SPDX-License-Identifier: Apache-2.0
"""docs/agents.md: its folder is an app, its commands print what it says, its reference is that of the code. And the
README's agent."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import re
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest

import ops.commands.register
import ops.sending
import threadlog
from examples.support_desk.app import app as support_desk
from examples.support_desk.traffic import MESSAGE
from ops.cli import main
from ops.sending import event_value, writer_of
from ops.stack.code import check, pack
from ops.stack.layout import ROOT, Layout
from schemas.cloudevents import write_headers
from schemas.codec import Codec, Schema
from tests.ops.fakes import FakeKafka, FakeProducer, run
from tests.runbook import Step, recipes
from tests.threadlog.desk import Desk
from threadlog import App
from threadlog.engine import follow, step
from threadlog.limits import Limits
from threadlog.state import State, new_state
from udfs.attempts import CallRun, Gate
from udfs.inputs import Inputs
from udfs.outputs import Outputs
from wire.frames import Record

TEXT, README = ((ROOT / name).read_text("utf-8") for name in ("docs/agents.md", "README.md"))
SCHEMAS = ROOT / "examples" / "support_desk" / "schemas"
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
STEPS = [one for blocks in recipes(TEXT).values() for block in blocks for one in block.steps]
STACK = ("export ", "threadlog up ")  # what nothing in memory stands for
OPTIONS = {"Reference: agents": App.agent, "Reference: tools": App.tool}


def now_ms() -> int:
    return int(time.time() * 1000)


async def blocking(function: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function)


@dataclass
class Jobs:
    """Both jobs over a broker in memory: each record is decided, each call runs as the tools job runs it."""

    kafka: FakeKafka
    app: App
    states: dict[str, State] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.codec = Codec(self.kafka.schemas)
        self.inputs, self.outputs = Inputs(self.codec, "threadlog"), Outputs(self.codec, "threadlog")

    def sent(self, thread: str, id: str) -> None:
        """An event lies in its topic."""
        self.take(thread, self.kafka.topics["threadlog.agent-events"][-1])

    def take(self, thread: str, record: Record) -> None:
        state = self.states.setdefault(thread, new_state(thread))
        decision = step(state, self.inputs.of_record(record, thread, now_ms()), self.app, Limits())
        assert decision is not None
        self.states[thread] = follow(state, decision)
        for lane in self.outputs.of_decision(decision, record):
            for out in lane:
                self.kafka.add(out.topic.removeprefix("threadlog."), out.key, out.value, headers=out.headers)
        for effect in decision.effects:
            if effect["do"] == "call":
                self.take(thread, self.called(effect))

    def called(self, ask: dict[str, Any]) -> Record:
        """The record of the call's result."""
        gate = Gate(None, now_ms, asyncio.sleep)
        result = asyncio.run(CallRun(self.app.tools[ask["tool"]], ask, gate, now_ms, asyncio.sleep, blocking).run())
        value = self.codec.encode("threadlog.ToolResult", result)
        headers = write_headers(
            id=ask["call_id"], source="/tools", type="threadlog.ToolResult", thread=ask["thread"], time_ms=now_ms(),
            value=value, traceparent=ask["traceparent"],
        )  # fmt: skip
        return self.kafka.add("tool-results", ask["thread"].encode(), value, headers=headers)


@pytest.fixture
def folder(kafka: FakeKafka, alone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The document's files in the current folder; what is imported of them is forgotten afterwards."""
    monkeypatch.syspath_prepend(alone)
    for name, text in {**FILES, "shop/__init__.py": ""}.items():
        (alone / name).parent.mkdir(exist_ok=True)
        (alone / name).write_text(text, "utf-8")
    monkeypatch.setenv("SHOP_BOOKS", str(alone / "books.sqlite"))
    yield alone
    for name in [name for name in sys.modules if name == "test_shop" or name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def test_agents_document_holds_a_folder() -> None:
    """An app, the schema of its events and a test; the empty file is only named."""
    assert list(FILES) == ["shop/order_placed.avsc", "shop/app.py", "test_shop.py"]
    assert "`shop/__init__.py` is empty" in TEXT


def test_agents_document_app_is_taken_by_submit(folder: Path) -> None:
    """By the same look at it, from the copy that is shipped."""
    packed, _ = pack(Layout(folder / "state"), "shop.app:app")
    assert check("shop.app:app", packed) == frozenset({"take_order/1"})


def test_agents_document_commands_print_what_it_says(
    folder: Path, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, each with the exit code 0; only the stack itself is not there."""
    jobs = Jobs(kafka, importlib.import_module("shop.app").app)
    monkeypatch.setattr(ops.commands.register, "Registry", lambda url: kafka.schemas)
    monkeypatch.setattr(ops.sending, "producer", lambda bootstrap, level: FakeProducer(kafka, answer=jobs.sent))
    monkeypatch.setattr(sys, "argv", ["threadlog"])
    tried = [one for one in STEPS if not one.command.startswith(STACK)]
    assert [one.command.split()[1] for one in tried] == ["register", "send", "show", "send", "send", "tail"]
    for one in tried:
        assert (one.command, differences(one)) == (one.command, [])


def differences(one: Step) -> list[str]:
    command, *words = shlex.split(one.command)
    assert command == "threadlog"
    told = run(*words)
    return one.differences(told.output, told.exit_code)


def test_agents_document_test_passes(folder: Path, request: pytest.FixtureRequest) -> None:
    """Each function of it, with the fixtures that it asks for."""
    module = importlib.import_module("test_shop")
    tests = [found for name, found in vars(module).items() if name.startswith("test_")]
    for function in tests:
        function(**{name: request.getfixturevalue(name) for name in inspect.signature(function).parameters})
    assert len(tests) == 2


def test_agents_document_names_all_of_the_api() -> None:
    """Each name that can be imported from threadlog, and each that a handler or a tool finds in what it is given."""
    given = [threadlog.Thread, threadlog.Event, threadlog.ToolCall, threadlog.CallError("", "", "", "")]
    members = {name for one in given for name in dir(one) if not name.startswith("_")}
    members -= {"add_note", "args", "with_traceback"}
    words = set(re.findall(r"\w+", TEXT))
    assert {*threadlog.__all__, *members} - words == set()


@pytest.mark.parametrize("heading", OPTIONS)
def test_agents_document_tells_every_option_with_its_default(heading: str) -> None:
    """The tables are the signatures."""
    table = re.search(r"^\| option .*?\n\n", TEXT.partition(f"## {heading}\n")[2], re.MULTILINE | re.DOTALL)
    assert table is not None
    told = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", table[0], re.MULTILINE))
    parameters = [one for name, one in inspect.signature(OPTIONS[heading]).parameters.items() if name != "self"]
    assert list(told) == [one.name for one in parameters]
    for one in parameters:
        assert told[one.name].strip() == shown(one), one.name


def shown(parameter: inspect.Parameter) -> str:
    """A default as the document has it; that of a name is the function's."""
    default = parameter.default
    if default is inspect.Parameter.empty:
        return ""
    if parameter.name == "name":
        return "the function's"
    kind = type(default)
    return f"`{kind.__name__}()`" if kind.__module__.startswith("threadlog") else f"`{default!r}`"


def test_agents_document_tells_the_defaults_of_quota_and_retry() -> None:
    """As they are written in a call."""
    for kind in (threadlog.Quota, threadlog.Retry):
        for name, one in inspect.signature(kind).parameters.items():
            assert f"`{name}={one.default!r}`" in TEXT


def test_agents_document_tells_limits_as_they_are() -> None:
    """Each number behind the name of a limit."""
    told = dict(re.findall(r"`(\w+)` ([\d,]*\d)", TEXT.partition("## Limits")[2].replace("\n", " ")))
    assert len(told) > 12
    assert {name: f"{getattr(Limits(), name):,}" for name in told} == told


def test_agents_document_names_commands_and_options_that_exist() -> None:
    """Also those that stand in its sentences."""
    commands = main.list_commands(click.Context(main))
    for line in re.findall(r"`threadlog ([^`]+)`", TEXT.replace("\n", " ")) + [
        one.command.removeprefix("threadlog ") for one in STEPS if one.command.startswith("threadlog ")
    ]:
        name = line.split()[0]
        assert name in commands
        command = main.get_command(click.Context(main), name)
        assert command is not None
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", line)) <= options, line


def test_readme_agent_runs_as_it_stands() -> None:
    """With its own imports, from the message to the reply."""
    [code] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec", dont_inherit=True), names)
    desk = Desk(names["app"])
    desk.send("threadlog.Message", text="o-1", data="{}")
    desk.answer(1_200)
    assert [(call["tool"], call["args"]) for call in desk.calls()] == [("refund", '{"amount":1200,"order_id":"o-1"}')]
    desk.answer({"id": "rf-1"})
    assert (desk.replies(), desk.ends()) == (["Refunded: rf-1"], ["finished"])


def test_readme_message_is_what_the_refund_desk_reads() -> None:
    """It has every field of the schema that is registered above it, and is answered without the payment service."""
    [data] = re.findall(r"--data '(.*)'$", README, re.MULTILINE)
    writer = writer_of(MESSAGE, Schema("AVRO", (SCHEMAS / "customer_message.avsc").read_text("utf-8")))
    assert event_value(MESSAGE, 1, "AVRO", writer, json.loads(data))
    desk = Desk(support_desk)
    desk.send(MESSAGE, **json.loads(data))
    assert desk.calls() == []
    desk.fire()
    assert desk.replies() == ["So far: 0 answers, 0.00 refunded."]
