# SPDX-License-Identifier: Apache-2.0
"""Taking over: whatever copies of a job this cluster runs are ended, before a new one starts.

A copy in another cluster is out of reach. It is known by the lease that it renews, and is left to who can stop it."""

from __future__ import annotations

import time

from ops.context import Trouble
from ops.settings import Settings
from ops.stack import flink, starting
from ops.stack.catch_up import Say
from ops.stack.layout import Layout
from ops.stack.submit import end_catch_ups, stop_jobs
from schemas.codec import Codec
from wire.control import CONVERSATION, read_marks
from wire.generations import under_way
from wire.leases import living
from wire.registry import Registry

_POLL_S = 1.0
_SAVEPOINT_S = 60  # what has none by then is cancelled


def take_over(settings: Settings, layout: Layout, kinds: list[str], say: Say) -> None:
    """End every copy of these jobs, with a savepoint where it gives one, and wait until none renews a lease.

    Raises Trouble where a copy runs elsewhere; HttpError, KafkaException, WireError."""
    if CONVERSATION in kinds:
        _wait_begun(settings, say)
        end_catch_ups(settings, say)
    running = [job.kind for job in _live(settings, kinds) if job.is_running]
    stop_jobs(settings, layout, running, say, _SAVEPOINT_S)
    for job in _live(settings, kinds):
        starting.cancel(settings, job, say)
        say(f"  {job.kind} {job.id} was cancelled; its checkpoints stay")
    if CONVERSATION in kinds and (
        place := living(settings.bootstrap, settings.namespace, _codec(settings), CONVERSATION).place
    ):
        raise Trouble(
            f"A copy of the conversation runs in process {place} and renews its lease, and this cluster has none.",
            "Stop it where it runs.",
        )


def _live(settings: Settings, kinds: list[str]) -> list[flink.Job]:
    return [job for job in flink.jobs(settings) if job.is_live and job.kind in kinds]


def _wait_begun(settings: Settings, say: Say) -> None:
    """A start that was made a moment ago shows itself soon, here or by its lease, or has died."""
    told, where = False, (settings.bootstrap, settings.namespace, _codec(settings))
    while not _live(settings, [CONVERSATION]):
        other = under_way(*where, read_marks(*where))
        if not other:
            return
        if not told:
            say(f"  another start of the conversation is under way ({other}); waiting for what becomes of it")
        told = True
        time.sleep(_POLL_S)


def _codec(settings: Settings) -> Codec:
    return Codec(Registry(settings.registry_url))
