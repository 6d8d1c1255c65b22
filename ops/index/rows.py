# SPDX-License-Identifier: Apache-2.0
"""What one entry puts into the tables. Pure: an entry in, rows out.

Rows are gathered for many entries and written together, in the order of `WRITES`: what becomes of earlier rows, then
new rows. What becomes of a row that is not written yet is changed in it, so the tables end up the same however the log
is cut into refreshes, also where an event that is sent again after years begins its run a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from ops.index.outline import Outline, outline_of
from ops.index.tables import OFFSET_BITS
from threadlog.entry import Entry
from threadlog.state import Patch

Row = tuple[Any, ...]
Effect = dict[str, Any]
# Where the row of a call has its asks, its status, and closed_seq to error; that of a run ended_seq to error.
_ASKS, _STATUS, _CLOSE, _STAND = 7, 12, slice(10, 15), slice(6, 10)
WRITES = {
    "asked_again": "UPDATE calls SET asks = ? WHERE call_id = ?",
    "closed": "UPDATE calls SET closed_seq = ?, closed_ms = ?, status = ?, attempts = ?, error = ? WHERE call_id = ?",
    "settled": "UPDATE calls SET status = 'late_success' WHERE call_id = ?",
    "run_states": "UPDATE runs SET ended_seq = ?, ended_ms = ?, status = ?, error = ? WHERE run_id = ?",
    "decisions": f"INSERT INTO decisions VALUES ({', '.join('?' * 21)})",
    "verdicts": """INSERT INTO verdicts VALUES (?, ?, ?)
        ON CONFLICT DO UPDATE SET decisions = decisions + excluded.decisions""",
    "effects": f"INSERT INTO effect_rows VALUES ({', '.join('?' * 8)})",
    "calls": f"INSERT OR REPLACE INTO calls VALUES ({', '.join('?' * 15)})",
    "runs": f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * 10)})",
    "replies": f"INSERT OR REPLACE INTO replies VALUES ({', '.join('?' * 10)})",
    "dead_letters": f"INSERT INTO dead_letters VALUES ({', '.join('?' * 11)})",
}
LEFT = "left"  # a read whose run ended before it was answered
_effects = msgspec.json.Decoder(list[dict[str, Any]]).decode


class Rows:
    """The rows of some entries, by the names of WRITES."""

    def __init__(self, read_result: Callable[[bytes], dict[str, Any]]) -> None:
        """read_result: the fields of a result from its record's value; empty where there are none."""
        self.tables: dict[str, list[Row]] = {name: [] for name in WRITES}
        self._calls, self._runs = dict[str, list[Any]](), dict[str, list[Any]]()
        self._verdicts = Counter[tuple[str, str]]()
        self._read_result = read_result
        self._asked, self._answered = set[str](), set[str]()  # calls, in the entry at hand

    def of(self, table: str) -> Collection[Row | list[Any]]:
        """The rows of a write."""
        if table == "verdicts":
            return [(*what, decisions) for what, decisions in self._verdicts.items()]
        held = {"calls": self._calls, "runs": self._runs}.get(table)
        return self.tables[table] if held is None else held.values()

    def take(self, entry: Entry, patch: Patch, outline: Outline, place: tuple[int, int], size: int) -> None:
        """Add the rows of an entry and follow it in its thread's outline.

        place: partition and offset in the log; size: of the record's value, in bytes."""
        came, decision = entry.input, (place[0] << OFFSET_BITS) | place[1]
        self.tables["decisions"].append((
            decision, entry.thread, entry.seq, entry.time_ms, entry.kind, entry.verdict, entry.reason, entry.agent,
            entry.version, entry.run_id, came.topic, came.partition, came.offset, came.source, came.id, came.type,
            came.log_time_ms, entry.app_digest, size, entry.snapshot is not None, entry.hash,
        ))  # fmt: skip
        self._verdicts[entry.verdict, entry.kind] += 1
        if self._asked or self._answered:
            self._asked, self._answered = set(), set()
        if entry.effects != "[]":
            effects = self.tables["effects"]
            for number, effect in enumerate(_effects(entry.effects)):
                told = _TOLD.get(effect["do"])
                effects.append((decision, number, effect["do"], *(told(self, entry, outline, effect) if told else _NO)))
        if entry.patch != _NOTHING:
            self._follow(entry, patch, outline)
        outline.seq, outline.head, outline.last_ms = entry.seq, entry.hash, entry.time_ms

    def begin(self, entry: Entry, state: dict[str, Any]) -> Outline:
        """The outline of a thread whose start is gone, from the state before an entry; adds its open calls and run."""
        outline = outline_of(state)
        outline.first_seq, outline.began_ms, outline.since_ms = entry.seq, entry.time_ms, state["core"]["now"]
        for ask in state["asks"].values():
            self._ask(outline, ask, None)
        if run := state["run"]:
            parked = run.get("parked")
            status, error = ("parked", words(parked)) if parked else ("open", "")
            outline.agent, outline.version, outline.error = run["agent"], run["version"], error
            self._runs[run["id"]] = [
                run["id"], entry.thread, run["agent"], run["version"], None, run["now"], None, None, status, error,
            ]  # fmt: skip
        return outline

    def _follow(self, entry: Entry, patch: Patch, outline: Outline) -> None:
        """What the effects do not say: reads that ended with their run, a run that goes on by a person's word."""
        before, gone = outline.standing, patch["del"]
        outline.follow(patch["put"], gone)
        if outline.standing != before:
            outline.since_ms = entry.time_ms
        # A call that was asked and left in one decision was never in any state.
        left = (self._asked - outline.calls.keys()) | set(gone.get("calls", ()))
        for call_id in sorted(left - self._answered):
            self._close(call_id, [entry.seq, entry.time_ms, LEFT, None, None])
        if "parked" in gone.get("run", ()) and outline.run:
            self._stand(outline.run["id"], [None, None, "open", ""])
            outline.error = ""

    def _ask(self, outline: Outline, ask: Effect, seq: int | None) -> None:
        outline.tools.add(ask["tool"])
        self._calls[ask["call_id"]] = [
            ask["call_id"], ask["thread"], ask["run_id"], ask["ordinal"], ask["tool"], ask["effect"], ask["args"],
            ask["ask"], seq, ask["asked_ms"], None, None, "open", None, None,
        ]  # fmt: skip

    def _close(self, call_id: str, end: list[Any]) -> None:
        if row := self._calls.get(call_id):
            row[_CLOSE] = end
        else:
            self.tables["closed"].append((*end, call_id))

    def _stand(self, run_id: str, standing: list[Any]) -> None:
        if row := self._runs.get(run_id):
            row[_STAND] = standing
        else:
            self.tables["run_states"].append((*standing, run_id))

    def call(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """A call is asked, or asked again."""
        if effect["ask"] == 1:
            self._ask(outline, effect, entry.seq)
            self._asked.add(effect["call_id"])
        elif row := self._calls.get(effect["call_id"]):
            row[_ASKS] = effect["ask"]
        else:
            self.tables["asked_again"].append((effect["ask"], effect["call_id"]))
        return effect["run_id"], effect["tool"], effect["call_id"], "asked", str(effect["ask"])

    def close_call(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """A call was answered, or given up."""
        call_id, status = effect["call_id"], effect["status"]
        result = self._read_result(entry.input.value) if entry.kind == "result" else {}
        attempts = len(result["attempts"]) if "attempts" in result else None
        error = f"{result['error_type']}: {result['error_message']}" if result.get("error_type") else None
        self._answered.add(call_id)
        self._close(call_id, [entry.seq, entry.time_ms, status, attempts, error])
        return None, effect["tool"], call_id, status, None

    def late_success(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """A call that was closed in doubt has happened."""
        if row := self._calls.get(effect["call_id"]):
            row[_STATUS] = "late_success"
        else:
            self.tables["settled"].append((effect["call_id"],))
        return None, effect["tool"], effect["call_id"], "done", None

    def begin_run(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """A run begins."""
        run_id, agent, version = effect["run_id"], effect["agent"], effect["version"]
        outline.agent, outline.version, outline.error = agent, version, ""
        self._runs[run_id] = [
            run_id, entry.thread, agent, version, entry.seq, entry.time_ms, None, None, "open", "",
        ]  # fmt: skip
        return run_id, None, None, None, agent

    def end_run(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """A run is over."""
        error = words(effect["error"]) if "error" in effect else ""
        outline.error = error
        self._stand(effect["run_id"], [entry.seq, entry.time_ms, effect["status"], error])
        return effect["run_id"], None, None, effect["status"], error or None

    def park_run(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """A run is stopped for a person."""
        outline.error = words(effect["error"])
        self._stand(effect["run_id"], [None, None, "parked", outline.error])
        return effect["run_id"], None, None, "parked", outline.error

    def reply(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """Something is said."""
        self.tables["replies"].append((
            effect["reply_id"], entry.thread, entry.seq, entry.time_ms, effect["run_id"], effect["agent"],
            effect["event_source"], effect["event_id"], effect["text"], effect["data"],
        ))  # fmt: skip
        return effect["run_id"], None, None, None, effect["reply_id"]

    def signal(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """Another thread is told."""
        return effect["run_id"], None, None, effect["name"], effect["thread"]

    def dead_letter(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """The input goes to the dead letters."""
        came = entry.input
        self.tables["dead_letters"].append((
            entry.thread, entry.seq, entry.time_ms, effect["code"], effect["message"], came.topic, came.partition,
            came.offset, came.source, came.id, came.type,
        ))  # fmt: skip
        return None, None, None, effect["code"], effect["message"]

    def timer(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """A timer is armed or disarmed; that of a call is told by its call."""
        kind, _, what = effect["timer"].partition(":")
        return (None, None, what, None, kind) if kind == "call" else (None, None, None, None, effect["timer"])

    def drop_event(self, entry: Entry, outline: Outline, effect: Effect) -> Row:
        """An event that waited is dropped."""
        return None, None, None, effect["type"], f"{effect['source']} {effect['id']}"


def words(error: dict[str, Any]) -> str:
    """An error as the columns have it."""
    return f"{error['type']}: {error['message']}"


_NOTHING = '{"del":{},"put":{}}'
_NO = (None, None, None, None, None)
_TOLD: dict[str, Callable[[Rows, Entry, Outline, Effect], Row]] = {
    "call": Rows.call, "close_call": Rows.close_call, "late_success": Rows.late_success, "begin_run": Rows.begin_run,
    "end_run": Rows.end_run, "park_run": Rows.park_run, "reply": Rows.reply, "signal": Rows.signal,
    "dead_letter": Rows.dead_letter, "set_timer": Rows.timer, "cancel_timer": Rows.timer, "drop_event": Rows.drop_event,
}  # fmt: skip
