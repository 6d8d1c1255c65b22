# SPDX-License-Identifier: Apache-2.0
"""One watch: it takes the records of journal, inputs and leases as they come, and now and then looks at the rest.

                                                       ┌─► chain of each thread ──► void entries, at once
journal, inputs, leases, read from their beginning ────┼─► inputs passed over ────► lost commits, once confirmed
                                                       └─► who renews a lease ────► nobody, or too many
marks of starts ──────────────────────────────────────────────────────────────────► what a rebuild has healed
stable ends of what the job writes in transactions ───────────────────────────────► a transaction that hangs
committed offsets and what retention leaves ──────────────────────────────────────► a job that falls behind that
Flink's REST ─────────────────────────────────────────────────────────────────────► a job that does not run
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from ops.hints import Hints, hints
from ops.reading import Journal, name_of
from ops.settings import Settings
from ops.voids import Void
from ops.watching.alarms import Alarms, Wrong
from ops.watching.inputs import TOPICS as INPUTS
from ops.watching.inputs import Given, Place
from ops.watching.jobs import wrong_jobs
from ops.watching.lag import Lag
from ops.watching.leases import TRIES_S, Leases
from ops.watching.lost import Lost
from ops.watching.transactions import TOPICS as WRITTEN
from ops.watching.transactions import Held
from schemas.errors import WireError
from schemas.topics import topic_of
from threadlog.following import BROKEN
from wire.control import TOOLS, Written, last_rebuild, mark_in, read_marks
from wire.control import TOPIC as CONTROL
from wire.frames import Record
from wire.journal import TOPIC as JOURNAL
from wire.transactions import StableEnds

LEASES = "agent-leases"
FOLLOWED = (JOURNAL, LEASES, CONTROL, *INPUTS)
# A restart of it takes less, as does one of the registry.
BROKER_S = 15.0
_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
FOREIGN = "Find out who writes the journal beside the conversation"


@dataclass(frozen=True)
class News:
    """What is to be told: a line for a person, an object for a program, and whether the state must be made anew.

    place   where the journal breaks, for a void entry
    mark    where the last rebuild is told of by which this was judged, -1 for none
    """

    line: str
    record: dict[str, Any]
    broken: bool = False
    place: tuple[int, int] | None = None
    mark: int = -1


@dataclass
class Watch:
    """All that is followed. Times are monotonic seconds, given by the caller.

    `broken`: the void entries that were told of. Those before the last rebuild are `healed`: they are counted.
    `unread`: why the last record could not be read; it is to be taken again, or what it says is missed."""

    settings: Settings
    journal: Journal = field(init=False)
    entries: int = 0
    broken: list[Void] = field(default_factory=list)
    healed: int = 0
    unread: WireError | None = None

    def __post_init__(self) -> None:
        self.journal = Journal(self.settings, from_snapshot=True)
        self._hints = hints(self.settings)
        self._alarms, self._held = Alarms(), Held(self.settings.checkpoint_interval_ms)
        self._leases = Leases(hints=self._hints)
        self._lag = Lag(self.settings, self.journal.codec)
        self._cut = set[int]()  # partitions of the journal that are known not to hold their threads' beginnings
        self._ends = StableEnds(self.settings.bootstrap, [name_of(self.settings, topic) for topic in WRITTEN])
        self._lost = Lost(self.settings, self.journal.codec)
        self._marks = list[Written]()
        self._rebuilt: Written | None = None
        # What was found last, by leases and by the rest; and from when on leases tell anything again.
        self._of_leases, self._found, self._hears = list[Wrong](), list[Wrong](), 0.0
        self.read_marks()

    def take(self, record: Record, now: float) -> list[News]:
        """Take the next record of any topic that is followed into account; what it tells."""
        try:
            news, self.unread = self._take(record, now), None
        except WireError as error:
            news, self.unread = [], error
        return news

    def _take(self, record: Record, now: float) -> list[News]:
        topic = topic_of(self.settings.namespace, record.topic)
        if topic == LEASES:
            self._leases.take(record, self.journal.codec, now)
        elif topic in INPUTS:
            self._lost.given(topic, record, now)
        elif topic == CONTROL and (written := mark_in(record, self.journal.codec)) is not None:
            self._mark(written)
        elif topic == JOURNAL:
            return self._entry(record)
        return []

    def _entry(self, record: Record) -> list[News]:
        told, cut = len(self.journal.voids), len(self.journal.cut)
        self._lost.read(record)
        if (entry := self.journal.take(record)) is not None:
            self.entries += 1
            self._lost.decided(entry, record)
        broken = self._unhealed(self.journal.voids[told:])
        self.broken += broken
        news = [of_void(void, self._judged_by, self._hints.rebuild) for void in broken]
        if len(self.journal.cut) > cut and record.partition not in self._cut:
            self._cut.add(record.partition)
            news.append(of_cut(record.partition, self.journal.lows[record.partition]))
        return news

    def _unhealed(self, voids: list[Void]) -> list[Void]:
        """Those of them that no rebuild has healed; the others are counted."""
        ends = self._rebuilt.mark.journal if self._rebuilt else {}
        left = [void for void in voids if void.offset >= ends.get(void.partition, 0)]
        self.healed += len(voids) - len(left)
        return left

    def look(self, now: float) -> list[News]:
        """What is wrong beside the records, and what no longer is.

        What cannot be asked now is as it was found last: a silence ends no alarm."""
        news, silent = list[News](), [] if self.unread is None else [of_registry(self.unread, self._hints)]
        try:
            ends = self._ends.look()
            self._held.look(now, ends)
            found = self._held.wrong(now)
            lost = self._lost.look(now, ends)
            news += [of_lost(*one, self._judged_by, self._hints.rebuild) for one in lost.items()]
            self._found = found + self._lag.wrong(now)
        except KafkaException as error:
            silent.append(of_broker(error.args[0], self._hints))
        except WireError as error:
            silent.append(of_registry(error, self._hints))
        self._look_at_leases(now, self.unread is None and all(wrong.kind != "broker" for wrong in silent))
        found = [*self._of_leases, *self._found, *{wrong.key: wrong for wrong in silent}.values()]
        if self.settings.is_local:
            found = without_echo(found, wrong_jobs(self.settings))
        return news + [of_wrong(*told) for told in self._alarms.look(now, found)]

    def _look_at_leases(self, now: float, are_read: bool) -> None:
        """What was told of them is not over before each copy had the time to say something again."""
        if not are_read:
            self._hears = now + TRIES_S
        before = [wrong for wrong in self._of_leases if now < self._hears and wrong.key in self._alarms.told]
        heard = self._leases.wrong(now) if are_read else []
        self._of_leases = [*{wrong.key: wrong for wrong in (*before, *heard)}.values()]

    def read_marks(self) -> None:
        """Read what rebuilds have healed as of now. Raises KafkaException, RegistryUnavailable."""
        for written in read_marks(self.settings.bootstrap, self.settings.namespace, self.journal.codec):
            self._mark(written)

    def _mark(self, written: Written) -> None:
        """A mark of a start was read, perhaps for the second time."""
        if self._marks and written.offset <= self._marks[-1].offset:
            return
        self._marks.append(written)
        rebuilt, before = last_rebuild(self._marks), self._rebuilt
        self._rebuilt = rebuilt
        if rebuilt is not None and rebuilt is not before:
            self._lost.healed(rebuilt.mark.journal)
            self.broken = self._unhealed(self.broken)

    @property
    def _judged_by(self) -> int:
        return -1 if self._rebuilt is None else self._rebuilt.offset

    def counts(self, now: float) -> dict[str, Any]:
        """The figures of now, for a metric."""
        return {
            "entries": self.entries, "threads": len(self.journal.heads), "void": len(self.journal.voids),
            "healed": self.healed,
            "cut": self.journal.cut.total(), "lost": self._lost.count, "held_s": round(self._held.oldest_s(now), 1),
            "alarms": len(self._alarms.told),
        }  # fmt: skip


def without_echo(found: Iterable[Wrong], jobs: list[Wrong]) -> list[Wrong]:
    """Where Flink tells that the conversation does not run, that nobody holds its lease tells nothing more."""
    down = any(wrong.kind in ("job", "slots", "jobmanager") and wrong.fields.get("job") != TOOLS for wrong in jobs)
    return [*(wrong for wrong in found if not (down and wrong.kind == "lease")), *jobs]


def of_broker(error: KafkaError, hints: Hints) -> Wrong:
    """That the broker does not answer, or lacks a topic."""
    if error.code() in _MISSING:
        do = "`threadlog topics --ensure` makes missing topics"
        return Wrong("topic", f"A topic is missing ({error.str()})", do, BROKER_S)
    return Wrong("broker", f"The broker does not answer ({error.str()})", hints.broker, BROKER_S)


def of_registry(error: WireError, hints: Hints) -> Wrong:
    """That the registry does not answer, so that not all can be read."""
    return Wrong("registry", f"Not all can be read: {error}", hints.registry, BROKER_S)


def of_void(void: Void, mark: int, rebuild: str) -> News:
    """A void entry as news."""
    broken = void.reason.startswith(BROKEN)
    do = rebuild if broken else FOREIGN
    record = {
        "alarm": "void", "thread": void.thread, "partition": void.partition, "offset": void.offset,
        "reason": void.reason, "do": do,
    }  # fmt: skip
    line = f"ALARM {void.thread} at {void.partition}/{void.offset}: {void.reason}. {do}"
    return News(line, record, broken, (void.partition, void.offset), mark)


def of_cut(partition: int, low: int) -> News:
    """What retention has deleted of the journal as news; it is no alarm, and told once for all threads that lack it."""
    what = "threads that had begun are read from their next snapshot on"
    line = f"{JOURNAL} {partition} begins at offset {low}, retention has deleted what was before: {what}"
    return News(line, {"cut": True, "topic": JOURNAL, "partition": partition, "offset": low})


def of_lost(place: Place, given: Given, mark: int, rebuild: str) -> News:
    """A lost decision as news."""
    topic, partition, offset = place
    what = f"the decision on {topic} {partition}/{offset} was lost: a later input of that partition has its entry"
    record = {
        "alarm": "lost", "thread": given.thread, "topic": topic, "partition": partition, "offset": offset,
        "do": rebuild,
    }  # fmt: skip
    return News(f"ALARM {given.thread}: {what}. {rebuild}", record, broken=True, mark=mark)


def of_wrong(wrong: Wrong, lasted_s: float, over: bool) -> News:
    """An alarm, or its end, as news."""
    line = f"OVER after {lasted_s:.0f} s: {wrong.what}" if over else wrong.line(lasted_s)
    return News(line, wrong.record(lasted_s, over))
