# SPDX-License-Identifier: Apache-2.0
"""A bounded cache of live executions. Never truth: an entry is used only if thread, run and journal head all agree."""

from __future__ import annotations

from collections import OrderedDict

from threadlog.execution import Execution

# Of the events that live runs began with. A run holds some five times as much: the event as its handler sees it, and
# what the handler makes of it.
EVENT_BYTES_MAX = 64_000_000


class LiveRuns:
    """Executions by thread, least recently used first out; what leaves is closed in dead mode. `runs_max=0`: none."""

    def __init__(self, runs_max: int = 10_000, bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.runs_max, self.bytes_max = runs_max, bytes_max
        self._runs: OrderedDict[str, tuple[str, str, Execution]] = OrderedDict()
        self._bytes = 0

    def take(self, thread: str, run_id: str, head: str) -> Execution | None:
        """Remove and return the execution of this run at this head; anything else kept for the thread is dropped."""
        kept = self._leave(thread)
        if kept is None:
            return None
        if kept[:2] == (run_id, head):
            return kept[2]
        kept[2].close()
        return None

    def keep(self, thread: str, run_id: str, head: str, execution: Execution) -> None:
        """Keep an execution for the next step of its thread."""
        self.drop(thread)
        if self.runs_max <= 0:
            execution.close()
            return
        self._runs[thread] = (run_id, head, execution)
        self._bytes += execution.event_bytes
        while len(self._runs) > self.runs_max or (self._bytes > self.bytes_max and len(self._runs) > 1):
            self.drop(next(iter(self._runs)))

    def drop(self, thread: str) -> None:
        """Forget whatever is kept for the thread."""
        kept = self._leave(thread)
        if kept is not None:
            kept[2].close()

    def _leave(self, thread: str) -> tuple[str, str, Execution] | None:
        kept = self._runs.pop(thread, None)
        self._bytes -= 0 if kept is None else kept[2].event_bytes
        return kept

    def clear(self) -> None:
        """Forget everything."""
        for thread in list(self._runs):
            self.drop(thread)
