# SPDX-License-Identifier: Apache-2.0
"""Code that lacks a version of an agent with open runs is not started; what else it lacks does not matter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.settings import load
from ops.stack import records, versions
from ops.stack.layout import Layout
from tests.ops.fakes import FakeKafka
from tests.threadlog.desk import Desk

HAS = ("go/1",)


@pytest.fixture
def layout(alone: Path) -> Layout:
    layout = Layout(alone / ".threadlog")
    layout.make()
    return layout


def lacks(layout: Layout, *has: str) -> str:
    settings = load({"state_dir": layout.state}, os.environ, layout.state)
    return versions.missing(settings, layout, has)


def ran(layout: Layout, *has: str) -> None:
    """Code with these versions has run last."""
    records.write(layout, records.Record("conversation", "a" * 32, "m:app", "code"))
    versions.note(layout, has)


def test_versions_with_open_runs_are_missed(journal: dict[str, Desk], layout: Layout) -> None:
    """The sentence names agent, version, how many runs and a thread; parked runs are not counted: they wait already."""
    told = lacks(layout, "other/1")
    assert "this code lacks go version 1, for which " in told and "thread 'waits'" in told
    ran(layout, *HAS)
    assert lacks(layout, "go/2") == told


@pytest.mark.parametrize("has", [("go/1",), ("go/1", "go/2")])
def test_versions_that_are_there_are_not_missed(journal: dict[str, Desk], layout: Layout, has: tuple[str, ...]) -> None:
    """Beside newer ones too."""
    assert lacks(layout, *has) == ""


def test_versions_without_open_runs_may_go(kafka: FakeKafka, layout: Layout) -> None:
    """Nothing is open in an empty journal."""
    ran(layout, *HAS)
    assert lacks(layout, "go/2") == ""


def test_versions_are_not_looked_for_when_none_has_gone(
    layout: Layout, journal: dict[str, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start of the same code reads no journal."""
    ran(layout, *HAS)
    monkeypatch.setattr(versions, "bring_up_to_date", lambda settings: pytest.fail("the journal was read"))
    assert lacks(layout, "go/1", "more/1") == ""
