# SPDX-License-Identifier: Apache-2.0
"""A branch: another namespace with the history of this one up to a point, to go on from there in another way.

Its journal is a copy of the records, so hashes and chains are those of the original. A thread's positions are in its
history too: offsets of the original's inputs, up to which it drops what a source gives it. So the branch's input
topics, which begin empty, are moved on to behind them: filled with records of nothing, which are deleted before anybody
reads.

What the branch asks of the world is gated by its own tools job: reads run, and those tools with an effect that were
allowed by name. A call that was open at the branching point has no result here; its deadline closes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from ops.context import Trouble
from ops.reading import codec_of
from ops.settings import Settings
from schemas.errors import Unreadable
from schemas.topics import TOPICS, kafka_name
from threadlog.entry import Entry
from threadlog.snapshots import snapshot_of
from wire.admin import delete_before, ensure_topics
from wire.control import BRANCHED, BRANCHING, TOOLS, Mark, here, write_mark
from wire.frames import Record
from wire.journal import TOPIC as JOURNAL
from wire.journal import entry_of
from wire.kafka import bounds, is_empty, read_topic, settled_ends
from wire.writing import Writing

# Empty records are some tens of bytes each until they are deleted; with more of them a copy of the inputs is no way.
PADDING_MAX = 50_000_000

Say = Callable[[str], None]
Place = tuple[str, int]  # a topic of ours and a partition


@dataclass
class Point:
    """Where a branch leaves its original: before these offsets, or behind what the broker had at a time; Unix epoch.

    Of a partition that `before` does not name, everything is taken."""

    before: Mapping[int, int] = field(default_factory=dict)
    until_ms: int | None = None

    def holds(self, record: Record) -> bool:
        """Whether a record lies before the point."""
        if self.until_ms is not None and record.timestamp_ms > self.until_ms:
            return False
        return record.offset < self.before.get(record.partition, record.offset + 1)


def make(settings: Settings, new: str, point: Point, allowed: list[str], say: Say) -> dict[str, int]:
    """Make the branch; how many entries, and how many offsets of inputs were passed over.

    Raises Trouble where it cannot be, KafkaException, WireError."""
    source = kafka_name(settings.namespace, JOURNAL)
    held = bounds(settings.bootstrap, source)
    if not any(high for _, high in held.values()):
        raise Trouble(f"The journal of {settings.namespace} is empty.", "There is nothing to branch from.")
    if not is_empty(settings.bootstrap, kafka_name(new, JOURNAL)):
        raise Trouble(f"The journal of {new} is not empty.", "A branch is a namespace of its own: give another name.")
    if beyond := {p: end for p, end in point.before.items() if end > held.get(p, (0, 0))[1]}:
        told = ", ".join(f"{p}:{end}" for p, end in sorted(beyond.items()))
        raise Trouble(f"The journal of {settings.namespace} does not reach {told}.", "See `threadlog show`.")
    for difference in ensure_topics(settings.bootstrap, new, len(held), settings.replication):
        say(f"  {difference}")
    # First of all, so that no tools job of this namespace ever starts without its gate.
    mark = Mark(BRANCHING, TOOLS, "", "", {}, place=here(), branch_of=settings.namespace, allowed=sorted(allowed))
    write_mark(settings.bootstrap, new, codec_of(settings), mark)
    settled_ends(settings.bootstrap, source)  # an open transaction would be cut in two
    ends, reached = _measure(settings, source, point)
    offsets = _move_on(settings, new, reached)  # before there is anything that could be started
    cut = [p for p, (low, _) in held.items() if low > 0]
    entries = _copy(settings, source, kafka_name(new, JOURNAL), ends, cut)
    # Until then no conversation starts there: a part of a history is another history.
    write_mark(settings.bootstrap, new, codec_of(settings), replace(mark, what=BRANCHED))
    return {"entries": entries, "offsets": offsets}


def _measure(settings: Settings, source: str, point: Point) -> tuple[dict[int, int], dict[Place, int]]:
    """Before which offset the branch's journal ends in each partition, and behind which of each input."""
    codec, ends, past, reached = codec_of(settings), dict[int, int](), set[int](), dict[Place, int]()
    for record in read_topic(settings.bootstrap, source):
        if record.partition in past or not point.holds(record):
            past.add(record.partition)  # a history has no holes
            continue
        ends[record.partition] = record.offset + 1
        try:
            entry = entry_of(record.value, codec)
        except Unreadable:
            continue
        for (topic, partition), offset in _handled(entry):
            if topic in TOPICS:  # a timer comes from none
                reached[topic, partition] = max(reached.get((topic, partition), 0), offset + 1)
    return ends, reached


def _handled(entry: Entry) -> Iterator[tuple[Place, int]]:
    """What a thread has handled by an entry. By its snapshot too: the entries that say it may be deleted."""
    yield (entry.input.topic, entry.input.partition), entry.input.offset
    for name, offset in (snapshot_of(entry) or {"positions": {}})["positions"].items():
        topic, _, partition = name.rpartition("/")
        yield (topic, int(partition)), offset


def _copy(settings: Settings, source: str, target: str, ends: Mapping[int, int], cut: Collection[int]) -> int:
    """Copy the journal, each partition up to its end; how many records. A partition that is `cut`, whose beginning is
    deleted, begins in the copy behind a deleted record too: or else its threads would have a gap at their start."""
    count = 0
    with Writing(settings.bootstrap) as to:
        for partition in cut:
            to.send(target, None, None, partition=partition)
        for record in read_topic(settings.bootstrap, source, partitions=ends):
            if record.offset < ends[record.partition]:
                to.send(target, record.value, record.key, record.headers, record.partition)
                count += 1
    delete_before(settings.bootstrap, {(target, partition): 1 for partition in cut})
    return count


def _move_on(settings: Settings, new: str, reached: Mapping[Place, int]) -> int:
    """Let the inputs of a branch begin behind what its threads have handled; how many offsets that takes."""
    first = {(kafka_name(new, topic), partition): offset for (topic, partition), offset in reached.items()}
    ends = {
        (topic, partition): high
        for topic in {topic for topic, _ in first}
        for partition, (_, high) in bounds(settings.bootstrap, topic).items()
    }
    if unknown := sorted(place for place in first if place not in ends):
        raise Trouble(f"{unknown[0][0]} has no partition {unknown[0][1]}.", "Give a namespace that has no topics yet.")
    missing = {place: offset - ends[place] for place, offset in first.items() if offset > ends[place]}
    if (needed := sum(missing.values())) > PADDING_MAX:
        raise Trouble(f"The inputs of the branch would begin at {needed:,} offsets.", f"{PADDING_MAX:,} are possible.")
    with Writing(settings.bootstrap) as to:
        for (topic, partition), count in missing.items():
            for _ in range(count):
                to.send(topic, None, None, partition=partition)
    delete_before(settings.bootstrap, first)
    return needed


def point_of(text: str, moment_ms: Callable[[str], int]) -> Point:
    """`0:12,1:7` as offsets, anything else as a moment. Raises Trouble."""
    if not text:
        return Point(until_ms=None)
    pairs = [pair.partition(":") for pair in text.split(",")]
    if all(part.isdigit() and colon and offset.isdigit() for part, colon, offset in pairs):
        return Point({int(part): int(offset) for part, _, offset in pairs})
    return Point(until_ms=min(moment_ms(text), time.time_ns() // 1_000_000))
