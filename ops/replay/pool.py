# SPDX-License-Identifier: Apache-2.0
"""Several workers, a process each: they share the threads out by partition of the journal, or by a hash of their ids.

Their interpreters have PYTHONHASHSEED=0, as a TaskManager's has: the order of a set must be the one that the log was
made with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import queue
import traceback
from collections.abc import Iterator
from typing import Any

from ops.context import Trouble
from ops.replay.tally import Tally
from ops.replay.work import Job, Tell, work

_POLL_S = 1.0
_JOIN_S = 5.0


def replay(job: Job, workers: int, tell: Tell) -> Tally:
    """Replay with so many processes; with 0 in this one, where a debugger can be. Raises Trouble."""
    if workers == 0:
        return work(job, tell)
    context = multiprocessing.get_context("spawn")
    heard: Any = context.Queue()
    jobs = [dataclasses.replace(job, share=(index, workers)) for index in range(workers)]
    processes = [context.Process(target=_run, args=(one, heard), daemon=True) for one in jobs]
    try:
        with _hash_seed():
            for process in processes:
                process.start()
        return _collect(processes, heard, tell)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
            process.join(_JOIN_S)


@contextlib.contextmanager
def _hash_seed() -> Iterator[None]:
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


def _collect(processes: list[Any], heard: Any, tell: Tell) -> Tally:
    tally, left = Tally(), len(processes)
    while left:
        try:
            what, told = heard.get(timeout=_POLL_S)
        except queue.Empty:
            dead = [p.exitcode for p in processes if p.exitcode]
            if dead:
                raise Trouble(
                    f"A worker of the replay ended with code {dead[0]}.",
                    "With --workers 0 it runs in this process, and is seen to fail.",
                ) from None
            continue
        if what == "told":
            tell(told)
        elif what == "failed":
            raise Trouble(*told)
        elif what == "crashed":
            raise RuntimeError(f"in a worker:\n{told}")
        else:
            tally.merge(told)
            left -= 1
    return tally


def _run(job: Job, heard: Any) -> None:
    """A worker's process."""
    from ops.failures import trouble

    try:
        heard.put(("done", work(job, lambda told: heard.put(("told", told)))))
    except Trouble as error:
        heard.put(("failed", (error.said, error.hint)))
    except KeyboardInterrupt:
        pass  # the command was given it too
    except BaseException as error:
        told = trouble(error, job.settings) if isinstance(error, Exception) else None
        heard.put(("crashed", traceback.format_exc()) if told is None else ("failed", (told.said, told.hint)))
