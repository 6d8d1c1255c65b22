# SPDX-License-Identifier: Apache-2.0
"""What a round must have written besides its journal: counted from the entries as the operator writes it."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain, count
from types import SimpleNamespace
from typing import Any

import pytest

from bench.app import app
from bench.customer import BEGAN_MS
from bench.feed import Committed
from bench.mix import Encoder, plan
from bench.outputs import TOPICS, amiss, asked
from bench.replay import schemas
from bench.rounds import read_entries
from schemas.codec import Codec
from tests.udfs.keyed import Keyed
from udfs import thread_function
from wire.frames import OutRecord, Record, pack_in


def entry(*effects: dict[str, Any], kind: str = "event") -> Any:
    return SimpleNamespace(kind=kind, effects=json.dumps(effects))


READ, EFFECT, REPLY, LETTER = (
    {"do": "call", "effect": "read"}, {"do": "call", "effect": "keyed"}, {"do": "reply"}, {"do": "dead_letter"},
)  # fmt: skip


def test_asked_counts_the_records_of_every_effect() -> None:
    """Timers are set without a record, and the letter of a timer holds none."""
    entries = [
        entry(READ, READ, {"do": "set_timer"}), entry(EFFECT, REPLY, kind="result"), entry({"do": "signal"}),
        entry(LETTER), entry(LETTER, REPLY, kind="timer"), entry(),
    ]  # fmt: skip
    assert asked(entries) == {
        "tool-reads": 2, "tool-invocations": 1, "agent-replies": 2, "agent-signals": 1, "dead-letters": 1,
    }  # fmt: skip


WANTED = Counter({"tool-reads": 2, "tool-invocations": 1, "agent-replies": 2})


def test_amiss_is_nothing_where_all_came() -> None:
    """Reads may come again, for they are at least once."""
    assert amiss(WANTED, WANTED) == amiss(WANTED, WANTED + Counter({"tool-reads": 3})) == ""


@pytest.mark.parametrize(
    ("more", "fewer", "said"),
    [
        ({}, {"tool-invocations": 1}, "tool-invocations has 0 records of 1"),
        ({}, {"tool-reads": 1}, "tool-reads has 1 records of 2"),
        ({"agent-replies": 1}, {}, "agent-replies has 3 records of 2"),
        (
            {"dead-letters": 1},
            {"agent-replies": 2},
            "agent-replies has 0 records of 2; dead-letters has 1 records of 0",
        ),
    ],
)
def test_amiss_tells_of_each_topic_that_is_not_as_asked(more: dict[str, int], fewer: dict[str, int], said: str) -> None:
    """A job that writes less would be faster."""
    assert amiss(WANTED, WANTED + Counter(more) - Counter(fewer)) == said


def test_asked_is_what_the_operator_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the mix: the records of the operator itself, topic by topic."""
    monkeypatch.setattr(thread_function.AppCode, "load", lambda code: app)
    found, offsets, written = schemas(), count(), list[OutRecord]()
    encoder = Encoder(Codec(found), found.ids, BEGAN_MS)
    flink = Keyed(thread_function.ThreadFunction("app:app", "0" * 64, "ns", found), BEGAN_MS)
    monkeypatch.setattr(thread_function, "now_ms", lambda: flink.now_ms)
    flink.open()
    for phase in plan(1, "round", 60, 8):
        for topic, key, value, headers in encoder.records(phase):
            frame = pack_in(Record(f"ns.{topic}", 0, next(offsets), flink.now_ms, key, value, headers))
            written += chain(*flink.give(key.decode(), frame))
        written += chain(*flink.fire(flink.now_ms + 1_000))
    journal = [Committed(0, 0, 0, one.value or b"", 0) for one in written if one.topic == "ns.agent-decisions"]
    others = Counter(one.topic.removeprefix("ns.") for one in written if one.topic != "ns.agent-decisions")
    assert asked(read_entries(Codec(found), journal)) == others
    assert others.keys() == set(TOPICS) - {"agent-signals"}  # nothing in the mix gives any
