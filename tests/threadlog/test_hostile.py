# SPDX-License-Identifier: Apache-2.0
"""Whatever user code does, `step` returns: an exception would make the job restart into the same record for ever."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from schemas.codec import Codec, FixedSchemas
from tests.threadlog.desk import app_of, desk, look
from threadlog import App, AppError, CallRejected, Event, Thread, ToolCall
from threadlog.calls import call_key
from threadlog.requests import Call, Reply
from udfs.outputs import Outputs

Body = Callable[[Thread], Awaitable[Any]]


def ends_of(body: Body) -> list[dict[str, Any]]:
    """How a run ends whose handler does this, after the operator behind the engine has written its decision."""

    async def handler(thread: Thread, event: Event) -> None:
        await body(thread)

    thread = desk(handler)
    Outputs(Codec(FixedSchemas()), "test").of_decision(thread.send(), None)
    return thread.effects("end_run")


class Falsy(Exception):
    def __len__(self) -> int:
        return 0


class NoTruth(Exception):
    def __bool__(self) -> bool:
        raise ValueError("neither")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


def raising(error: BaseException) -> Body:
    async def body(thread: Thread) -> None:
        raise error

    return body


ERRORS = [Falsy(), NoTruth(), Unspeakable(), MemoryError(), SystemExit(1), GeneratorExit(), RecursionError("deep")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_hostile_exception_fails_its_run(error: BaseException) -> None:
    """Whatever its dunder methods do, and whatever it is about, an exception is the end of one run."""
    [end] = ends_of(raising(error))
    assert (end["status"], end["error"]["type"]) == ("failed", type(error).__name__)


class Sly(Reply):
    """A request of no kind that the engine knows."""


REQUESTS: dict[str, tuple[Body, str]] = {
    "reply a number": (lambda thread: thread.reply(5), "TypeError"),  # type: ignore[arg-type]
    "spawn on a number": (lambda thread: thread.spawn(5, "t.Go", {}), "TypeError"),  # type: ignore[arg-type]
    "spawn on no thread": (lambda thread: thread.spawn("a\0b", "t.Go", {}), "ValueError"),
    "spawn on a long thread": (lambda thread: thread.spawn("é" * 300, "t.Go", {}), "ValueError"),
    "spawn a list": (lambda thread: thread.spawn("x", "t.Go", [1]), "TypeError"),  # type: ignore[arg-type]
    "a tool of no app": (lambda thread: Call("foreign", "read", {}), "CallRejected"),
    "an effect as a read": (lambda thread: Call("pay", "read", {"amount": 1}), "CallRejected"),
    "arguments in a list": (lambda thread: Call("look", "read", []), "TypeError"),  # type: ignore[arg-type]
    "a kind of its own": (lambda thread: Sly("x"), "ForeignAwait"),
    "a type nobody awaits": (lambda thread: thread.wait_for("t.Unlisted"), "ValueError"),
    "a sleep of true": (lambda thread: thread.wait_for("t.More", timeout_s=True), "NotPlain"),
    "an event loop": (lambda thread: asyncio.sleep(1), "ForeignAwait"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_hostile_request_is_an_error_at_its_await(name: str) -> None:
    """What nobody could write down is refused where it is asked for; here the handler does not catch it."""
    body, error = REQUESTS[name]
    [end] = ends_of(body)
    assert (end["status"], end["error"]["type"]) == ("failed", error)


def test_hostile_request_can_be_caught() -> None:
    """A tool that the app does not have is a call that was never tried; the run goes on."""

    async def careful(thread: Thread, event: Event) -> None:
        try:
            await Call("foreign", "keyed", {})
        except CallRejected as error:
            await thread.reply(str(error))

    thread = desk(careful)
    thread.send()
    assert thread.replies() == ["foreign: the app has no tool 'foreign' of this effect"]
    assert thread.effects("call") == []


@dataclass
class Bomb:
    n: int

    def __post_init__(self) -> None:
        raise SystemExit(1)


def test_hostile_return_type_is_heard_by_the_handler() -> None:
    """A type that ends the process while a result is converted ends nothing but its run."""
    app = App("test")

    @app.tool(effect="read")
    async def bomb(call: ToolCall) -> Bomb: ...

    async def handler(thread: Thread, event: Event) -> None:
        await bomb()

    thread = desk(handler)
    thread.app.tools["bomb"] = app.tools["bomb"]
    thread.send()
    thread.answer({"n": 1})
    assert thread.effects("end_run")[0]["error"]["type"] == "SystemExit"


def test_hostile_tenant_costs_its_call_the_quota_of_its_own() -> None:
    """A tenant function that ends the process is a tenant function that fails."""

    def tenant(args: dict[str, Any]) -> str:
        raise SystemExit(1)

    async def handler(thread: Thread, event: Event) -> None:
        await look("x")

    thread = desk(handler)
    thread.app.tools["look"] = dataclasses.replace(thread.app.tools["look"], tenant=tenant)
    thread.send()
    assert [call["quota_key"] for call in thread.calls()] == ["look"]


def test_hostile_decorator_fails_the_run() -> None:
    """A handler that is no coroutine after all, or raises when it is called, is an error inside its run."""

    async def handler(thread: Thread, event: Event) -> None: ...

    @functools.wraps(handler)
    def decorated(thread: Thread, event: Event) -> Any:
        raise KeyError("called")

    thread = desk(handler)
    thread.app.newest["t.Go"] = agent = dataclasses.replace(thread.app.newest["t.Go"], handler=decorated)
    thread.app.agents["go", 1] = agent
    thread.send()
    assert thread.effects("end_run")[0]["error"] == {"type": "KeyError", "message": "'called'"}


async def too_few(thread: Thread) -> None: ...


async def too_many(thread: Thread, event: Event, more: int) -> None: ...


@pytest.mark.parametrize("handler", [too_few, too_many])
def test_app_refuses_a_handler_that_does_not_take_thread_and_event(handler: Any) -> None:
    """The mistake is told when the app is loaded, not at the first message."""
    with pytest.raises(AppError, match="must take a thread and an event"):
        app_of(handler)


@pytest.mark.parametrize("awaits", ["t.More", ("t.More", 5), ("",)])
def test_app_refuses_awaits_that_are_no_types(awaits: Any) -> None:
    """A string would be read as its letters."""

    async def handler(thread: Thread, event: Event) -> None: ...

    with pytest.raises(AppError, match="is no tuple of types"):
        App("test").agent(on="t.Go", awaits=awaits)(handler)


def test_error_in_the_journal_names_no_address() -> None:
    """Where an object lay in memory differs from process to process; the entry's hash must not."""
    [end] = ends_of(raising(KeyError(object())))
    assert end["error"]["message"] == "<object object at 0x…>"


def junk(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "id": "1", "source": "/s", "type": "t.Go", "data": {}, **fields}


KEY = call_key("t", "r", "0", "look", "d")
RESULT = {"thread": "t", "run_id": "r", "ordinal": "0", "tool": "look", "args_digest": "d", "call_id": KEY}
JUNK = {
    "result without fields": (junk("result", data={}), "forged"),
    "result that is a list": (junk("result", data=[1]), "forged"),
    "result without a status": (junk("result", data=RESULT), "forged"),
    "result with a number for a key": (junk("result", data={**RESULT, "status": "done", "call_id": [5]}), "forged"),
    "command that is a list": (junk("event", type="threadlog.RunCommand", data=[1]), "refused"),
    "signal that is a list": (junk("event", type="threadlog.Signal", data=[1]), "refused"),
    "event that is a list": (junk("event", data=[1]), "refused"),
    "event with a surrogate": (junk("event", data={"x": "\ud800"}), "unreadable"),
    "event with a surrogate for an id": (junk("event", id="\ud800"), "unreadable"),
    "event with an object": (junk("event", data={"x": object()}), "unreadable"),
    "result with a surrogate": (junk("result", data={**RESULT, "status": "\ud800"}), "forged"),
}


@pytest.mark.parametrize("name", JUNK)
def test_hostile_input_is_a_verdict(name: str) -> None:
    """Whatever reaches the engine takes its place in the journal, and the thread goes on."""

    async def handler(thread: Thread, event: Event) -> None:
        await thread.reply("well")

    fields, verdict = JUNK[name]
    kind = fields.pop("kind")
    thread = desk(handler)
    thread.take(thread.input(kind, "tool-results" if kind == "result" else "agent-events", value=b"v", **fields))
    thread.send(id="good")
    assert thread.verdicts() == [verdict, "began"]
    assert thread.replies() == ["well"]
