# SPDX-License-Identifier: Apache-2.0
"""What the state folder remembers of each submitted job, and from where the job may go on.

A job that was stopped goes on from its savepoint; one that died (or was cancelled) with the whole cluster gone goes on
from its newest complete checkpoint, or from a savepoint that somebody took by hand and is newer still, or, when it made
none, from where it had started: nothing was committed since. A savepoint is used once: the record of the next
submission replaces it, since a second restore of an old savepoint would decide again what the journal already holds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.stack.layout import Layout


@dataclass(frozen=True)
class Record:
    """One submission. `began_from` is where it started; `savepoint` is set when it was stopped properly afterwards, or
    when a catch-up has left one for the start that comes next.

    `versions`: those of the code's agents, as NAME/VERSION; of the conversation only. `more`: what the job was told
    besides, each option with its value; of the replay only."""

    kind: str
    job_id: str
    app: str
    code: str
    savepoint: str = ""
    began_from: str = ""
    versions: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


def _path(layout: Layout, kind: str) -> Path:
    return layout.jobs / f"{kind}.json"


def read(layout: Layout, kind: str) -> Record | None:
    """The last submission of this kind; None when there was none."""
    path = _path(layout, kind)
    return Record(**json.loads(path.read_text())) if path.is_file() else None


def write(layout: Layout, record: Record) -> None:
    """Replace the record, whole or not at all."""
    path = _path(layout, record.kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(record), indent=1))
    fresh.replace(path)


def newest(layout: Layout, job_id: str) -> str:
    """The job's newest complete checkpoint or savepoint; `flink stop` removes a job's checkpoints. Empty: none."""
    checkpoints = list(layout.checkpoints.glob(f"{job_id}/chk-*/_metadata"))
    checkpoints.sort(key=lambda path: int(path.parent.name.removeprefix("chk-")))
    # Flink names a savepoint by the first six digits of the job's id.
    complete = [*checkpoints[-1:], *layout.savepoints.glob(f"savepoint-{job_id[:6]}-*/_metadata")]
    newest = max(complete, key=lambda path: path.stat().st_mtime_ns, default=None)
    return f"file://{newest.parent}" if newest else ""


def restore_point(layout: Layout, kind: str) -> str:
    """The path for `flink run -s`; empty when the job has never run here, or nothing of it is left."""
    record = read(layout, kind)
    if record is None:
        return ""
    return record.savepoint or newest(layout, record.job_id) or record.began_from


def code_on_taskmanagers(layout: Layout) -> str:
    """The digest of the code that the running TaskManagers may have imported; empty when they are fresh."""
    path = layout.run / "code"
    return path.read_text() if path.is_file() else ""


def note_code(layout: Layout, digest: str) -> None:
    """Remember what was submitted to the running TaskManagers; an empty digest says that they are fresh."""
    (layout.run / "code").write_text(digest)
