# SPDX-License-Identifier: Apache-2.0
"""`threadlog watch --heal`: what makes it begin a repair, and what a repair changes for a watch."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import asdict

from ops.settings import Settings
from ops.stack import checks, healing, records
from ops.stack.healing import Cause, Healer
from ops.stack.layout import Layout
from schemas.codec import Codec
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.heals import RUNS, rebuilt
from tests.ops.test_journal import story
from wire.control import TYPE, Mark


@pytest.fixture
def healers(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """`watch --heal` over a Kafka in memory; the repairs that were begun, each up to the journal's fourth offset."""
    begun: list[Any] = []

    def rebuild(self: Healer, layout: Layout, known: records.Record) -> None:
        begun.extend(self.pending.values())
        for mark in rebuilt(4):
            write(mark)

    def write(mark: Mark) -> None:
        value = Codec(kafka.schemas).encode(TYPE, {**asdict(mark), "journal": {"0": mark.journal.get(0, 0)}})
        kafka.add("agent-control", mark.job.encode(), value)

    monkeypatch.setattr(checks, "check_ours", lambda settings: None)
    monkeypatch.setattr(healing, "codec_of", lambda settings: Codec(kafka.schemas))
    monkeypatch.setattr(Healer, "_rebuild", rebuild)
    layout = Layout(Settings().state_dir)
    (layout.state / "code" / "c0de").mkdir(parents=True)
    records.write(layout, records.Record("conversation", RUNS.id, "m:app", "c0de"))
    return begun


def test_watch_heals_a_gap_once(kafka: FakeKafka, healers: list[Any]) -> None:
    """What else is void of before the repair is counted, and needs none. The journal is healed: this watch ends well,
    and for one that begins afterwards there is no alarm."""
    one = story("Ann", "Bob", "Cid", "Dan", "Eve")
    for entry in (one[0], one[2], one[3], one[4], one[1]):
        kafka.add_entry(entry)
    told = objects(run("--json", "watch", "--heal"))
    assert healers == [Cause("void", (0, 1))]
    assert [line["heal"] for line in told if "heal" in line] == ["begun", "done"]
    assert [line["offset"] for line in told if line.get("alarm") == "void"] == [1]
    assert (told[-1]["void"], told[-1]["healed"]) == (3, 3)
    for more in ([], ["--once"], ["--heal"]):
        counts = objects(run("--json", "watch", *more))[-1]
        assert (counts["void"], counts["healed"], counts["alarms"]) == (3, 3, 0)
    assert "3 void, 3 of them healed by the last rebuild.\n" in run("watch").stdout
    assert len(healers) == 1


def test_watch_that_heals_gives_up_in_words(kafka: FakeKafka, healers: list[Any]) -> None:
    """Once, however many entries are void after the repair."""
    one = story("Ann", "Bob", "Cid", "Dan", "Eve", "Fay")
    for entry in (one[0], *one[2:], one[5]):
        kafka.add_entry(entry)
    told = objects_of(run("--json", "watch", "--heal"))
    assert [line["heal"] for line in told if "heal" in line] == ["begun", "done", "failed"]
    assert "has not helped" in next(line["reason"] for line in told if line.get("heal") == "failed")


def test_watch_heals_nothing_that_somebody_else_wrote(kafka: FakeKafka, healers: list[Any]) -> None:
    """A foreign record breaks no chain, so the state is the journal's."""
    kafka.add_entry(story("Ann")[0])
    kafka.add("agent-decisions", b"t", b"nonsense")
    told = objects_of(run("--json", "watch", "--heal"))
    assert (healers, [line["alarm"] for line in told if "alarm" in line]) == ([], ["void"])


def objects_of(result: Any) -> list[dict[str, Any]]:
    """The lines of a command that ends with code 1, because the journal is broken."""
    assert result.exit_code == 1
    result.exit_code = 0
    return objects(result)
