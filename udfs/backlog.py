# SPDX-License-Identifier: Apache-2.0
"""What lay in the log before this attempt of a job began, and the timers that wait until it was read.

The answer or the event that a timer would give up may lie there: after an outage, behind hours of others; after a
catch-up, behind all that the topics hold. So no timer fires before records that are older than the attempt have ceased
to come for some seconds. Times are the broker's, as its topics are set to."""

from __future__ import annotations

# As long as a catch-up leaves timers to the job that comes after it.
HELD_MS = 5_000
# A thread whose timer is held is looked at again after as long as the attempt has run, so seldom if that was long.
HELD_MS_MAX = 60_000
# By so much this machine's clock and the broker's may differ.
CLOCKS_MS = 300_000


class Backlog:
    """Of one attempt of one subtask, which began at `now`; all times in ms since 1970."""

    def __init__(self, now: int) -> None:
        self._began = self._past = now

    def came(self, log_time_ms: int, now: int) -> None:
        """A record was read that the log has since then."""
        if log_time_ms < self._began:
            self._past = now

    def is_read(self, now: int) -> bool:
        """Whether timers may fire."""
        return now >= self._past + HELD_MS

    def not_before(self, due: int, now: int) -> int:
        """When a timer that is due at that time is to be looked at."""
        if self.is_read(now):
            return due
        return max(due, now + min(max(HELD_MS, now - self._began), HELD_MS_MAX))

    def is_new(self, log_time_ms: int) -> bool:
        """Whether a record was certainly appended since then."""
        return log_time_ms > self._began + CLOCKS_MS
