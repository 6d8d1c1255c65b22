# SPDX-License-Identifier: Apache-2.0
"""Leases: a running copy of a job says so every few seconds, and a second one is not started beside it.

Two copies would fence each other's transactions, and each would decide what the other decides. The lease is renewed in
the process that does the work, so it tells of a copy in whatever cluster that runs.

Flink brings a copy back whenever it likes, also while another one is started. So each side shows itself before it
looks: a copy appends its lease, then reads the marks of starts; a start appends its mark, then reads the leases. Of the
two at least one sees the other. And whoever was not heard for a while, because it hung, or its broker was out of reach,
or it took long to begin, looks again before it decides anything: a start may have taken it for dead.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.cloudevents import root_traceparent, write_headers
from schemas.codec import Codec
from schemas.errors import Unreadable
from schemas.topics import kafka_name
from wire.control import Overtaken, here
from wire.frames import Record
from wire.kafka import bounds, follow, read_topic

TOPIC, TYPE, SOURCE = "agent-leases", "threadlog.Lease", "/threadlog/lease"
ASKS, HELD, RELEASED, OVERTAKEN, UNREADY = "asks", "held", "released", "overtaken", "unready"
RENEW_S, LOOK_S = 2.0, 20.0  # so often a running copy says that it lives, and asks whether it may go on
# Longer than a checkpoint's pause or a loaded machine keeps a live copy from renewing.
OBSERVE_S = 7.0
# Shorter than that: who was not heard for so long may be taken for dead soon.
UNHEARD_S = 5.0
# For so long a look holds good. A start that comes right after it takes longer until its job decides anything.
LOOK_HOLDS_S = 1.0
# Longer than a broker's restart: a task that waits for its answer goes on, one that fails is started anew.
LOOK_FOR_S, _LOOK_AGAIN_S = 30.0, 0.2
DEAD_S = 90.0  # by this clock and by the newest lease: who has renewed nothing for so long is not even waited for
_TAIL = 300  # records, of all subtasks; what lies before is older than DEAD_S, or compacted
_FLUSH_S, _ACK_S, _ASK_S = 3.0, 0.5, 10.0
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first goes on while a machine is suspended


class Lease:
    """Held from `hold` until `release`, or until the thread that called `hold` has ended without one.

    `generation`: the start that it is of, 0 for none. `trouble`: why its holder must end; "" while it may go on."""

    def __init__(self, job: str, namespace: str, generation: int = 0) -> None:
        self.job, self.namespace, self.generation, self.trouble = job, namespace, generation, ""
        # By the monotonic clock when the last renewal was sent that the broker has, `inf` where none is held; and the
        # last look. `_gap`: the broker did not hear it for a while, and since then it has not looked. `_steady`: since
        # when there was no such while.
        self._heard, self._looked, self._gap, self._steady = math.inf, -math.inf, False, -math.inf

    def hold(
        self, sender: Producer, codec: Codec, begin: Callable[[], None] = lambda: None,
        look: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Say that this copy is there, ask whether it may `begin`, and then renew.

        `begin` and `look` raise Overtaken where the copy must end; `look` is called every now and then. What `begin`
        raises is raised; KafkaException where nobody has heard of this copy."""
        self._look, self.trouble, self._sender, self._codec = look, "", sender, codec
        self._released = threading.Event()
        # An attempt of a task has a thread of its own, and it may end without a word.
        self._holder, self._owner = uuid.uuid4().hex, threading.get_native_id()
        self._said(ASKS)
        self._gap = False
        try:
            begin()
        except BaseException as error:
            # Flink tries a copy that was overtaken again and again, and with each try its sink fences the later copy.
            self._say(OVERTAKEN if isinstance(error, Overtaken) else UNREADY)
            _part(sender)
            raise
        self._thread = threading.Thread(target=self._renew, name="threadlog-lease", daemon=True)
        self._thread.start()

    def why_not(self) -> str:
        """Why the holder may decide nothing more, "" while it may. To be asked before each decision.

        Raises KafkaException, WireError where it was not heard for a while and cannot look either."""
        if self._is_unheard() and not self.trouble:
            self._look_again(_now() + LOOK_FOR_S)
        return self.trouble

    def steady_s(self) -> float:
        """For how many seconds this process and the broker have heard of each other without a gap; `inf` where nothing
        is held. Looks once where it was not heard for a while."""
        if self._is_unheard() and not self.trouble:
            with suppress(Exception):  # raised before a decision, should one come
                self._look_again(-math.inf)
        return 0.0 if (now := _now()) - max(self._heard, self._looked) > UNHEARD_S else now - self._steady

    def _is_unheard(self) -> bool:
        """Whether it may have been taken for dead since it looked."""
        now = _now()
        # In this order: a report of delivery sets the gap before the time.
        return (now - self._heard > UNHEARD_S or self._gap) and now - self._looked > LOOK_HOLDS_S

    def _look_again(self, until: float) -> None:
        while not self.trouble:
            began, self._gap = _now(), False  # what goes unheard during the look is another gap
            try:
                self._look()
                if _now() - max(self._heard, self._looked) > UNHEARD_S:
                    self._steady = _now()
                self._looked = began  # what it has read may be as old as that
                if _now() - began < UNHEARD_S:
                    return
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"whether {self.job} may go on is told slowly"))
            except Overtaken as error:
                self.trouble = str(error)
            except Exception:
                self._gap = True
                if _now() > until:
                    raise
                time.sleep(_LOOK_AGAIN_S)

    def release(self) -> None:
        """Say that this copy has ended. Safe to repeat, and where nothing was ever held."""
        if hasattr(self, "_thread"):
            self._released.set()
            self._thread.join(2 * _FLUSH_S)

    def _renew(self) -> None:
        looked = _now() - LOOK_S  # asked soon: another start may have been made since this one may begin
        while not self._released.is_set() and _lives(self._owner):
            self._say(HELD)
            self._released.wait(RENEW_S)
            if _now() - looked > LOOK_S:
                looked = _now() if self._ask() else looked
        self._say(RELEASED)
        _part(self._sender)

    def _ask(self) -> bool:
        """Whether it could look."""
        try:
            self._look()
        except Overtaken as error:
            self.trouble = str(error)
        except Exception as error:  # asked again in a moment
            print(f"threadlog: whether {self.job} may go on cannot be read: {error}", flush=True)
            return False
        return True

    def _say(self, state: str) -> None:
        """What does not arrive is said again in a moment."""
        try:
            self._send(state)
            self._sender.flush(_ACK_S)
        except Exception as error:
            print(f"threadlog: the lease of {self.job} was not renewed: {error}", flush=True)

    def _said(self, state: str) -> None:
        """Say it and wait until the broker has it. Raises KafkaException."""
        self._heard = -math.inf
        self._send(state)
        self._sender.flush(_ASK_S)
        if self._heard == -math.inf:
            _part(self._sender)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"the lease of {self.job} was not acknowledged"))

    def _send(self, state: str) -> None:
        value, key, headers = record_of(self._codec, self.job, self._holder, state, self.generation)
        sent = _now()

        def delivered(error: KafkaError | None, _: object) -> None:
            if error:
                print(f"threadlog: the lease of {self.job} was not renewed: {error}", flush=True)
                return
            # From the last one's being sent to now: what waited to be sent looks as if it came in good time.
            if _now() - self._heard > UNHEARD_S:
                self._gap, self._steady = True, _now()
            self._heard = max(self._heard, sent)

        self._sender.produce(kafka_name(self.namespace, TOPIC), value, key, headers=headers, on_delivery=delivered)


def record_of(codec: Codec, job: str, holder: str, state: str, generation: int = 0) -> tuple[bytes, bytes, list[Any]]:
    """A lease as a record: value, key, headers."""
    time_ms = time.time_ns() // 1_000_000
    said = {"job": job, "holder": holder, "state": state, "place": here(), "time_ms": time_ms, "generation": generation}
    value = codec.encode(TYPE, said)
    headers = write_headers(
        id=f"{holder}/{time_ms}", source=SOURCE, type=TYPE, thread=job, time_ms=time_ms, value=value,
        traceparent=root_traceparent(SOURCE, holder),
    )  # fmt: skip
    return value, job.encode(), [*headers]


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _part(sender: Producer) -> None:
    """Let what is on its way arrive, and give up the rest: a producer that waits for a report is never freed."""
    sender.flush(_FLUSH_S)
    sender.purge()
    sender.flush(0)


def _lives(thread: int) -> bool:
    """Whether a thread of this process, by its native id, still runs; where nothing can tell, it does."""
    tasks = Path("/proc/self/task")
    return not tasks.is_dir() or (tasks / str(thread)).is_dir()


class Found(NamedTuple):
    """Where a copy of a job runs, "" if none does; and up to which offset each partition was read to know that."""

    place: str
    read: Mapping[int, int]


def living(bootstrap: str, namespace: str, codec: Codec, job: str, now: Callable[[], float] = time.time) -> Found:
    """Whether a copy of the job runs. Takes OBSERVE_S where the last one ended without a word.

    Raises KafkaException, RegistryUnavailable."""
    topic, at = kafka_name(namespace, TOPIC), _ends(bootstrap, namespace)
    holders: dict[str, str] = {}
    after: dict[tuple[str, int], int] = {(topic, partition): end - 1 for partition, end in at.items()}
    tail = [*_tail(bootstrap, namespace, at)]
    dead_ms = min(now() * 1000, max((record.timestamp_ms for record in tail), default=0)) - DEAD_S * 1000
    for record in tail:
        if record.timestamp_ms > dead_ms:
            _note(record, codec, job, holders)
        after[topic, record.partition] = max(record.offset, after.get((topic, record.partition), -1))
    place, until, read, asks = "", now() + OBSERVE_S, dict(after), False
    for news in follow(bootstrap, [topic], after=after) if holders else ():
        if news is not None:
            said = _note(news, codec, job, holders)
            place = next(reversed(holders.values())) if said == HELD else ""
            # Who asked just before the time is up has not been waited for: `joined` reads on from there.
            asks = asks or said == ASKS
            read[topic, news.partition] = read[topic, news.partition] if asks else news.offset
        if place or not holders or now() > until:
            break
    return Found(place, {partition: offset + 1 for (_, partition), offset in read.items()})


def joined(bootstrap: str, namespace: str, codec: Codec, job: str, since: Mapping[int, int]) -> str:
    """Where a copy runs that has said so behind these offsets, "" where none does.

    One that asks whether it may is waited for. If it takes long, it looks again before it decides anything. Raises
    KafkaException, RegistryUnavailable."""
    until = time.monotonic() + OBSERVE_S
    while True:
        records = read_topic(bootstrap, kafka_name(namespace, TOPIC), since, missing=True)
        said = {lease["holder"]: lease for record in records if (lease := _lease(record, codec, job))}
        if held := next((one["place"] for one in said.values() if one["state"] == HELD), ""):
            return str(held)
        if time.monotonic() > until or all(one["state"] != ASKS for one in said.values()):
            return ""
        time.sleep(_LOOK_AGAIN_S)


def has_held(bootstrap: str, namespace: str, codec: Codec, job: str, generation: int) -> bool:
    """Whether a copy of this generation has held a lease, of late: a minute at least, with any number of subtasks.

    Raises KafkaException, RegistryUnavailable."""
    said = (_lease(record, codec, job) for record in _tail(bootstrap, namespace, _ends(bootstrap, namespace)))
    return any(one.get("state") in (HELD, RELEASED) and one.get("generation") == generation for one in said)


def _ends(bootstrap: str, namespace: str) -> dict[int, int]:
    """For each partition the offset after the last lease; nothing without the topic. Raises KafkaException."""
    return {partition: high for partition, (_, high) in bounds(bootstrap, kafka_name(namespace, TOPIC)).items()}


def _tail(bootstrap: str, namespace: str, at: Mapping[int, int]) -> Iterator[Record]:
    first = {partition: max(0, end - _TAIL) for partition, end in at.items()}
    return read_topic(bootstrap, kafka_name(namespace, TOPIC), first) if any(at.values()) else iter(())


def _lease(record: Record, codec: Codec, job: str) -> dict[str, Any]:
    """A lease as its schema has it; nothing for a record that is none of this job's."""
    try:
        data: dict[str, Any] = codec.decode_own(record.value, TYPE)
    except Unreadable:
        return {}
    return data if data["job"] == job else {}


def _note(record: Record, codec: Codec, job: str, holders: dict[str, str]) -> str:
    """Take one lease into account; its state, "" for another job's. Who asks soon holds one, or says it does not."""
    if not (data := _lease(record, codec, job)):
        return ""
    holders.pop(data["holder"], None)
    if data["state"] in (ASKS, HELD):
        holders[data["holder"]] = data["place"]
    return str(data["state"])
