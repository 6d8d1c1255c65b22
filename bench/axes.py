# SPDX-License-Identifier: Apache-2.0
"""The axes of the cost curves as data: the points of each, how long one may take, and which thread is next.

Pure: the same seed gives the same events in the same order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, cycle, groupby

from bench.live import ASK
from threadlog.limits import Limits

AXES = ("threads", "history", "payload", "skew", "waiting", "checkpoint")
UNITS = {
    "threads": "threads", "history": "messages on each thread before", "payload": "bytes of text in an event",
    "skew": "how events fall on 10,000 threads", "waiting": "calls out", "checkpoint": "ms between checkpoints",
}  # fmt: skip
USUAL_THREADS, SAY_BYTES = 10_000, 100
ZIPF_EXPONENT = 1.1
# Turns on threads that the job has let go of, ten times as many as it keeps: what more of them say is the same.
COLD_TURNS = 100_000
# A point that handles fewer turns a second than this, all of its parts together, is not finished within its bound.
FLOOR_TURNS_PER_S, FLOOR_BYTES_PER_S, SLACK_S = 400, 1_000_000, 30
# Calls must be out until the last latency was taken: they are asked for, then there is full speed, then a slow pace.
CALL_S_MIN, ASKED_PER_S, CALL_SLACK_S = 60.0, 500, 20.0
# Events that are out at a time: enough that the job never waits for one, few enough that the end comes soon.
IN_FLIGHT, IN_FLIGHT_BYTES, BEST_TURNS_PER_S = 5_000, 64_000_000, 3_000
# A text of an event lies in two places of it, each with a few bytes around: what is left of the limit.
PAYLOAD_BYTES_MAX = Limits().event_bytes - 1024

Event = tuple[str, str, dict[str, str]]  # thread, type, data


@dataclass(frozen=True)
class Point:
    """One point of an axis. Times in seconds, sizes in bytes.

    spread: which thread an event goes to, "in turn", "uniform", "zipf" or "hot". history: messages that each thread has
    before anything is measured; one at least, for a thread's first turn loads no state and is cheaper. calls: how many
    are out meanwhile. interval_ms: of the checkpoints, on a stack of its own; None: on the stack that all the others
    share. At full speed events are sent for `seconds` and until `turns_min` of them were, but no more than `turns_max`;
    all of it must be over after `bound_s`. again: it is the first point of its stack once more, with threads of its
    own."""

    axis: str
    x: int | str
    seconds: float
    threads: int = USUAL_THREADS
    spread: str = "in turn"
    payload_bytes: int = SAY_BYTES
    history: int = 1
    calls: int = 0
    interval_ms: int | None = None
    turns_min: int = 0
    turns_max: int = 10**9
    note: str = ""
    again: bool = False

    @property
    def name(self) -> str:
        """Of the point and of its threads."""
        return f"{'again-' * self.again}{self.axis}-{self.x}"

    @property
    def stack(self) -> tuple[str, int | None]:
        """Points for which this is the same are measured on one stack. An axis has its own: what the points of another
        leave in RocksDB makes every turn dearer."""
        return self.axis, self.interval_ms

    @property
    def bound_s(self) -> float:
        """Within which full speed must be over, to the last entry: what is out in the end is handled after it."""
        out = self.in_flight(self.interval_ms or 0)
        return 2 * self.seconds + (self.turns_min + out) / FLOOR_TURNS_PER_S + SLACK_S

    @property
    def before_bound_s(self) -> float:
        """Within which that must be over which has to be there before: histories, calls."""
        many = self.history * self.threads
        return (many + self.calls) / FLOOR_TURNS_PER_S + many * self.payload_bytes / FLOOR_BYTES_PER_S + SLACK_S

    @property
    def call_s(self) -> float:
        """How long a call takes: longer than all that is measured meanwhile."""
        return max(CALL_S_MIN, self.calls / ASKED_PER_S + self.seconds + CALL_SLACK_S)

    def in_flight(self, interval_ms: int) -> int:
        """Events that may be out at a time with this interval of checkpoints: what is not committed is not readable."""
        many = max(IN_FLIGHT, BEST_TURNS_PER_S * 3 * interval_ms // 1000)
        return max(100, min(many, IN_FLIGHT_BYTES // self.payload_bytes))

    def before(self) -> Iterator[Event]:
        """The events that must be handled before anything is measured."""
        for number in range(self.calls):
            yield f"{self.name}-call-{number}", ASK, {"text": f"look:{self.call_s}", "data": "{}"}
        for _ in range(self.history):
            for thread in range(self.threads):
                yield f"{self.name}-{thread}", ASK, {"text": "say" + "-" * (self.payload_bytes - 3), "data": "{}"}

    def events(self, seed: int) -> Iterator[Event]:
        """What is measured, without end."""
        draw = random.Random(f"{seed}/{self.name}/text")
        # A few texts over and over: to make one is dearer than to send it, and each batch holds less than all of them.
        texts = [words(draw, self.payload_bytes) for _ in range(64)]
        for number, thread in enumerate(picks(self.spread, self.threads, f"{seed}/{self.name}")):
            yield f"{self.name}-{thread}", ASK, {"text": texts[number % len(texts)], "data": "{}"}


def words(draw: random.Random, size: int) -> str:
    """A text of so many bytes, which a compressor finds as dull as what people write."""
    return ("say " + "".join(draw.choices("abcdefghij klmnop ", k=size)))[:size]


def picks(spread: str, threads: int, seed: str) -> Iterator[int]:
    """The numbers of the threads that events go to, without end. Raises ValueError for a spread that is none."""
    draw = random.Random(seed)
    match spread:
        case "in turn":
            yield from cycle(range(threads))
        case "hot":
            yield from cycle((0,))
        case "uniform":
            while True:
                yield draw.randrange(threads)
        case "zipf":
            weights = list(accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(threads)))
            while True:
                yield from draw.choices(range(threads), cum_weights=weights, k=1_000)
        case _:
            raise ValueError(f"no spread is called {spread!r}")


def plan(axes: tuple[str, ...], seconds: float, long: bool = False) -> list[Point]:
    """The points of these axes, those of one stack next to each other. `long`: a million threads as well.

    A stack with several points ends with its first one again: so far do points differ that should be equal."""
    makers = {
        "threads": _threads, "history": _history, "payload": _payload, "skew": _skew, "waiting": _waiting,
        "checkpoint": _checkpoint,
    }  # fmt: skip
    points = [point for axis in AXES if axis in axes for point in makers[axis](seconds, long)]
    stacks = [list(ones) for _, ones in groupby(points, lambda point: point.stack)]
    return [point for ones in stacks for point in (*ones, *(replace(one, again=True) for one in ones[:1] if ones[1:]))]


def _threads(seconds: float, long: bool) -> list[Point]:
    """Each thread has its second message measured, of a million those of the first hundred thousand."""
    numbers = [100, 1_000, 10_000, 100_000, *([1_000_000] if long else [])]
    return [Point("threads", n, seconds, threads=n, turns_min=min(n, COLD_TURNS)) for n in numbers]


def _history(seconds: float, long: bool) -> list[Point]:
    """Fewer threads the longer their histories are, so that these can be made; measured before they are half as long
    again, or the axis would not say where it is."""
    sizes = ((10, 1_000), (100, 400), (1_000, 40), (10_000, 8))
    return [
        Point("history", x, seconds, threads=threads, history=x, turns_max=threads * max(10, x // 2))
        for x, threads in sizes
    ]


def _payload(seconds: float, long: bool) -> list[Point]:
    return [_payload_of(size, seconds) for size in (100, 1_000, 10_000, 100_000)]


def _payload_of(size: int, seconds: float) -> Point:
    if size <= PAYLOAD_BYTES_MAX:
        return Point("payload", size, seconds, payload_bytes=size, threads=1_000)
    note = f"{size:,} bytes are over the product's limit for an event; this is the largest that is taken"
    return Point("payload", PAYLOAD_BYTES_MAX, seconds, payload_bytes=PAYLOAD_BYTES_MAX, threads=1_000, note=note)


def _skew(seconds: float, long: bool) -> list[Point]:
    threads = {"uniform": USUAL_THREADS, "zipf": USUAL_THREADS, "hot": 1}
    return [Point("skew", spread, seconds, spread=spread, threads=number) for spread, number in threads.items()]


def _waiting(seconds: float, long: bool) -> list[Point]:
    return [Point("waiting", calls, seconds, calls=calls, threads=1_000) for calls in (0, 10, 100, 1_000, 10_000)]


def _checkpoint(seconds: float, long: bool) -> list[Point]:
    """At least five checkpoints each."""
    return [
        Point("checkpoint", ms, max(seconds, 5 * ms / 1000), interval_ms=ms, threads=1_000)
        for ms in (100, 200, 1_000, 10_000)
    ]
