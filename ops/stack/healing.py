# SPDX-License-Identifier: Apache-2.0
"""The repair of a journal that is broken: the conversation is stopped, its state made anew from the journal alone, and
started again from the beginning of its inputs. Each thread then goes on from its last valid entry, and what was decided
on entries that are void, or lost, is decided once more.

What runs afterwards is what ran before: the code that was submitted last, from its copy, not what lies in the checkout.

It is bounded. A second repair needs a valid entry since the first, and there are few in an hour: a journal that breaks
again and again has a cause that no repair removes, such as a second writer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ops import http
from ops.reading import codec_of
from ops.settings import Settings
from ops.stack import flink, lifecycle, records
from ops.stack.layout import Layout, layout_of
from ops.stack.submit import RUNNING_S, SubmitFailed, begin, end_catch_ups, ready_points
from wire.control import CAUGHT_UP, CONVERSATION, last_mark

HEALS_MAX, HEALS_S = 3, 3600.0
BY_HAND = "see what writes the journal, then `threadlog stop` and `threadlog start --rebuild`"

Say = Callable[[str], None]
Ends = dict[int, int]


class Unhealed(Exception):
    """The journal was not repaired; the message says why, and what is left to do."""


@dataclass
class Healer:
    """Repairs the journal of one namespace, again only if that helped."""

    settings: Settings
    say: Say
    healed: Ends = field(default_factory=dict)
    progress: bool = True
    times: deque[float] = field(default_factory=deque)
    said: str = ""

    def valid(self, partition: int, offset: int) -> None:
        """A valid entry was read."""
        self.progress = self.progress or offset >= self.healed.get(partition, 0)

    def is_new(self, place: tuple[int, int] | None) -> bool:
        """Whether what broke the journal, at a partition and offset of it, is not repaired yet. Raises KafkaException,
        WireError."""
        self.healed = self.healed or last_heal(self.settings)
        return place is None or place[1] >= self.healed.get(place[0], 0)

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

    def heal(self, place: tuple[int, int] | None, now: float) -> Ends:
        """Make the state anew; up to where the journal is repaired. Nothing is done where another has done it since.

        Raises Unhealed, KafkaException, WireError."""
        layout = layout_of(self.settings)
        with lifecycle.alone(self.settings.state_dir, self.say):
            self.healed = last_heal(self.settings)
            if place is not None and not self.is_new(place):
                return self.healed
            self.times.append(now)
            self._rebuild(layout)
            self.healed, self.progress = last_heal(self.settings), False
        return self.healed

    def _rebuild(self, layout: Layout) -> None:
        known = records.read(layout, CONVERSATION)
        folder = layout.state / "code" / known.code if known else None
        if known is None or folder is None or not folder.is_dir():
            raise Unhealed(f"nothing tells which code ran in {layout.state}; `threadlog start --rebuild` with the app")
        began = time.monotonic()
        try:
            stop(self.settings, layout, self.say)
            packed = folder, known.code
            points = ready_points(self.settings, layout, known.app, {CONVERSATION: ""}, packed, self.say)
            begin(self.settings, layout, known.app, points, packed, self.say)
        except (SubmitFailed, http.HttpError) as error:
            raise Unhealed(f"nothing decides now: {error}; {BY_HAND}") from error
        if flink.wait_running(self.settings, [CONVERSATION], RUNNING_S):
            why = flink.causes(self.settings, [CONVERSATION])
            raise Unhealed(f"the conversation does not come to run within {RUNNING_S} s:\n{why}")
        self.say(
            f"  healed after {time.monotonic() - began:.1f} s: the conversation runs, its inputs from their beginning"
        )


def last_heal(settings: Settings) -> Ends:
    """Up to where a state was last made to follow the journal, by partition; what is void before that is repaired."""
    mark = last_mark(settings.bootstrap, settings.namespace, codec_of(settings), what=CAUGHT_UP)
    return mark.journal if mark else {}


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
