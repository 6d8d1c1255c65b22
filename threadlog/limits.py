# SPDX-License-Identifier: Apache-2.0
"""Every bound of the engine in one place, with its unit last and its reason beside it.

A limit is first an error that a handler can catch; only an uncaught one parks the run. The digest of the limits in
force is written into every journal entry, because a replay under other limits may decide otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

from threadlog.canonical import digest


@dataclass(frozen=True)
class Limits:
    """The engine's bounds. All are positive integers."""

    # One value in arguments, results, variables, replies: it lies in state, in the journal and in a Kafka record.
    value_bytes: int = 64 * 1024
    # One event: it lies in the entry twice (its bytes, and in the patch while its run is open).
    event_bytes: int = 256 * 1024
    # One entry must fit a Kafka record (1 MiB default of the broker) with its envelope and its input.
    entry_bytes: int = 900 * 1024
    # The whole state of a thread, in some of its entries besides; the journal accepts records of 8 MiB.
    snapshot_bytes: int = 6 * 1024 * 1024
    # Deeper JSON has no business in a message and costs stack in every reader.
    depth_levels: int = 64
    # The key of a Kafka record, of Flink's state and a header; the sources accept no longer one.
    thread_id_bytes: int = 512
    # A run is executed again from its start after an eviction: its length bounds that cost.
    run_steps_max: int = 10_000
    # Between two suspensions: a handler that loops over `reply` must not hold the operator for ever.
    burst_requests_max: int = 1_000
    # Calls of one gather wait together in the small state.
    open_calls_max: int = 256
    # Messages that wait while a run is under way.
    queue_events_max: int = 256
    # Events of one type that came before the open run waits for them.
    buffered_events_max: int = 16
    # Values of effect calls whose run is gone, kept for the next run: it is shown all of them at once.
    orphans_bytes: int = 256 * 1024
    # Runs that one input may begin one after the other before a self-timer takes over.
    chain_runs_max: int = 8
    # Small state is read and written on every turn.
    vars_bytes: int = 32 * 1024
    # What a handler can look back on; older turns are in the journal.
    history_entries_max: int = 1_000
    # A producer's resend is recognised for so long, by the log's time; at least the retention of the input topics.
    seen_window_ms: int = 7 * 24 * 3600 * 1000
    # How often a call without an answer is asked again before it is closed.
    call_asks_max: int = 5
    # Calls closed in doubt of which a late success is still news; of one forgotten before, it is a dead letter.
    doubts_max: int = 256
    # Full state in the journal, so that recovery of one thread need not read all of its past; seldomer in long threads.
    snapshot_every_entries: int = 500
    # And with a thread's first decision in each such time, so that what retention leaves of a thread has a beginning. A
    # small part of the journal's retention: only a thread that was silent for all the rest of that can be without one.
    snapshot_every_ms: int = 30 * 24 * 3600 * 1000
    # A timer further out than this is a mistake of units.
    sleep_s_max: int = 400 * 24 * 3600
    # A message that keeps a thread busy for hours should be seen, not hidden: text of an error in the journal.
    error_chars_max: int = 500

    @cached_property
    def digest(self) -> str:
        """Identifies these limits in a journal entry."""
        return digest(asdict(self))[:16]
