# SPDX-License-Identifier: Apache-2.0
"""One worker's part of a replay: its share of the threads, decided again, counted.

The same in the process of the command or in one of its own; what is found on the way is told as it is found.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ops.context import Trouble
from ops.replay.belonging import check
from ops.replay.source import FileSource, JournalSource, Source
from ops.replay.tally import Tally
from ops.replay.whatif import WhatIf, load_answer
from ops.settings import Settings
from schemas.codec import Codec
from schemas.errors import Unreadable
from threadlog import App
from threadlog.entry import Entry
from threadlog.live import LiveRuns
from threadlog.replay import Divergence, Outcome, Replay, input_of
from threadlog.upgrade import breaches
from wire.app_code import AppCodeError, load_app
from wire.sealed import Sealed, sealed

# Executions kept live, a few KB each; threads of a log are mixed, and one that was dropped is executed from its start.
LIVE_RUNS = 20_000
COLLECT_AFTER = (20_000, 20, 20)  # as the conversation job has it
_TOLD_EVERY = 500
_TOLD_S = 0.25

Told = int | Divergence
Tell = Callable[[Told], None]


@dataclass(frozen=True)
class Job:
    """What to replay, with what code and how.

    files      histories files; none: the journal
    threads    only these; none: all
    cold       execute every run from its start at every step
    newest     the newest version of an agent decides in place of any other: what-if
    since_ms   only decisions from then on are made again; what is before is followed
    answer     the function that a what-if goes on with; "": it ends where the log's results do
    upgrade    nothing is decided again; the open runs at the end are tried
    share      (number, of how many) readers
    """

    app: str
    settings: Settings
    files: tuple[Path, ...] = ()
    threads: tuple[str, ...] = ()
    cold: bool = False
    newest: bool = False
    answer: str = ""
    since_ms: int = 0
    upgrade: bool = False
    share: tuple[int, int] = (0, 1)

    def sources(self) -> Iterator[Source]:
        """What this reader reads, one source after the other; a thread lies in each of them whole."""
        chosen = frozenset(self.threads) if self.threads else None
        if self.files:
            yield from (FileSource(path, self.share, chosen) for path in self.files)
        else:
            yield JournalSource(self.settings, self.share, chosen)


def load(spec: str) -> App:
    """The app; the current folder is looked in first. Raises Trouble or AppCodeError where it cannot be loaded."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return load_app(spec)
    except AppCodeError:
        raise
    except (Exception, SystemExit) as error:
        raise _unfit(spec, error, traceback.extract_tb(error.__traceback__)) from error


def load_sealed(spec: str) -> App:
    """The same, for a replay: while the app is imported it connects to nothing. Where it has tried, and goes on with
    something else than it has when it runs, that is Trouble too."""
    with sealed(importing=True) as refused:
        app = load(spec)
    for error, where in refused:
        raise _unfit(spec, error, where)
    return app


def _unfit(spec: str, error: BaseException, where: traceback.StackSummary) -> Trouble:
    """That an app cannot be imported, with the last line that is neither Python's own, nor ours, if there is one."""
    frames = [frame for frame in where if not frame.filename.startswith("<")]
    theirs = [frame for frame in frames if frame.filename not in _OURS and not _is_pythons(frame.filename)]
    last = (theirs or frames)[-1:]
    place = "".join(f" ({os.path.relpath(frame.filename)}:{frame.lineno})" for frame in last)
    return Trouble(f"{spec} cannot be imported: {type(error).__name__}: {error}{place}.")


def _is_pythons(file: str) -> bool:
    # What is installed may lie within the standard library's folder.
    return file.startswith(_PYTHONS) and not {"site-packages", "dist-packages"} & set(Path(file).parts)


_PYTHONS, _OURS = sysconfig.get_path("stdlib"), {inspect.getfile(Sealed), inspect.getfile(load_app), __file__}


def work(job: Job, tell: Tell) -> Tally:
    """Replay this reader's share. Raises Trouble and what readers raise."""
    app, tally = load_sealed(job.app), Tally()
    if job.files and not job.upgrade:  # the whole of them: one thread, or one share, may be of an agent that is gone
        every = replace(job, share=(0, 1), threads=())
        check(job.app, app, (entry for source in every.sources() for entry in source))
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(*COLLECT_AFTER)
    try:
        for source in job.sources():
            _source(job, app, source, tally, tell)
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    return tally


def _source(job: Job, app: App, source: Source, tally: Tally, tell: Tell) -> None:
    live = LiveRuns(0 if job.cold else LIVE_RUNS)
    what_if = WhatIf(app, load_answer(job.answer), live) if job.answer else None
    replay = Replay(app, live=live, newest=job.newest) if what_if is None else what_if.replay
    codec, diverged = Codec(source.schemas), dict[str, set[str]]()
    progress = Progress(tell)
    for entry in source:
        outcome = _one(job, replay, what_if, entry, codec)
        found = outcome.divergence
        if tally.add(outcome, diverged.setdefault(entry.thread, set()) if found else None) and found is not None:
            tell(found)
        if outcome.standing == "void":
            tally.void(f"{entry.thread} seq {entry.seq}: it does not continue its thread's chain, or was changed")
        progress.one()
    progress.done()
    if what_if is not None:
        _came_to(what_if, tally, diverged, tell)
    replay.live.clear()
    _end(job, app, source, replay, tally)


def _came_to(what_if: WhatIf, tally: Tally, diverged: dict[str, set[str]], tell: Tell) -> None:
    for how, found in what_if.ends():
        tally.ends[how] += 1
        if found is not None and tally.differs(found, diverged.setdefault(found.thread, set())):
            tell(found)
    tally.answered.update(what_if.answered)


def _one(job: Job, replay: Replay, what_if: WhatIf | None, entry: Entry, codec: Codec) -> Outcome:
    if job.upgrade or entry.time_ms < job.since_ms:
        return Outcome(replay.follow(entry))
    try:
        input = input_of(entry, codec.decode)
    except Unreadable as error:
        return (replay if what_if is None else what_if).unreadable(entry, error)
    if what_if is not None:
        return what_if.check(entry, input)
    with sealed():
        return replay.check(entry, input)


def _end(job: Job, app: App, source: Source, replay: Replay, tally: Tally) -> None:
    tally.threads += len(replay.states)
    tally.cut += len(replay.cut)
    tally.lost += source.cut.total()
    tally.left_out += len(source.cut.keys() - replay.states.keys())
    tally.other_limits.update(replay.other_limits)
    tally.older_states += replay.older_states
    for void in source.voids:
        tally.void(f"{void.thread} at {void.partition}/{void.offset}: {void.reason}")
    for state in replay.states.values():
        run = state.small["run"]
        tally.open_runs += bool(run)
        tally.parked_runs += run.get("parked") is not None
        if job.upgrade:
            with sealed():
                tally.breaches += breaches(state, app, replay.limits)


@dataclass
class Progress:
    """Tells how many decisions came since it last did, a few times a second."""

    tell: Tell
    count: int = 0
    at: float = 0.0

    def one(self) -> None:
        """One more decision."""
        self.count += 1
        if self.count >= _TOLD_EVERY and (now := time.monotonic()) - self.at > _TOLD_S:
            self.done()
            self.at = now

    def done(self) -> None:
        """Tell now."""
        if self.count:
            self.tell(self.count)
        self.count = 0
