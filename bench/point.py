# SPDX-License-Identifier: Apache-2.0
"""One point of a curve, measured on a running stack.

    what must be there before ─► full speed: rate, CPU, bytes ─► slow pace: latency ─► calls come back ─► each event has
                                                                                       exactly one entry
At full speed only so many events are out at a time, so that it can end when its time is over. Nothing is dropped in
silence: a point that does not get through within its bounds says how far it came.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any

from bench import figures
from bench.axes import SLACK_S, UNITS, Event, Point
from bench.feed import Committed, Follower
from bench.readings import Checkpoint, Checkpoints, Reading, wire
from bench.rounds import Window, decision_ms, read_entries, window, windows
from bench.session import Session
from ops.context import Trouble
from schemas.codec import Codec

BATCH, PAUSE_S, SETTLE_S = 500, 0.005, 2.0
# Slow: a fifth of what it can do, fifty a second at most, and through three checkpoints at least.
PACED, PACED_PER_S, PACED_SHARE, PACED_INTERVALS = 250, 50, 0.2, 3
DRAIN_S = 120
WIRE_S, WIRE_TURNS_PER_S = 120, 2_000  # the time in which all records must be read; that of so many turns comes on top
TURNS_MIN = 100  # fewer say nothing of a rate
WINDOWS, WINDOWS_TURNS_MIN = 3, 1_000  # of full speed; of fewer turns a third is a few batches of the broker
DECODED = 5_000  # entries at a time
WHY_CHARS = 300  # of what kept a stack from running: it may be a whole log


class Unfinished(Exception):
    """A point did not get through within a bound; the text says how far it came."""


@dataclass
class Taking:
    """A point that is being measured. `ids`: of every event sent for it; `found`: figures so far."""

    run: Session
    checkpoints: Checkpoints
    point: Point
    follower: Follower
    ids: list[str] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def interval_ms(self) -> int:
        """Between checkpoints."""
        return self.run.settings.checkpoint_interval_ms

    def feed(self, what: str, events: Iterator[Event], seconds: float, least: int, most: int, bound_s: float) -> None:
        """Send events for so long and until `least` were sent, no more than `most`, and wait for their entries.

        Raises Unfinished when that takes longer than the bound."""
        seen, base, sent, began = self.follower.seen, len(self.follower.seen), 0, time.monotonic()
        end, in_flight = began + bound_s, self.point.in_flight(self.interval_ms)
        while sent < most and (sent < least or time.monotonic() < began + seconds) and time.monotonic() < end:
            size = min(BATCH, in_flight // 2, most - sent)
            if sent + size - (len(seen) - base) > in_flight:
                time.sleep(PAUSE_S)
                continue
            self.ids += self.run.send(islice(events, size))
            sent += size
        if not self.follower.reached(base + sent, end) or sent < least:
            wanted = f", {least:,} were to be sent" if sent < least else ""
            raise Unfinished(f"{what}: {len(seen) - base:,} entries of {sent:,} events within {bound_s:.0f} s{wanted}")

    @property
    def asked(self) -> int:
        """Calls that were asked for so far; they are the first events of a point."""
        return min(self.point.calls, len(self.ids))

    def before(self) -> None:
        """Histories and calls."""
        count = self.point.history * self.point.threads + self.point.calls
        if count:
            self.feed("before", self.point.before(), 0, count, count, self.point.before_bound_s)
            time.sleep(SETTLE_S)

    def full_speed(self, events: Iterator[Event]) -> None:
        """Rate, CPU and bytes of turns that follow each other without a pause."""
        point, before = self.point, Reading.now(self.run, self.checkpoints)
        base, began = len(self.follower.seen), time.time()
        try:
            self.feed("full speed", events, point.seconds, point.turns_min, point.turns_max, point.bound_s)
        finally:
            seen = self.follower.seen[base:]
            self.found |= {"turns": len(seen), "turns_per_thread": round(len(seen) / point.threads, 2)}
            if len(seen) >= TURNS_MIN:
                self.run.meter.read()
                told = seen, ["event"] * len(seen), self.run.meter, self.run.hosts["conversation"], began
                self.found |= speed(window(*told), self.run)
                self.found |= spread(windows(*told, WINDOWS)) if len(seen) >= WINDOWS_TURNS_MIN else {}
        after, ended = Reading.now(self.run, self.checkpoints), max(one.seen_s for one in seen)
        self.found |= sizes(before, after, len(seen), self.run.hosts["conversation"])
        self.found |= taken(self.checkpoints.between(began, ended), len(seen))
        if (every := self.checkpoints.every_ms(began, ended)) is not None:
            self.found["checkpoint_every_ms"] = round(every)
        self._places = before.places, after.places

    def slow_pace(self, events: Iterator[Event]) -> None:
        """From the append of an event to its committed entry."""
        base = len(self.follower.seen)
        rate = max(1.0, min(PACED_PER_S, PACED_SHARE * self.found.get("turns_per_s", 0.0)))
        pause_s = max(1 / rate, PACED_INTERVALS * self.interval_ms / 1000 / PACED)
        for event in islice(events, PACED):
            self.ids += self.run.send([event])
            time.sleep(pause_s)
        if not self.follower.reached(base + PACED, time.monotonic() + SLACK_S + 2 * self.interval_ms / 1000):
            raise Unfinished(f"slow pace: {len(self.follower.seen) - base} of {PACED} entries")
        waits = decision_ms(self.run.entries(self.follower, base))
        for name, share in (("latency_p50_ms", 0.5), ("latency_p99_ms", 0.99)):
            self.found[name] = round(figures.at_share(share, waits), 1)
        self.found["paced_per_s"] = round(1 / pause_s, 1)

    def on_the_wire(self) -> None:
        """All records that the turns at full speed were made of. Raises Unfinished."""
        turns = self.found["turns"]
        bound_s = WIRE_S + turns / WIRE_TURNS_PER_S
        counted = wire(self.run, *self._places, bound_s)
        if counted is None:
            raise Unfinished(f"the records of {turns:,} turns could not be read within {bound_s:.0f} s")
        for name, value in zip(("wire_records_per_turn", "wire_bytes_per_turn"), counted, strict=True):
            self.found[name] = round(value / turns, 2)

    def back(self, measured: int) -> None:
        """Wait for the calls that are out. Raises Unfinished when they do not come, or came too early."""
        calls = self.point.calls
        if not self.follower.reached(len(self.ids) + calls, time.monotonic() + self.point.call_s + SLACK_S):
            came = len(self.follower.seen) - len(self.ids)
            raise Unfinished(f"{came:,} of {calls:,} calls came back within {self.point.call_s + SLACK_S:.0f} s")
        if calls:  # to decode all entries takes long
            early = sum(e.kind == "result" for e in read_entries(self.run.codec, self.follower.seen[calls:measured]))
            if early:
                raise Unfinished(f"{early:,} of {calls:,} calls came back while it was measured")

    def drain(self) -> None:
        """Let what is still out end, so that the next point has the stack for itself. Raises Trouble."""
        count = len(self.ids) + self.asked
        if not self.follower.reached(count, time.monotonic() + DRAIN_S + self.point.call_s * bool(self.asked)):
            raise Trouble(f"{self.point.name} left {count - len(self.follower.seen):,} events without an entry.")

    def take(self) -> None:
        """All of it. Raises Unfinished."""
        events = self.point.events(self.run.conditions["seed"])
        self.before()
        self.full_speed(events)
        self.slow_pace(events)
        self.back(len(self.follower.seen))
        self.on_the_wire()


def measure(run: Session, checkpoints: Checkpoints, point: Point) -> tuple[dict[str, Any], bool]:
    """The point as one JSON object; whether the stack is fit for the next one."""
    note, fit = "", True
    with run.journal() as follower:
        taking = Taking(run, checkpoints, point, follower)
        try:
            taking.take()
        except Unfinished as error:
            note = str(error)
            try:
                taking.drain()
            except Trouble as trouble:
                note, fit = f"{note}; {trouble}", False
        if fit:
            note = "; ".join(filter(None, (note, wrong(run.codec, follower.seen, taking.ids, taking.asked))))
    return told(point, run, taking.found, note), fit


def told(point: Point, run: Session | None, found: dict[str, Any], unfinished: str) -> dict[str, Any]:
    """The JSON object of a point. run: None when there was none."""
    conditions = dict(run.conditions) if run else {}
    busy = conditions.get("busy", False) or found.get("others_share", 0) > figures.OTHERS_MAX
    conditions |= {
        "threads": point.threads, "spread": point.spread, "payload_bytes": point.payload_bytes,
        "history": point.history, "calls_out": point.calls, "call_s": point.call_s if point.calls else None,
        "full_speed_s": point.seconds, "bound_s": point.bound_s, "mix": "say: an event, a reply",
        "in_flight": point.in_flight(conditions.get("checkpoint_interval_ms", point.interval_ms or 0)),
    }  # fmt: skip
    return {
        "axis": point.axis, "x": point.x, "again": point.again, "unit": UNITS[point.axis], "finished": not unfinished,
        "note": "; ".join(filter(None, (unfinished, point.note))), "busy": busy, **found, "conditions": conditions,
    }  # fmt: skip


def speed(middle: Window, run: Session) -> dict[str, Any]:
    """Rate and CPU in the middle of a stretch at full speed."""
    bench_s = run.meter.used_s("bench", middle.begin_s, middle.begin_s + middle.seconds)
    return {
        "turns_per_s": round(middle.turns / middle.seconds, 1),
        "cpu_ms_per_turn": round(1000 * middle.cpu_s / middle.turns, 4),
        "broker_ms_per_turn": round(1000 * middle.broker_s / middle.turns, 4),
        "sender_and_reader_ms_per_turn": round(1000 * bench_s / middle.turns, 4),
        "others_share": round(middle.others, 3), "window_s": round(middle.seconds, 2),
    }  # fmt: skip


def spread(parts: list[Window]) -> dict[str, Any]:
    """Rate and CPU of equal windows, one after the other: the middle one, and how far the others are from it."""
    found = {
        "turns_per_s": sorted(round(one.turns / one.seconds, 1) for one in parts),
        "cpu_ms_per_turn": sorted(round(1000 * one.cpu_s / one.turns, 4) for one in parts),
    }
    told: dict[str, Any] = {"windows": len(parts)}
    for name, values in found.items():
        told |= {name: median(values), f"{name}_min": values[0], f"{name}_max": values[-1]}
    return told


def sizes(before: Reading, after: Reading, turns: int, host: str) -> dict[str, Any]:
    """Bytes of keyed state and on disk; what grew, over the turns. Compaction can make a folder smaller."""
    return {
        "state_bytes": after.state,
        "state_growth_bytes_per_turn": round((after.state - before.state) / turns),
        "log_bytes_per_turn": round((after.log - before.log) / turns),
        "rocksdb_growth_bytes_per_turn": round((after.rocksdb - before.rocksdb) / turns),
        "checkpoint_folder_growth_bytes_per_turn": round((after.checkpoints - before.checkpoints) / turns),
        "taskmanager_written_bytes_per_turn": round((after.written[host] - before.written[host]) / turns),
        "broker_written_bytes_per_turn": round((after.written["kafka"] - before.written["kafka"]) / turns),
    }


def taken(checkpoints: list[Checkpoint], turns: int) -> dict[str, Any]:
    """Checkpoints that were taken at full speed: how many, and the middle one's increment and duration."""
    if not checkpoints:
        return {"checkpoints": 0}
    return {
        "checkpoints": len(checkpoints),
        "checkpoint_bytes": round(median(one.written_bytes for one in checkpoints)),
        "checkpoint_bytes_per_turn": round(sum(one.written_bytes for one in checkpoints) / turns),
        "checkpoint_ms": round(median(one.took_ms for one in checkpoints)),
    }


def wrong(codec: Codec, seen: list[Committed], ids: list[str], calls: int) -> str:
    """What keeps the journal from being one entry for each event, and one for each call; empty when it is that."""
    counts, verdicts = Counter[str](), Counter[tuple[str, str]]()
    for at in range(0, len(seen), DECODED):
        for entry in read_entries(codec, seen[at : at + DECODED]):
            verdicts[entry.kind, entry.verdict] += 1
            counts.update([entry.input.id] if entry.kind == "event" else [])
    wanted = {("event", "began"): len(ids), ("result", "resumed"): calls}
    missing, more = len(set(ids) - counts.keys()), sum(count - 1 for count in counts.values())
    if missing or counts.keys() - set(ids) or verdicts != Counter(wanted):
        said = ", ".join(f"{count:,} {kind} {verdict}" for (kind, verdict), count in sorted(verdicts.items()))
        return (
            f"of {len(ids):,} events {missing:,} have no entry, {more:,} entries are too many; the journal has {said}"
        )
    return ""


def not_measured(point: Point, why: str) -> dict[str, Any]:
    """The JSON object of a point that nothing was measured for."""
    return told(point, None, {}, f"not measured: {why[:WHY_CHARS]}")


def warm_up(run: Session, checkpoints: Checkpoints, seconds: float) -> None:
    """Turns until Java has compiled what is hot; a figure taken meanwhile would be the compiler's. Raises Trouble."""
    point = Point("warm", "up", seconds, threads=2_000, interval_ms=run.settings.checkpoint_interval_ms)
    with run.journal() as follower:
        taking = Taking(run, checkpoints, point, follower)
        try:
            taking.feed("warm-up", point.events(0), seconds, 0, point.turns_max, point.bound_s)
        except Unfinished as error:
            raise Trouble(f"{error}.", "Read the logs under the stack's folder.") from error
