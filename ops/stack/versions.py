# SPDX-License-Identifier: Apache-2.0
"""A run ends on the version of its agent that began it: code that lacks a version with open runs is not started.

Asked twice, before the jobs are stopped for the new code and after: a run may begin in between. What is open is looked
up in the index of the journal, and only where the code that ran last had a version that this one lacks; where that is
not known, always. On a cluster of one's own nobody asks but who runs `threadlog replay --check-upgrade`:
there such a run is parked when it is to go on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ops.index import database
from ops.index.source import bring_up_to_date
from ops.settings import Settings
from ops.stack import records
from ops.stack.layout import Layout
from wire.control import CONVERSATION

# Version 2 of `support` is `support/2`.
Versions = Collection[str]
_OPEN = "SELECT agent, version, count(*), min(thread) FROM runs WHERE status = 'open' GROUP BY agent, version"


def missing(settings: Settings, layout: Layout, versions: Versions) -> str:
    """Which open runs could not go on with code that has these versions, in a sentence; "" where all can.

    Raises Trouble without a broker, sqlite3.Error, RegistryUnavailable."""
    last = records.read(layout, CONVERSATION)
    if last is not None and last.versions and set(last.versions) <= set(versions):
        return ""
    bring_up_to_date(settings)
    with database.reading(database.path_of(settings)) as db:
        lost = [row for row in db.execute(_OPEN) if f"{row[0]}/{row[1]}" not in versions]
    told = " and ".join(f"{name} version {n}, for which {_runs(count, thread)}" for name, n, count, thread in lost)
    return f"conversation: this code lacks {told}. A run ends on the version that began it" if told else ""


def _runs(count: int, thread: str) -> str:
    return f"a run is open in thread {thread!r}" if count == 1 else f"{count} runs are open, one in thread {thread!r}"


def note(layout: Layout, versions: Versions) -> None:
    """Write down which versions the code has that runs from now on."""
    if (last := records.read(layout, CONVERSATION)) is not None:
        records.write(layout, replace(last, versions=tuple(sorted(versions))))
