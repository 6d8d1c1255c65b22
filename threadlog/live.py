# SPDX-License-Identifier: Apache-2.0
"""A bounded cache of live executions. Never truth: an entry is used only if thread, run and journal head all agree."""

from __future__ import annotations

from collections import OrderedDict

from threadlog.execution import Execution


class LiveRuns:
    """Executions by thread, least recently used first out; what leaves is closed in dead mode. `runs_max=0`: none."""

    def __init__(self, runs_max: int = 10_000) -> None:
        self.runs_max = runs_max
        self._runs: OrderedDict[str, tuple[str, str, Execution]] = OrderedDict()

    def take(self, thread: str, run_id: str, head: str) -> Execution | None:
        """Remove and return the execution of this run at this head; anything else kept for the thread is dropped."""
        kept = self._runs.pop(thread, None)
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
        while len(self._runs) > self.runs_max:
            self._runs.popitem(last=False)[1][2].close()

    def drop(self, thread: str) -> None:
        """Forget whatever is kept for the thread."""
        kept = self._runs.pop(thread, None)
        if kept is not None:
            kept[2].close()

    def clear(self) -> None:
        """Forget everything."""
        for thread in list(self._runs):
            self.drop(thread)
