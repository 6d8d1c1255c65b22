# SPDX-License-Identifier: Apache-2.0
"""Journals of several threads as topics, and all that an index of them holds."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from ops.index.refresh import Log, Progress, refresh
from ops.index.tables import PUBLIC
from schemas.codec import Codec, FixedSchemas
from tests.ops.fakes import FakeKafka, FakeTopic, objects, run
from tests.threadlog.desk import Desk, desk, look, pay
from tests.threadlog.histories import LIMITS, History, play
from threadlog import Event, Thread, gather
from threadlog.engine import apply
from threadlog.entry import Entry
from threadlog.state import new_state
from wire.frames import Record

NAMES = ("a", "b", "c")
TOPIC = "threadlog.agent-decisions"
CODEC = Codec(FixedSchemas())
Tables = dict[str, Any]


def journals(histories: Sequence[History], modes: Sequence[str]) -> list[list[Entry]]:
    """The journal of each thread."""
    return [play(h, mode, name=name).journal for name, h, mode in zip(NAMES, histories, modes, strict=False)]


def records(threads: Sequence[Sequence[Entry]], seed: int = 0) -> list[Record]:
    """Their entries in two partitions, the threads mixed as they come, each thread in its own order."""
    draw, kafka = random.Random(seed), FakeKafka()
    turns = [number for number, entries in enumerate(threads) for _ in entries]
    draw.shuffle(turns)
    left = [iter(entries) for entries in threads]
    for number in turns:
        kafka.add_entry(next(left[number]), partition=number % 2)
    return kafka.topics.get(TOPIC, [])


def bring(path: Path, log: Log, anew: bool = False, namespace: str = "threadlog") -> Progress:
    """A refresh."""
    return refresh(path, namespace, log, CODEC, anew)


def held(path: Path) -> Tables:
    """Every row of the index, whatever their order in the file."""
    with closing(sqlite3.connect(path)) as db:
        found: Tables = {table: sorted(db.execute(f"SELECT * FROM {table}"), key=repr) for table in PUBLIC}
        outlines = db.execute("SELECT thread, outline FROM outlines")
        return {**found, "outlines": sorted((name, _decoded(raw)) for name, raw in outlines)}


def _decoded(raw: bytes) -> str:
    whole = msgspec.json.decode(raw)
    ordered = {key: sorted(value) if key in ("sleeps", "tools") else value for key, value in whole.items()}
    return msgspec.json.encode(ordered, order="deterministic").decode()


def rows(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a query gives."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql, values).fetchall()


def built(path: Path, log: FakeTopic) -> Tables:
    """What an index that is made at once holds."""
    bring(path, log)
    return held(path)


async def teller(thread: Thread, event: Event) -> None:
    thread.vars["seen"] = event["n"]
    if event["n"] == 1:
        await thread.reply(f"paid {await pay(5)}")
    elif event["n"] == 2:
        await look("x")


TELLER = desk(teller).app


def thread(name: str, *numbers: int, park: bool = False, fail: bool = False) -> Desk:
    """A thread that was sent these."""
    made = desk(teller, name=name)
    for number in numbers:
        made.send(n=number)
    if park:
        made.app.agents.clear()
        made.answer(1)
    elif fail:
        made.answer(0, status="failed")
    return made


def names(*options: str) -> list[str]:
    return [line["thread"] for line in objects(run("threads", *options, "--json"))]


async def busy(thread: Thread, event: Event) -> None:
    await gather(look("a"), pay(event.get("n", 1)))
    await thread.wait_for("t.More", timeout_s=10)
    await thread.reply("done")


def busy_journal() -> list[Entry]:
    """One run that asks twice, waits for an event and replies; then one that is under way."""
    made = desk(busy, limits=LIMITS)
    made.send(n=1)
    made.answer("v")
    made.answer(7)
    made.send("t.More")
    made.send(n=2)
    return made.journal


def followed(entries: list[Entry]) -> Iterator[tuple[Entry, Any]]:
    """Each entry with the state after it."""
    state = new_state(entries[0].thread)
    for entry in entries:
        standing, state = apply(state, entry, LIMITS)
        assert standing == "applied"
        yield entry, state.small
