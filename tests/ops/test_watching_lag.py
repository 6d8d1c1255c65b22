# SPDX-License-Identifier: Apache-2.0
"""A job that falls behind what retention leaves of its inputs is told of before and after it has lost any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ops.settings import Settings
from ops.watching import lag
from ops.watching.alarms import Wrong
from ops.watching.lag import AFTER_S, EVERY_S, Lag
from ops.watching.watch import Watch
from schemas.codec import Codec, FixedSchemas
from tests.ops.fakes import FakeKafka
from wire.frames import Record
from wire.inputs import Gap, Looked

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000
EVENTS = "threadlog.agent-events"


@dataclass
class Broker:
    """Each partition: what a job has committed, and the hours for which each record lies there, by offset."""

    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    records: dict[tuple[str, int], dict[int, float]] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    kept_ms: int = 100 * HOUR_MS
    gaps: list[Gap] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    asked: int = 0

    def bounds(self, place: tuple[str, int]) -> tuple[int, int]:
        end = self.ends.get(place, max(self.records[place], default=-1) + 1)
        return min(self.records[place], default=end), end

    def progress(self, bootstrap: str, group: str, topics: list[str]) -> dict[tuple[str, int], tuple[int, int, int]]:
        self.asked += 1
        assert group in ("threadlog.conversation", "threadlog.tools")
        return {of: (at, *self.bounds(of)) for of, at in self.committed.items() if of[0] in topics}

    def look(self, bootstrap: str, namespace: str, codec: Codec, job: str) -> Looked:
        self.looked.append(job)
        return Looked({}, self.gaps)

    def offsets_since(self, bootstrap: str, topic: str, time_ms: int) -> dict[int, int]:
        since = (NOW_MS - time_ms) / HOUR_MS
        return {
            p: next((o for o, hours in sorted(of.items()) if hours <= since), self.bounds((t, p))[1])
            for (t, p), of in self.records.items()
            if t == topic
        }

    def read_topic(self, bootstrap: str, topic: str, first: dict[int, int], partitions: Any) -> Iterator[Record]:
        for (t, p), of in self.records.items():
            for offset, hours in sorted(of.items()):
                if t == topic and p in partitions and offset >= first[p]:
                    yield Record(t, p, offset, int(NOW_MS - hours * HOUR_MS), b"t", b"v", [])


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    for name in ("progress", "look", "offsets_since", "read_topic"):
        monkeypatch.setattr(lag, name, getattr(made, name))
    monkeypatch.setattr(lag, "retentions", lambda bootstrap, names: dict.fromkeys(names, made.kept_ms))
    monkeypatch.setattr("ops.watching.lag.time.time", lambda: NOW_MS / 1000)
    return made


def wrong() -> list[Wrong]:
    return Lag(Settings(), Codec(FixedSchemas())).wrong(0)


def test_job_that_keeps_up_is_not_told_of(broker: Broker) -> None:
    """Whatever is old is handled, and what is not handled is young; nor is a partition that it has never read."""
    broker.records = {(EVENTS, 0): {5: 99, 6: 98, 7: 1}, (EVENTS, 1): {3: 99}, (EVENTS, 2): {0: 99}}
    broker.committed = {(EVENTS, 0): 7, (EVENTS, 1): 4, (EVENTS, 2): -1}
    assert wrong() == []


def test_job_whose_next_input_is_soon_deleted_is_told_of(broker: Broker) -> None:
    """Where less than a tenth of its time is left; the first to go is named, and all are listed."""
    broker.records = {(EVENTS, 0): {5: 99, 6: 90.5, 7: 1}, (EVENTS, 1): {3: 97}, (EVENTS, 2): {8: 89.5}}
    broker.committed = {(EVENTS, 0): 6, (EVENTS, 1): 3, (EVENTS, 2): 8}
    [told] = wrong()
    assert (told.kind, told.where, told.after_s) == ("retention", "conversation", AFTER_S)
    assert told.what == (
        "The conversation job has not handled agent-events 1/3 and those of 1 other partitions, which retention "
        "deletes in 3.0 h"
    )
    assert told.fields["places"] == [
        {"topic": "agent-events", "partition": 1, "offset": 3, "left_s": 3 * 3600},
        {"topic": "agent-events", "partition": 0, "offset": 6, "left_s": 9.5 * 3600},
    ]


def test_job_that_has_only_a_marker_before_it_keeps_up(broker: Broker) -> None:
    """Behind the last record of a transaction lies one, which no reader is given, however old it is."""
    signals = ("threadlog.agent-signals", 0)
    broker.records, broker.ends, broker.committed = {signals: {5: 99}}, {signals: 7}, {signals: 6}
    assert wrong() == []
    broker.records[signals][9], broker.ends = 1, {}  # what comes after it is young
    assert wrong() == []


def test_topic_that_is_kept_for_ever_deletes_nothing(broker: Broker) -> None:
    """However old it is what a job has not handled."""
    broker.records, broker.committed, broker.kept_ms = {(EVENTS, 0): {0: 999}}, {(EVENTS, 0): 0}, -1
    assert wrong() == []


def test_job_that_has_lost_inputs_is_told_of_while_it_runs(broker: Broker) -> None:
    """What it has not committed is gone: at once, unless the log says that it was handled or is given up."""
    broker.records, broker.committed = {(EVENTS, 0): {9: 1}}, {(EVENTS, 0): 5}
    assert (wrong(), broker.looked) == ([], ["conversation"])
    broker.gaps = [Gap("agent-events", 0, 5, 9)]
    [told] = wrong()
    assert (told.kind, told.where, told.after_s) == ("deleted", "conversation", 0)
    assert "conversation: 4 input offsets were deleted before they were handled: agent-events" in told.what
    assert "--accept-lost-inputs" in told.do


def test_lag_asks_the_log_only_about_what_is_new(broker: Broker) -> None:
    """To look for what was handled reads the journal; and nothing is asked more often than it can change."""
    broker.records, broker.committed = {(EVENTS, 0): {9: 1}}, {(EVENTS, 0): 5}
    broker.gaps = [Gap("agent-events", 0, 5, 9)]
    made = Lag(Settings(), Codec(FixedSchemas()))
    told = [[one.kind for one in made.wrong(now)] for now in (0, EVERY_S - 1, EVERY_S, 2 * EVERY_S)]
    assert (told, broker.asked, broker.looked) == ([["deleted"]] * 4, 3 * 2, ["conversation"])
    broker.records[EVENTS, 0] = {10: 1}
    made.wrong(3 * EVERY_S)
    assert broker.looked == ["conversation"] * 2


def test_watch_tells_of_a_job_that_lags_and_when_it_no_longer_does(kafka: FakeKafka, broker: Broker) -> None:
    """Not before it has had the time to catch up after a rebuild."""
    broker.records, broker.committed = {(EVENTS, 0): {5: 95, 6: 1}}, {(EVENTS, 0): 5}
    watch = Watch(Settings(brokers="127.0.0.1:1"))
    told = [told_of(watch, now) for now in (0.0, AFTER_S - 1, AFTER_S)]
    assert [len(one) for one in told] == [0, 0, 1]
    assert (told[2][0]["job"], told[2][0]["over"]) == ("conversation", False)
    broker.committed = {(EVENTS, 0): 6}
    [over] = told_of(watch, AFTER_S + EVERY_S)
    assert over["over"] is True


def told_of(watch: Watch, now: float) -> list[dict[str, Any]]:
    return [news.record for news in watch.look(now) if news.record["alarm"] == "retention"]
