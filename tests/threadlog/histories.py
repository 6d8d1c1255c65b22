# SPDX-License-Identifier: Apache-2.0
"""Histories of a thread as numbers: the same numbers always give the same inputs, so one history can be played with the
cache off, on, or emptied at every step.

They hold messages that wait, resends, answers in any order, refusals, forged results, poison, timers early and late,
commands, new code, a clock that goes back, and runs that end at once, fail, or say more than a record can hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tests.threadlog.desk import Desk, desk, look, pay
from threadlog import CallError, Event, LimitError, Thread, WaitTimeout, gather, sleep
from threadlog.canonical import text
from threadlog.inputs import timer
from threadlog.limits import Limits

History = list[tuple[int, int]]  # (move, a number that it may use)
MOVES, NUMBERS = 20, 6
MODES = ("enqueue", "reject", "interrupt")
LIMITS = Limits(
    chain_runs_max=2, snapshot_every_entries=4, queue_events_max=3, buffered_events_max=2, call_asks_max=2,
    entry_bytes=20_000, snapshot_bytes=16_000, history_entries_max=8, vars_bytes=400, doubts_max=1,
)  # fmt: skip


async def busy(thread: Thread, event: Event) -> None:
    """Uses every kind of request, and draws, variables, history."""

    async def branch(n: int) -> Any:
        value = await look("b")
        thread.vars.setdefault(f"b{n}", []).append(event.get("n", 0))
        del thread.vars[f"b{n}"][:-2]
        return value

    n = event.get("n", 0)
    try:
        found = await gather(branch(0), branch(1), pay(n))
        await thread.reply(f"{found} {thread.random():.6f}", {"history": len(thread.history())})
        if n % 2:
            await sleep(n)
        if n % 3 == 0:
            await thread.spawn("other", "t.Go", {"n": n})
            await thread.reply((await thread.wait_for("t.More", timeout_s=3)).id)
        if n == 4:
            for _ in range(10):
                await thread.reply("w" * 1_500)
    except (CallError, WaitTimeout, LimitError) as error:
        await thread.reply(f"{type(error).__name__} {len(thread.open_effects)}")
        if n == 5:
            raise


async def quick(thread: Thread, event: Event) -> None:
    """Ends at once."""
    await thread.reply(f"quick {event.get('n')} {thread.open_effects}"[:300])


def record(thread: Desk, kind: str, topic: str, **fields: Any) -> None:
    thread.take(thread.input(kind, topic, value=b"v", **fields))


def signal(thread: Desk, n: int) -> None:
    data = {"name": "spawn", "from_thread": "p", "data": text({"type": "t.Quick", "data": {"n": n}})}
    record(thread, "event", "agent-signals", source="/c", id=f"s{n}", type="threadlog.Signal", data=data)


def fire(thread: Desk, early: int) -> None:
    timers = sorted((due, id) for id, due in thread.state.small["timers"].items())
    if timers and early:
        thread.take(timer(thread.name, timers[0][1], timers[0][0] - early, thread.now))
    elif timers:
        thread.fire()


def answer(thread: Desk, n: int, status: str = "done", **changed: Any) -> None:
    if calls := thread.calls():
        thread.answer("v" * n * 700, index=n % len(calls), status=status, **changed)


def answer_again(thread: Desk, n: int) -> None:
    asked = thread.effects("call")
    if asked:
        thread.take(thread.result(asked[n % len(asked)], n))


def other_partition(thread: Desk, n: int) -> None:
    input = thread.input("event", "agent-events/1", source="/s", id=f"p{n}", type="t.Quick", data={"n": n}, value=b"v")
    thread.take(replace(input, topic="agent-events", partition=1))


def clock_back(thread: Desk, n: int) -> None:
    thread.now -= n * 1_000


def new_code(thread: Desk, n: int) -> None:
    version = max(v for name, v in thread.app.agents if name == "go") + 1
    if version < 4:
        thread.app.agent(on="t.Go", name="go", version=version, awaits=("t.More",))(busy)


STATUSES = ("failed", "in_doubt", "refused", "rejected", "done", "done")
_ACTIONS: list[Callable[[Desk, int], Any]] = [
    lambda thread, n: thread.send(n=n),
    lambda thread, n: thread.send(n=n),
    lambda thread, n: thread.send("t.Quick", n=n),
    lambda thread, n: thread.send("t.More", id=f"more{n}"),
    lambda thread, n: thread.send(id="same", n=n),
    lambda thread, n: fire(thread, 0),
    lambda thread, n: fire(thread, n % 2),
    answer,
    answer,
    answer,
    lambda thread, n: answer(thread, n, STATUSES[n]),
    lambda thread, n: answer(thread, n, args_digest="0" * 32),
    answer_again,
    lambda thread, n: thread.command("retry"),
    lambda thread, n: thread.command("abandon"),
    lambda thread, n: record(thread, "poison", "tool-results", reason="?"),
    signal,
    other_partition,
    clock_back,
    new_code,
]


def play(history: History, mode: str, cache_runs: int = 0, evict: bool = False, name: str = "t") -> Desk:
    """The desk after a history."""
    thread = desk(busy, cache_runs, LIMITS, name, while_running=mode)
    thread.app.agent(on="t.Quick", name="quick")(quick)
    for move, n in history:
        if evict:
            thread.cache.clear()
        _ACTIONS[move](thread, n)
    thread.cache.clear()
    return thread


def some(count: int, length: int = 40) -> list[tuple[History, str]]:
    """The same histories every time, with a mode each."""
    draw = random.Random(1)
    return [
        ([(draw.randrange(MOVES), draw.randrange(NUMBERS)) for _ in range(length)], MODES[n % 3]) for n in range(count)
    ]
