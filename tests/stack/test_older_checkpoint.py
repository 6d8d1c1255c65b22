# SPDX-License-Identifier: Apache-2.0
"""A start from a retained checkpoint that is not the newest: it lacks decisions that the journal has."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ops.stack import flink
from ops.stack.layout import Layout
from ops.stack.submit import pack
from tests.stack.chaos import checkpoint_of
from tests.stack.console import Console
from tests.stack.test_restore import check_all_end, open_work
from tests.stack.test_start import assert_refused, flink_run, mark, some_runs
from tests.stack.world import World, fresh, wait_until
from wire.control import CAUGHT_UP, journal_ends


def kept(layout: Layout, job_id: str, copy: Path) -> Path:
    """The newest complete checkpoint of a job that runs, whose files lie in `copy` as well: Flink keeps three, which is
    half a second of them, and deletes what files only older ones need."""
    found: list[Path] = []

    def whole() -> bool:
        newest = layout.checkpoints / job_id / f"chk-{checkpoint_of(layout, job_id)}"
        shutil.rmtree(copy, ignore_errors=True)
        with contextlib.suppress(shutil.Error):  # files of older ones, which are deleted meanwhile
            shutil.copytree(layout.checkpoints / job_id, copy)
        is_whole = (copy / newest.name / "_metadata").exists() and (newest / "_metadata").exists()
        found.extend([newest] * is_whole)
        return is_whole

    wait_until("a checkpoint is kept", whole, 60)
    return found[-1]


def put_back(copy: Path, folder: Path) -> None:
    """The files that Flink has deleted since; those that are there stay as they are."""
    for path in sorted(copy.rglob("*")):
        there = folder / path.relative_to(copy)
        if path.is_dir():
            there.mkdir(exist_ok=True)
        elif not there.exists():
            shutil.copy2(path, there)


def test_start_from_an_older_checkpoint_is_refused_and_caught_up(
    world: World, console: Console, tmp_path: Path
) -> None:
    """Of a job that was cancelled with newer ones beside it: `flink run -s` with it ends in a sentence and starts
    nothing; `threadlog start` brings it up to the journal."""
    gate, layout = fresh("older"), Layout(world.settings.state_dir)
    job = flink.live_jobs(world.settings)["conversation"]
    work = open_work(world, gate)
    older = kept(layout, job.id, tmp_path / "copy")
    then = journal_ends(world.settings.bootstrap, world.settings.namespace)
    some_runs(world)
    flink.cancel(world.settings, job)
    put_back(tmp_path / "copy", older.parent)
    assert checkpoint_of(layout, job.id) > int(older.name.removeprefix("chk-"))
    now = journal_ends(world.settings.bootstrap, world.settings.namespace)
    assert sum(now.values()) > sum(then.values()) + 20
    folder, _ = pack(layout, world.settings.app)
    point = f"file://{older}"
    assert_refused(flink_run(world.settings, folder, point), "`threadlog start`")
    assert "conversation" not in flink.live_jobs(world.settings)
    said, code = console.shell('threadlog start --job conversation --from-savepoint "$OLDER"', {"OLDER": point})
    assert (code, "catching up" in said, "rebuilding" in said) == (0, True, False), said
    assert mark(world.settings).what == CAUGHT_UP
    check_all_end(world, work, gate)
    some_runs(world)
