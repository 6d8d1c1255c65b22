# SPDX-License-Identifier: Apache-2.0
"""From where a job goes on: never from nothing while something of it is left."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ops.settings import Settings, remember
from ops.stack import records
from ops.stack.layout import Layout, layout_of

FIRST = records.Record("tools", "a" * 32, "app:app", "code", began_from="file:/savepoint-0")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    return layout


def complete(layout: Layout, number: int, job_id: str = FIRST.job_id) -> str:
    """Leave a complete checkpoint; where it is."""
    folder = layout.checkpoints / job_id / f"chk-{number}"
    folder.mkdir(parents=True)
    (folder / "_metadata").touch()
    return f"file://{folder}"


def test_job_that_never_ran_starts_from_nothing(layout: Layout) -> None:
    """There is nothing to go on from."""
    assert records.restore_point(layout, "tools") == ""


def test_job_that_died_goes_on_from_its_newest_complete_checkpoint(layout: Layout) -> None:
    """By number, not by name; a half-written one does not count, nor does another job's."""
    records.write(layout, FIRST)
    complete(layout, 9)
    newest = complete(layout, 10)
    (layout.checkpoints / FIRST.job_id / "chk-11").mkdir()
    complete(layout, 12, job_id="b" * 32)
    assert records.restore_point(layout, "tools") == newest


def test_job_that_made_no_checkpoint_goes_on_from_where_it_began(layout: Layout) -> None:
    """Nothing was committed since; from nothing, it would decide everything again."""
    records.write(layout, FIRST)
    assert records.restore_point(layout, "tools") == "file:/savepoint-0"


def test_job_that_was_stopped_goes_on_from_its_savepoint(layout: Layout) -> None:
    """The savepoint is newer than every checkpoint."""
    complete(layout, 9)
    records.write(layout, replace(FIRST, savepoint="file:/savepoint-1"))
    assert records.restore_point(layout, "tools") == "file:/savepoint-1"


def test_job_that_was_stopped_by_hand_goes_on_from_that_savepoint(layout: Layout) -> None:
    """`flink stop` removes the checkpoints and tells nobody; the savepoint bears the job's first digits."""
    records.write(layout, FIRST)
    taken = [layout.savepoints / f"savepoint-{id}-0123456789ab" for id in (FIRST.job_id[:6], "bbbbbb")]
    for folder in taken:
        folder.mkdir(parents=True)
        (folder / "_metadata").touch()
    assert records.restore_point(layout, "tools") == f"file://{taken[0]}"


def test_job_that_ran_on_after_a_savepoint_goes_on_from_its_checkpoint(layout: Layout) -> None:
    """The newer of the two counts: what was committed since the older would be decided again."""
    records.write(layout, FIRST)
    savepoint = layout.savepoints / f"savepoint-{FIRST.job_id[:6]}-0123456789ab"
    savepoint.mkdir(parents=True)
    (savepoint / "_metadata").touch()
    os.utime(savepoint / "_metadata", (1, 1))
    newest = complete(layout, 3)
    assert records.restore_point(layout, "tools") == newest


def test_jobs_of_another_namespace_on_the_stack_have_records_of_their_own(layout: Layout) -> None:
    """A branch beside the stack's own jobs must not be where those go on from."""
    own = Settings(state_dir=layout.state)
    remember(own)
    branch = replace(own, namespace="branch")
    records.write(layout_of(own), FIRST)
    records.write(layout_of(branch), replace(FIRST, savepoint="file:/branch"))
    assert records.restore_point(layout, "tools") == records.restore_point(layout_of(own), "tools") == FIRST.began_from
    assert records.restore_point(layout_of(branch), "tools") == "file:/branch"
