# SPDX-License-Identifier: Apache-2.0
"""The repair of a journal that is broken: the conversation is stopped, its state made anew from the journal alone, and
started again from the beginning of its inputs. Each thread then goes on from its last valid entry, and what was decided
on entries that are void, or lost, is decided once more.

What runs afterwards is what ran before: the code that was submitted last, from its copy, not what lies in the checkout.

Whether it is done is asked of `agent-control`, under the lock: a rebuild since then, and a start after it, is a repair,
whoever made it. One that fails in the middle is tried again until it is done; until then every start makes the state
anew, because nothing from before may be gone on from (`starting.drop`).

Repairs that are done are bounded. A second one needs a valid entry since the first, and there are few in an hour: a
journal that breaks again and again has a cause that no repair removes, such as a second writer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaException

from ops import http
from ops.reading import codec_of
from ops.settings import Settings, changed, remembered
from ops.stack import flink, lifecycle, records, starting
from ops.stack.layout import Layout, layout_of
from ops.stack.submit import RUNNING_S, SubmitFailed, begin, end_catch_ups, ready_points
from schemas.errors import WireError
from wire.control import CONVERSATION, STARTED, Written, is_stopped, last_rebuild, read_marks
from wire.generations import ENDS

HEALS_MAX, HEALS_S = 3, 3600.0
# What failed because something restarts is past by then; what fails again and again is tried ever more seldom.
AGAIN_S, AGAIN_S_MAX = 20.0, 300.0
SAVEPOINT_S = 60  # a copy that has none by then is cancelled: it decides on what is void
BY_HAND = "see what writes the journal, then `threadlog stop` and `threadlog start --rebuild`"

Say = Callable[[str], None]
Ends = dict[int, int]


class Unhealed(Exception):
    """The journal was not repaired; the message says why, and what is left to do."""


@dataclass(frozen=True)
class Cause:
    """What makes a repair necessary.

    alarm   the alarm that tells of it
    place   the partition and offset at which the journal breaks; None for a decision that is lost
    mark    where the last rebuild is told of by which it was judged, -1 for none
    """

    alarm: str
    place: tuple[int, int] | None = None
    mark: int = -1

    def is_healed(self, marks: Sequence[Written]) -> bool:
        """Whether a state that was made anew since then was started."""
        rebuilt = last_rebuild(marks)
        if rebuilt is None or not any(one.mark.what == STARTED for one in marks if one.offset > rebuilt.offset):
            return False
        if self.place is None:
            return rebuilt.offset > self.mark
        return self.place[1] < rebuilt.mark.journal.get(self.place[0], 0)


@dataclass
class Healer:
    """Repairs the journal of one namespace, again only if that helped. Times are monotonic seconds.

    `begun`: is told when a repair begins. `pending`: what is not repaired yet, the last of each kind and partition: a
    rebuild that repairs it has repaired those before. `failed`: tries since the last repair that came to its end.
    `stopped`: whether the last of them has stopped the conversation; `made`: the state that it has made. `healed`:
    where the journal ended at the last repair; `read`: the last valid entry of each partition."""

    settings: Settings
    say: Say
    begun: Callable[[Cause], None] = lambda cause: None
    pending: dict[tuple[str, int], Cause] = field(default_factory=dict)
    failed: int = 0
    stopped: bool = False
    made: str = ""
    healed: Ends = field(default_factory=dict)
    read: Ends = field(default_factory=dict)
    times: deque[float] = field(default_factory=deque)
    due: float = 0.0
    said: str = ""

    def broke(self, cause: Cause) -> None:
        """Something makes a repair necessary."""
        key = cause.alarm, -1 if cause.place is None else cause.place[0]
        self.pending[key] = max(self.pending.get(key, cause), cause, key=lambda one: (one.place or (0, 0), one.mark))

    def valid(self, partition: int, offset: int) -> None:
        """A valid entry was read."""
        self.read[partition] = offset

    def may(self, now: float) -> None:
        """Raises Unhealed where one more repair would be one too many."""
        while self.times and now - self.times[0] > HEALS_S:
            self.times.popleft()
        helped = any(offset >= self.healed.get(partition, 0) for partition, offset in self.read.items())
        if self.healed and not helped:
            raise Unhealed(f"the last repair has not helped, no valid entry came since; {BY_HAND}")
        if len(self.times) >= HEALS_MAX:
            raise Unhealed(f"{HEALS_MAX} repairs within {HEALS_S / 60:.0f} minutes were of no use; {BY_HAND}")

    def is_news(self, said: str) -> bool:
        """Whether this was not the last that was said: a broken journal has many void entries."""
        before, self.said = self.said, said
        return said != before

    def heal(self, now: float) -> bool:
        """Repair what is pending, if it is time for that; whether it was repaired here. What fails stays pending.

        Raises Unhealed."""
        if not self.pending or now < self.due:
            return False
        try:
            with lifecycle.alone(self.settings.state_dir, self.say, waits=False):
                done = self._heal(now)
        except lifecycle.Busy:  # a watch that waited for a rebuild of hours would tell of nothing meanwhile
            self.due = now + AGAIN_S
            return False
        except (SubmitFailed, http.HttpError, KafkaException, WireError) as error:
            self.failed += 1
            self.due = now + min(AGAIN_S * 2 ** (self.failed - 1), AGAIN_S_MAX)
            told = error.args[0].str() if isinstance(error, KafkaException) else error
            down = "nothing decides now: " if self.stopped else ""
            raise Unhealed(f"{down}{told}; it is tried again, or {BY_HAND}") from error
        except Unhealed:
            self.due = now + AGAIN_S
            raise
        self.pending.clear()
        self.failed, self.stopped, self.made = 0, False, ""
        return done

    def _heal(self, now: float) -> bool:
        marks = self._marks()
        left = [cause for cause in self.pending.values() if not cause.is_healed(marks)]
        was_stopped = is_stopped(marks)
        asks = not left or self.stopped or was_stopped or bool(self.made)
        lives = asks and self._lives(marks)
        self.stopped = self.stopped and not lives
        came_late = lives and self._came_late(now, marks)
        # A start that was written down may have failed behind that; nobody but this one would try it again.
        if not left and (was_stopped or lives):
            return came_late
        if was_stopped and not lives:
            raise Unhealed("the conversation was stopped, and is left so; `threadlog start --rebuild` repairs it")
        self.may(now)
        layout = layout_of(self.settings)
        known = records.read(layout, CONVERSATION)
        if known is None or not (layout.state / "code" / known.code).is_dir():
            do = "`threadlog stop` and `threadlog start --rebuild` with the app"
            raise Unhealed(f"nothing tells which code ran in {layout.state}; {do}")
        self.begun((left or list(self.pending.values()))[0])
        self._rebuild(layout, known)
        self._done(now, self._marks())
        return True

    def _lives(self, marks: Sequence[Written]) -> bool:
        """Whether a conversation is there that may decide. One that was stopped and that Flink brings back may not."""
        job = flink.live_jobs(self.settings).get(CONVERSATION)
        over = {one.mark.generation for one in marks if one.mark.what in ENDS} - {0}
        return job is not None and not (over and starting.generation_of(self.settings, job) in over)

    def _came_late(self, now: float, marks: Sequence[Written]) -> bool:
        """Whether what is repaired is so by a try of this one, which had given up the job that runs now."""
        rebuilt = last_rebuild(marks)
        if rebuilt is None or not self.made or rebuilt.mark.savepoint != self.made:
            return False
        self._done(now, marks)
        self.made = ""
        self.say("  healed: the conversation has begun after it was given up")
        return True

    def _done(self, now: float, marks: Sequence[Written]) -> None:
        self.times.append(now)
        if (rebuilt := last_rebuild(marks)) is not None:
            self.healed = rebuilt.mark.journal

    def _marks(self) -> list[Written]:
        return read_marks(self.settings.bootstrap, self.settings.namespace, codec_of(self.settings))

    def _rebuild(self, layout: Layout, known: records.Record) -> None:
        began, packed = time.monotonic(), (layout.state / "code" / known.code, known.code)
        # `threadlog start --parallelism` may have come since this began.
        now = changed(self.settings, {"parallelism": remembered(self.settings.state_dir).get("parallelism")})
        starting.drop(now)
        stop(now, layout, self.say)
        self.stopped = True
        points = ready_points(now, layout, known.app, {CONVERSATION: ""}, packed, self.say)
        self.made = points[CONVERSATION]
        begin(now, layout, known.app, points, packed, self.say)
        if flink.wait_running(now, [CONVERSATION], RUNNING_S):
            why = flink.causes(now, [CONVERSATION])
            raise SubmitFailed(f"the conversation does not come to run within {RUNNING_S} s:\n{why}")
        took = time.monotonic() - began
        self.say(f"  healed after {took:.1f} s: the conversation runs, its inputs from their beginning")


def stop(settings: Settings, layout: Layout, say: Say) -> None:
    """End the conversation, each copy of it. What they leave is recorded nowhere: it is not the journal's state. Raises
    HttpError.

    A stop closes its transactions; where it does not come to one, what it leaves open is ended by the rebuild."""
    end_catch_ups(settings, say)
    for job in flink.jobs(settings):
        if job.kind == CONVERSATION and job.is_live:
            _end(settings, layout, job, say)


def _end(settings: Settings, layout: Layout, job: flink.Job, say: Say) -> None:
    try:
        flink.stop_with_savepoint(settings, job, f"file://{layout.savepoints}", SAVEPOINT_S)
        say(f"  {CONVERSATION} stopped; its state is not the journal's and is dropped")
    except http.HttpError as error:
        say(f"  {CONVERSATION} could not be stopped with a savepoint ({error.text[:200]}) and is cancelled")
        starting.cancel(settings, job, say)
