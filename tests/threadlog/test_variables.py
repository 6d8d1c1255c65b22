# SPDX-License-Identifier: Apache-2.0
"""The variables and the history of a thread: what is kept from run to run, and what cannot be."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.threadlog.desk import desk, look, pay
from threadlog import Event, LimitError, Thread, gather
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.state import dump

LARGE = "x" * 40_000  # vars_bytes are 32 KiB


@pytest.mark.parametrize("cache_runs", [0, 10])
def test_variables_over_their_limit_are_an_error_that_can_be_caught(cache_runs: int) -> None:
    """At the await before which they would be saved; who makes them smaller goes on."""

    async def handler(thread: Thread, event: Event) -> None:
        receipt = await pay(1)
        thread.vars["x"] = LARGE
        try:
            await look("x")
        except LimitError as error:
            thread.vars["x"] = receipt
            await thread.reply(error.limit)
        await look("y")

    thread = desk(handler, cache_runs)
    thread.send()
    thread.answer("r")
    thread.answer()
    assert (thread.replies(), thread.ends(), thread.parked()) == (["vars_bytes"], ["finished"], [])
    assert thread.state.small["vars"] == {"x": "r"}
    assert [call["tool"] for call in thread.effects("call")] == ["pay", "look"]


@pytest.mark.parametrize("where", ["await", "end", "branch"])
def test_variables_over_their_limit_park_a_run_that_does_not_catch_it(where: str) -> None:
    """It is not ended as failed: nothing of the delivery is carried out, and other code can go on from there."""
    broken = [True]

    async def spoil(thread: Thread) -> None:
        thread.vars["x"] = LARGE if broken else "small"

    async def handler(thread: Thread, event: Event) -> None:
        await pay(1)
        await thread.reply("paid")
        if where == "branch":  # it ends without another await while the other branch waits
            await gather(look("x"), spoil(thread))
        await spoil(thread)
        if where == "await":
            await look("x")

    thread = desk(handler)
    thread.send()
    thread.answer()
    assert (thread.parked(), thread.ends(), thread.replies()) == (["LimitError"], [], [])
    broken.clear()
    thread.command("retry")
    while thread.calls():
        thread.answer()
    assert (thread.replies(), thread.ends(), thread.state.small["vars"]) == (["paid"], ["finished"], {"x": "small"})


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, {3: 4}])
def test_variables_that_are_no_plain_json_are_an_error_that_can_be_caught(value: Any) -> None:
    """They would come back as something else."""

    async def handler(thread: Thread, event: Event) -> None:
        thread.vars["x"] = value
        try:
            await look("x")
        except ValueError:
            del thread.vars["x"]
            await thread.reply("caught")

    thread = desk(handler)
    thread.send()
    assert (thread.replies(), thread.ends()) == (["caught"], ["finished"])


@pytest.mark.parametrize("name", ["vars", "id", "run_id", "open_effects"])
def test_variables_and_names_of_a_thread_cannot_be_replaced(name: str) -> None:
    """`thread.vars = {...}` would be kept nowhere; the handler hears of it at once."""

    async def handler(thread: Thread, event: Event) -> None:
        setattr(thread, name, {})

    thread = desk(handler)
    thread.send()
    assert thread.effects("end_run")[0]["error"]["type"] == "AttributeError"


def test_variables_that_differ_on_re_execution_park_the_run() -> None:
    """A variable from chance is as bad as a request from chance."""
    count = itertools.count()

    async def handler(thread: Thread, event: Event) -> None:
        thread.vars["x"] = next(count)
        await look("x")

    thread = desk(handler)
    thread.send()
    thread.answer()
    assert thread.parked() == ["NondeterminismError"]
    assert "its variables" in thread.effects("park_run")[0]["error"]["message"]


@pytest.mark.parametrize("cache_runs", [0, 10])
def test_variables_of_a_run_that_fails_later_are_kept_as_they_were_saved(cache_runs: int) -> None:
    """Every wait saves; what the failing step changed is dropped, and a deleted variable is gone."""

    async def handler(thread: Thread, event: Event) -> None:
        thread.vars.pop("a", None)
        thread.vars["n"] = event["n"]
        await look("x")
        thread.vars["a"] = thread.vars["n"] = 99
        if event["n"] == 2:
            raise ValueError

    thread = desk(handler, cache_runs)
    for n in (1, 2):
        thread.send(n=n)
        thread.answer()
    assert (thread.ends(), thread.state.small["vars"]) == (["finished", "failed"], {"n": 2})
    assert dump(thread.rebuilt()) == dump(thread.state)


def test_history_is_trimmed_between_runs_and_no_further() -> None:
    """What is past the limit leaves the state; a run looks back on what is left."""

    async def handler(thread: Thread, event: Event) -> None:
        await thread.reply(str(len(thread.history(99))))

    thread = desk(handler, limits=Limits(history_entries_max=5))
    for _ in range(5):
        thread.send()
    assert thread.replies() == ["0", "2", "4", "5", "5"]
    assert sorted(dict(thread.state.maps.items("history"))) == ["5", "6", "7", "8", "9"]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


@pytest.mark.parametrize("cache_runs", [0, 10])
@pytest.mark.parametrize(
    "value", [10**5_000, {10**5_000: 1}, {Unprintable(): 1}, {(10**5_000,): 1}, Unprintable()], ids=type
)
def test_variables_that_cannot_even_be_told_of_end_the_run(value: Any, cache_runs: int) -> None:
    """To write such a value down is an error of its own. The handler ends without another `await`, so nothing tells it;
    its run has failed, and the next message begins another."""

    async def odd(thread: Thread, event: Event) -> None:
        if event["n"]:
            thread.vars["odd"] = value

    thread = desk(odd)
    thread.cache = LiveRuns(cache_runs)
    thread.send(n=1)
    thread.send(n=0)
    assert thread.ends() == ["failed", "finished"]


def test_error_whose_text_is_hostile_is_described() -> None:
    """A string of a class of its own, which does not let itself be encoded."""

    class Text(str):
        def encode(self, *given: Any) -> bytes:
            raise SystemExit

    class Odd(Exception):
        def __str__(self) -> str:
            return Text("odd")

    async def failing(thread: Thread, event: Event) -> None:
        raise Odd

    thread = desk(failing)
    thread.send()
    assert thread.effects("end_run")[0]["error"] == {"type": "Odd", "message": "odd"}
