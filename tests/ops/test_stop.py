# SPDX-License-Identifier: Apache-2.0
"""`threadlog stop` says in `agent-control` that the conversation is to stay stopped, whatever it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from ops.commands import stop
from ops.stack import flink, starting
from tests.ops.fakes import begun, run
from wire.control import DROPPED, ENDED, LEFT_STOPPED, STARTED, STOPPED, Mark, Written

STOP = Mark(STOPPED, "conversation", "a" * 32, "file:/s/1", {0: 7})


class Log:
    """The marks of the conversation, and the stop that writes the next one."""

    def __init__(self, *whats: str) -> None:
        self.marks = [Mark(what, "conversation", "", "", {}) for what in whats]
        self.stops, self.failed = list[Mark](), list[str]()

    def read(self, *where: Any) -> list[Written]:
        return [Written(at, 0, mark) for at, mark in enumerate(self.marks)]

    def stop_jobs(self, *given: Any) -> list[str]:
        self.marks += self.stops
        return self.failed


@pytest.fixture
def log(alone: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """A stack of which no job runs, since a repair has failed."""
    made = Log(STARTED, DROPPED)
    begun(alone / ".threadlog")
    monkeypatch.setattr(flink, "live_jobs", lambda settings: {})
    monkeypatch.setattr(stop, "end_catch_ups", lambda settings, say: None)
    monkeypatch.setattr(stop, "stop_jobs", made.stop_jobs)
    monkeypatch.setattr(starting, "read_marks", made.read)
    monkeypatch.setattr(starting, "write_mark", lambda b, n, codec, mark: made.marks.append(mark))
    return made


@pytest.mark.parametrize("words", [(), ("--job", "conversation")], ids=str)
def test_stop_that_finds_nothing_is_written_down(log: Log, words: tuple[str, ...]) -> None:
    """Once: else a watch begins what a person wants stopped."""
    for _ in range(2):
        assert "No job was running." in run("stop", *words).stdout
        assert [mark.what for mark in log.marks] == [STARTED, DROPPED, LEFT_STOPPED]


def test_stop_that_is_not_the_journals_end_is_written_down(log: Log) -> None:
    """A commit was lost, so no mark tells of its savepoint. Where one does, that says it."""
    log.marks = [Mark(STARTED, "conversation", "", "", {}), Mark(ENDED, "conversation", "", "", {})]
    run("stop")
    assert [mark.what for mark in log.marks] == [STARTED, ENDED, LEFT_STOPPED]
    log.marks, log.stops = log.marks[:1], [STOP]
    run("stop")
    assert [mark.what for mark in log.marks] == [STARTED, STOPPED]


def test_stop_of_what_is_no_conversation_says_nothing_of_it(log: Log) -> None:
    """Nor does one that has failed, nor one beside a log that tells of no conversation."""
    run("stop", "--job", "tools")
    log.failed = ["conversation"]
    assert "Not stopped: conversation" in run("stop").stderr
    assert [mark.what for mark in log.marks] == [STARTED, DROPPED]
    log.failed, log.marks = [], []
    run("stop")
    assert log.marks == []
    log.failed, log.marks = ["tools"], [Mark(STARTED, "conversation", "", "", {})]
    run("stop")
    assert [mark.what for mark in log.marks] == [STARTED, LEFT_STOPPED]


def test_stop_that_cannot_be_written_down_is_one(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what may come of it is said."""

    def away(*where: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer"))

    monkeypatch.setattr(starting, "read_marks", away)
    told = run("stop")
    assert (told.exit_code, "a watch with --heal may start it" in told.stdout) == (0, True)
