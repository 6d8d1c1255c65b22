# SPDX-License-Identifier: Apache-2.0
"""A replay in the cluster is paused by a cancel: it moves no live state, and its last checkpoint, which a cancel keeps,
has how far it is. A savepoint would wait until all is verified."""

from __future__ import annotations

from collections.abc import Callable

from ops import http
from ops.settings import Settings
from ops.stack import flink, records
from ops.stack.layout import Layout

# A slice is verified to its end first, which takes a fraction of a second, or a minute where each handler takes long.
WITHIN_S = 120
GO_ON = "`threadlog replay --cluster --go-on`"

Say = Callable[[str], None]


def given(begun: records.Record) -> dict[str, str]:
    """What a replay alone was told on its command line, by option."""
    return dict(zip(begun.more[::2], begun.more[1::2], strict=True))


def pause(settings: Settings, layout: Layout, say: Say) -> list[str]:
    """Cancel the live replay of this namespace; for each that there was, the checkpoint from which it goes on.

    "" says from its beginning. Raises HttpError where it does not end."""
    points = list[str]()
    while job := flink.live_jobs(settings).get(flink.REPLAY):
        try:
            flink.cancel(settings, job, WITHIN_S)
        except http.HttpError:
            if job.id in {one.id for one in flink.live_jobs(settings).values()}:
                raise
            continue  # it came to its end meanwhile
        begun = records.read(layout, flink.REPLAY)
        ours = begun is not None and begun.job_id == job.id
        points.append(records.restore_point(layout, flink.REPLAY) if ours else records.newest(layout, job.id))
        where = f"from {points[-1].removeprefix('file://')}" if points[-1] else "from its beginning"
        if begun is not None and ours:
            say(f"  replay {given(begun)['--run']} is cancelled; {GO_ON} goes on {where}")
        else:
            say(f"  replay {job.id}, which was submitted by other means, is cancelled; it can go on {where}")
    return points
