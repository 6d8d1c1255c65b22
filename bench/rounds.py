# SPDX-License-Identifier: Apache-2.0
"""Rounds of one job: its phases, sent one after the other, and what the middle of each says."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from bench.feed import Committed, Feeder, Follower
from bench.meter import Meter
from bench.mix import Phase, Sent, Verdicts
from ops.context import Trouble
from schemas.codec import Codec
from threadlog.entry import Entry

EDGE = 0.1  # of a phase's turns at each end; in between the job never waits for a record


@dataclass(frozen=True, slots=True)
class Window:
    """The middle of one phase. `turns` are entries of input records, `timers` entries of timers."""

    seconds: float
    turns: int
    timers: int
    cpu_s: float
    broker_s: float
    others: float
    phase_s: float  # from the first record sent to the last entry appended
    begin_s: float  # the clock's time


@dataclass(frozen=True)
class Round:
    """The windows of one round of one job, and the round as a whole: `wall_s` with the gaps between phases."""

    windows: list[Window]
    turns: int
    wall_s: float
    value_bytes_in: float
    value_bytes_out: float

    @property
    def begin_s(self) -> float:
        """The clock's time at which the first window begins."""
        return self.windows[0].begin_s

    @property
    def end_s(self) -> float:
        """The clock's time at which the last window ends."""
        return self.windows[-1].begin_s + self.windows[-1].seconds

    @property
    def turns_per_s(self) -> float:
        """Over the middles of all phases."""
        return sum(w.turns for w in self.windows) / sum(w.seconds for w in self.windows)

    @property
    def entries_per_s(self) -> float:
        """The same with timers counted as well."""
        return sum(w.turns + w.timers for w in self.windows) / sum(w.seconds for w in self.windows)

    @property
    def cpu_ms_per_turn(self) -> float:
        """Of the job's TaskManager."""
        return 1000 * sum(w.cpu_s for w in self.windows) / sum(w.turns for w in self.windows)

    @property
    def broker_ms_per_turn(self) -> float:
        """Of the broker, which also serves the sender and the reader."""
        return 1000 * sum(w.broker_s for w in self.windows) / sum(w.turns for w in self.windows)

    @property
    def turns_per_s_with_gaps(self) -> float:
        """From the first record sent to the last entry appended."""
        return self.turns / self.wall_s

    @property
    def others(self) -> float:
        """The share of the machine that others took meanwhile."""
        return fmean(window.others for window in self.windows)


Kinds = Callable[[Committed], str]


def window(committed: list[Committed], kinds: list[str], meter: Meter, host: str, began: float) -> Window:
    """The middle of a phase, from the records that came of it."""
    (middle,) = windows(committed, kinds, meter, host, began, 1)
    return middle


def windows(
    committed: list[Committed], kinds: list[str], meter: Meter, host: str, began: float, parts: int
) -> list[Window]:
    """The same in so many windows, one after the other, with as many turns each."""
    turns = sorted(one.at_s for one, kind in zip(committed, kinds, strict=True) if kind != "timer")
    timers = [one.at_s for one, kind in zip(committed, kinds, strict=True) if kind == "timer"]
    phase_s = max(one.at_s for one in committed) - began
    edges = [turns[int((EDGE + (1 - 2 * EDGE) * number / parts) * len(turns))] for number in range(parts + 1)]
    return [
        Window(
            end - begin, _count(turns, begin, end), _count(timers, begin, end), meter.used_s(host, begin, end),
            meter.used_s("kafka", begin, end), meter.others_share(begin, end), phase_s, begin,
        )
        for begin, end in pairwise(edges)
    ]  # fmt: skip


def _count(times: list[float], begin: float, end: float) -> int:
    return sum(begin < at <= end for at in times)


def run(phases: list[list[Sent]], expected: list[int], feeder: Feeder, follower: Follower) -> list[Any]:
    """Send the phases one after the other; for each when it began and what was committed of it."""
    found = []
    for records, count in zip(phases, expected, strict=True):
        before, began = len(follower.seen), time.time()
        feeder.send(records)
        follower.wait(before + count)
        found.append((began, follower.seen[before:]))
    return found


def summary(found: list[Any], kinds: Kinds, meter: Meter, host: str, phases: list[list[Sent]], turns: int) -> Round:
    """The round that these phases were."""
    windows = [window(seen, [kinds(one) for one in seen], meter, host, began) for began, seen in found]
    wall_s = max(one.at_s for one in found[-1][1]) - found[0][0]
    sent = [len(value) for phase in phases for _, _, value, _ in phase]
    came = [len(one.value) for _, seen in found for one in seen]
    return Round(windows, turns, wall_s, fmean(sent), fmean(came))


def read_entries(codec: Codec, committed: list[Committed]) -> list[Entry]:
    """The journal entries in records."""
    entries = []
    for one in committed:
        _, _, data = codec.decode(one.value)
        data["input"]["value"] = base64.b64decode(data["input"]["value"])
        entries.append(Entry.from_dict(data))
    return entries


def decision_ms(seen: list[tuple[float, Entry]]) -> list[float]:
    """From the broker's append of each event to the time when its committed entry was seen."""
    return [1000 * at - entry.input.log_time_ms for at, entry in seen if entry.kind == "event"]


def check_done(codec: Codec, entries: list[Entry], calls: int) -> None:
    """Raise Trouble unless these entries have a result of each of so many calls, one a thread, and all are done."""
    ended = {one.thread: codec.decode(one.input.value)[2]["status"] for one in entries if one.kind == "result"}
    if (statuses := Counter(ended.values())) != Counter(done=calls):
        raise Trouble(
            f"All of {calls} calls should be done; the journal has {dict(statuses)}.",
            "Read the log of the tools job's TaskManager.",
        )


def check(number: int, phase: Phase, entries: list[Entry], heads: dict[str, str]) -> None:
    """Raise Trouble unless these entries are what was planned, each continuing its thread."""
    verdicts: Verdicts = Counter((entry.kind, entry.verdict) for entry in entries)
    if verdicts != phase.verdicts:
        raise Trouble(f"Phase {number}: planned {dict(phase.verdicts)}, the journal has {dict(verdicts)}.")
    for entry in entries:
        if entry.prev != heads.get(entry.thread, ""):
            raise Trouble(f"Phase {number}: entry {entry.seq} of {entry.thread} does not continue its thread.")
        heads[entry.thread] = entry.hash
