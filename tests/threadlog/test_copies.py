# SPDX-License-Identifier: Apache-2.0
"""What a handler gives or gets is a copy: what it changes afterwards changes nothing that was said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.threadlog.desk import desk, look, pay
from threadlog import Event, Thread
from threadlog.requests import Call
from threadlog.state import dump


async def counting(thread: Thread, event: Event) -> None:
    said: dict[str, Any] = {"n": 1}
    await thread.reply("a", said)
    said["n"] = 2
    await thread.spawn("other", "t.Go", said)
    said["n"] = 3
    await look("x")
    said["n"] = 4
    await thread.reply("b", said)
    said["n"] = 5


@pytest.mark.parametrize("cache_runs", [0, 10])
def test_copy_of_what_is_said_is_taken_when_it_is_said(cache_runs: int) -> None:
    """One object used for three messages is three messages, and `apply` is `step`."""
    thread = desk(counting, cache_runs)
    thread.send()
    thread.answer()
    assert [effect["data"] for effect in thread.effects("reply")] == ['{"n":1}', '{"n":4}']
    assert [effect["data"] for effect in thread.effects("signal")] == ['{"data":{"n":2},"type":"t.Go"}']
    assert dump(thread.rebuilt()) == dump(thread.state)


def set_object(said: list[Any]) -> None:
    said.append(object())


def set_cycle(said: list[Any]) -> None:
    said.append(said)


def set_nan(said: list[Any]) -> None:
    said.append(float("nan"))


def set_megabytes(said: list[Any]) -> None:
    said.append("x" * 5_000_000)


@pytest.mark.parametrize("change", [set_object, set_cycle, set_nan, set_megabytes])
@pytest.mark.parametrize("cache_runs", [0, 10])
def test_copy_is_out_of_reach_of_what_comes_after(change: Any, cache_runs: int) -> None:
    """Nothing that the handler does to its object later is written, refused or even looked at."""

    async def handler(thread: Thread, event: Event) -> None:
        said: list[Any] = []
        await thread.reply("a", said)
        change(said)
        await look("x")
        change(said)

    thread = desk(handler, cache_runs)
    thread.send()
    thread.answer()
    assert [effect["data"] for effect in thread.effects("reply")] == ["[]"]
    assert (thread.ends(), thread.parked()) == (["finished"], [])


def test_copy_of_arguments_is_what_the_key_stands_for() -> None:
    """A request that is changed between its making and its ask is asked as it is at that moment, digest and all."""

    async def handler(thread: Thread, event: Event) -> None:
        call: Call[Any] = Call("look", "read", {"what": "a"})
        call.args["what"] = ["b", ("c",)]
        await call

    thread = desk(handler)
    thread.send()
    [ask] = thread.calls()
    assert ask["args"] == '{"what":["b",["c"]]}'
    assert dump(thread.rebuilt()) == dump(thread.state)


@pytest.mark.parametrize("cache_runs", [0, 10])
def test_copy_of_event_and_history_is_the_handlers_own(cache_runs: int) -> None:
    """A handler that spoils what it was shown spoils it for nobody."""

    async def handler(thread: Thread, event: Event) -> None:
        event.data["list"].append("spoilt")
        for item in thread.history():
            item["text"] = "spoilt"
        thread.open_effects.append({})
        value = await pay(1)
        value.append("spoilt")
        await look("x")
        await thread.reply(f"{event['list']} {[item.get('text') for item in thread.history()]} {value}")

    thread = desk(handler, cache_runs)
    for _ in range(2):
        thread.send(list=["fresh"])
        thread.answer(["fresh"])
        thread.answer()
    said = "['fresh', 'spoilt'] {} ['fresh', 'spoilt']"
    assert thread.replies() == [said.format([]), said.format([None, said.format([])])]
    assert dump(thread.rebuilt()) == dump(thread.state)
