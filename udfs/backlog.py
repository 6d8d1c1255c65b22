# SPDX-License-Identifier: Apache-2.0
"""What lies in the log unread, and the timers that wait until it was read.

The answer or the event that a timer would give up may lie there: after an outage, behind hours of others; after a
catch-up, behind all that the topics hold; behind a load that is more than the job can do. So no timer fires

* before records that are older than this attempt of the job have ceased to come for some seconds
* before its time has passed in the log as well, where records come so late that it shows
* before this process, and the broker, were there for some seconds: who was not reading has not seen what is there

Times are the broker's, as its topics are set to."""

from __future__ import annotations

import math
from collections.abc import Callable

# As long as a catch-up leaves timers to the job that comes after it.
HELD_MS = 5_000
# So soon a timer is looked at again that waits for nothing but that process and broker are there.
SEEN_MS = 2_000
# A record that is by more than this late shows it, for as long.
LATE_MS = 5_000
# A thread whose timer is held is looked at again after as long as the attempt has run, so seldom if that was long.
HELD_MS_MAX = 60_000
# A record is worked on for so long only where the registry or the broker is waited for.
HUNG_MS = 1_000
# By so much this machine's clock and the broker's may differ.
CLOCKS_MS = 300_000


class Backlog:
    """Of one attempt of one subtask, which began at `now`; all times in ms since 1970, lateness in ms.

    `steady_s`: for how many seconds process and broker have been there without a pause."""

    def __init__(self, now: int, steady_s: Callable[[], float] = lambda: math.inf) -> None:
        self._began = self._past = now
        self._steady_s, self._hung_until = steady_s, now
        # How late records came at most, in the window that began at `_since` and in the one before.
        self._late, self._before, self._since = 0, 0, now

    def came(self, log_time_ms: int, now: int) -> None:
        """A record was read that the log has since then."""
        if log_time_ms < self._began:
            self._past = now
        elif (late := now - log_time_ms) > LATE_MS or self._late or self._before:
            self._turn(now)
            self._late = max(self._late, late if late > LATE_MS else 0)

    def took(self, began: int, now: int) -> None:
        """A record was worked on from `began` to `now`. If that was long, no other could be read: that was no silence,
        and what came meanwhile is given as long, or as a silence is, to be read."""
        if (hung := now - began) >= HUNG_MS:
            self._hung_until = max(self._hung_until, now + min(hung, HELD_MS))
            if began < self._past + HELD_MS:
                self._past += hung

    def may_fire(self, due: int, now: int) -> bool:
        """Whether a timer that is due at that time may fire."""
        return (
            now >= max(self._past + HELD_MS, self._hung_until)
            and now >= due + self._lateness(now)
            and self._steady_s() * 1000 >= HELD_MS
        )  # fmt: skip

    def not_before(self, due: int, now: int) -> int:
        """When a timer that is due at that time is to be looked at."""
        if now < self._past + HELD_MS:
            return max(due, now + min(max(HELD_MS, now - self._began), HELD_MS_MAX))
        if now < self._hung_until:
            return max(due, self._hung_until)
        if due > now or self.may_fire(due, now):
            return due
        late = due + self._lateness(now) - now
        # Soon, where process and broker have to be seen to be there for some seconds: who looks is seen.
        return now + (min(max(HELD_MS, late), HELD_MS_MAX) if late > 0 else SEEN_MS)

    def is_new(self, log_time_ms: int, decided_ms: int) -> bool:
        """Whether a record was certainly appended since the attempt began, or since the thread's last decision."""
        return log_time_ms > min(self._began, decided_ms) + CLOCKS_MS

    def _lateness(self, now: int) -> int:
        """How late records come of late; 0 where that does not show."""
        if self._late or self._before:
            self._turn(now)
        return max(self._late, self._before)

    def _turn(self, now: int) -> None:
        """Begin the window that this moment is in."""
        if (windows := (now - self._since) // LATE_MS) > 0:
            self._before, self._late = (self._late if windows == 1 else 0), 0
            self._since += windows * LATE_MS
