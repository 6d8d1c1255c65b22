# SPDX-License-Identifier: Apache-2.0
"""The repair of a journal that is broken: the conversation is stopped, its state made anew from the journal alone, and
started again from the beginning of its inputs. Each thread then goes on from its last valid entry, and what was decided
on entries that are void, or lost, is decided once more.

What runs afterwards is what ran before: the code that was submitted last, from its copy, not what lies in the checkout.

Whether it is done is asked of `agent-control`, under the lock: a rebuild since then, and a start after it, is a repair,
whoever made it. One that fails in the middle is tried again; until it is done every start makes the state anew, because
nothing from before may be gone on from (`starting.drop`).

It is bounded. A second repair needs a valid entry since the first, and there are few in an hour: a journal that breaks
again and again has a cause that no repair removes, such as a second writer."""

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
from wire.control import ACCEPTED, CONVERSATION, STARTED, STOPPED, Written, last_rebuild, read_marks

HEALS_MAX, HEALS_S = 3, 3600.0
# What failed because something restarts is past by then.
AGAIN_S = 20.0
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

    `begun`: is told when a repair begins. `pending`: what is not repaired yet."""

    settings: Settings
    say: Say
    begun: Callable[[Cause], None] = lambda cause: None
    pending: Cause | None = None
    healed: Ends = field(default_factory=dict)
    progress: bool = True
    times: deque[float] = field(default_factory=deque)
    due: float = 0.0
    said: str = ""

    def valid(self, partition: int, offset: int) -> None:
        """A valid entry was read."""
        self.progress = self.progress or offset >= self.healed.get(partition, 0)

    def may(self, now: float) -> None:
        """Raises Unhealed where one more repair would be one too many."""
        while self.times and now - self.times[0] > HEALS_S:
            self.times.popleft()
        if not self.progress:
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
        if self.pending is None or now < self.due:
            return False
        try:
            with lifecycle.alone(self.settings.state_dir, self.say):
                done = self._heal(self.pending, now)
        except (SubmitFailed, http.HttpError, KafkaException, WireError) as error:
            self.due = now + AGAIN_S
            told = error.args[0].str() if isinstance(error, KafkaException) else error
            down = "nothing decides now: " if now in self.times else ""
            raise Unhealed(f"{down}{told}; it is tried again, or {BY_HAND}") from error
        except Unhealed:
            self.due = now + AGAIN_S
            raise
        self.pending = None
        return done

    def _heal(self, cause: Cause, now: float) -> bool:
        marks = self._marks()
        if cause.is_healed(marks):
            return False
        if next((one.mark.what for one in reversed(marks) if one.mark.what != ACCEPTED), "") == STOPPED:
            raise Unhealed("the conversation was stopped, and is left so; `threadlog start --rebuild` repairs it")
        self.may(now)
        layout = layout_of(self.settings)
        known = records.read(layout, CONVERSATION)
        if known is None or not (layout.state / "code" / known.code).is_dir():
            raise Unhealed(f"nothing tells which code ran in {layout.state}; `threadlog start --rebuild` with the app")
        self.times.append(now)
        self.begun(cause)
        self._rebuild(layout, known)
        if (rebuilt := last_rebuild(self._marks())) is not None:
            self.healed = rebuilt.mark.journal
        self.progress = False
        return True

    def _marks(self) -> list[Written]:
        return read_marks(self.settings.bootstrap, self.settings.namespace, codec_of(self.settings))

    def _rebuild(self, layout: Layout, known: records.Record) -> None:
        began, packed = time.monotonic(), (layout.state / "code" / known.code, known.code)
        # `threadlog start --parallelism` may have come since this began.
        now = changed(self.settings, {"parallelism": remembered(self.settings.state_dir).get("parallelism")})
        starting.drop(now)
        stop(now, layout, self.say)
        points = ready_points(now, layout, known.app, {CONVERSATION: ""}, packed, self.say)
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
        flink.stop_with_savepoint(settings, job, f"file://{layout.savepoints}")
        say(f"  {CONVERSATION} stopped; its state is not the journal's and is dropped")
    except http.HttpError as error:
        say(f"  {CONVERSATION} could not be stopped with a savepoint ({error.text[:200]}) and is cancelled")
        flink.cancel(settings, job)
