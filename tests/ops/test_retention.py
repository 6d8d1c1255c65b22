# SPDX-License-Identifier: Apache-2.0
"""Topics that are kept for another time than the engine rests on: `threadlog doctor` and `start` say so."""

from __future__ import annotations

import pytest

import ops.commands.doctor
import ops.retention
from ops.retention import EVENTS, Mismatch, mismatches
from ops.settings import Settings
from schemas.topics import TOPICS
from tests.ops.fakes import FakeKafka, objects, run

DAY_MS = 24 * 3_600_000


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How long the broker keeps each topic, as declared until a test changes it."""
    found = {topic: TOPICS[topic].retention_ms for topic in (*EVENTS, "agent-decisions")}

    def retentions(bootstrap: str, topics: list[str]) -> dict[str, int]:
        return {f"threadlog.{topic}": ms for topic, ms in found.items() if f"threadlog.{topic}" in topics}

    monkeypatch.setattr(ops.retention, "retentions", retentions)
    return found


def test_retention_as_declared_is_no_mismatch(kept: dict[str, int]) -> None:
    """Nor is an input that is kept shorter, or a journal that is kept longer, or that is not there."""
    assert set(EVENTS) == {"agent-events", "human-feedback", "agent-signals"}
    assert mismatches(Settings()) == []
    kept |= {"agent-events": DAY_MS, "agent-decisions": -1}
    assert mismatches(Settings()) == []
    del kept["human-feedback"]
    assert mismatches(Settings()) == []


@pytest.mark.parametrize(
    ("topic", "ms", "limit_days"),
    [
        ("agent-events", 7 * DAY_MS + 1, 7),
        ("human-feedback", 30 * DAY_MS, 7),
        ("agent-signals", -1, 7),
        ("agent-decisions", 60 * DAY_MS - 1, 60),
    ],
)
def test_retention_that_the_engine_does_not_rest_on_is_told(
    kept: dict[str, int], topic: str, ms: int, limit_days: int
) -> None:
    """Events that outlive the window, and a journal that may leave no beginning of a thread."""
    kept[topic] = ms
    assert mismatches(Settings()) == [Mismatch(topic, ms, limit_days * DAY_MS)]


def test_doctor_tells_of_retention_in_a_sentence(
    kept: dict[str, int], kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it means and what to do; as one object to a program."""
    monkeypatch.setattr(ops.commands.doctor, "open_transactions", lambda bootstrap, names: [])
    kept |= {"agent-events": -1, "agent-decisions": 14 * DAY_MS}
    assert objects(run("--json", "doctor")) == [
        {"topic": "agent-events", "retention_ms": -1, "limit_ms": 7 * DAY_MS},
        {"topic": "agent-decisions", "retention_ms": 14 * DAY_MS, "limit_ms": 60 * DAY_MS},
    ]
    _, events, journal = run("doctor").stdout.splitlines()
    assert events.startswith("agent-events is kept for ever, but a resend is told from a new event for 7 days only.")
    assert events.endswith("Keep the topic for 7 days at most (retention.ms=604800000).")
    assert journal.startswith("agent-decisions is kept for 14 days only: ")
