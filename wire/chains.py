# SPDX-License-Identifier: Apache-2.0
"""The reader's rule over records of the journal, for what asks whether an entry counts and needs no state.

And whether the journal has gone on from another history, which nobody needs to have watched: the tools job follows
every thread and makes a dead letter of each void entry. Where such letters lie, the journal itself is asked.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from schemas.codec import Codec
from schemas.errors import Unreadable
from schemas.topics import kafka_name, topic_of
from threadlog.entry import Entry
from threadlog.following import BROKEN, Head, head_before, judge
from wire.frames import Record, thread_in
from wire.journal import TOPIC as JOURNAL
from wire.journal import entry_of
from wire.kafka import first_offsets, offsets_since, read_topic

LETTERS, VOID = "dead-letters", "void"
CODE, MESSAGE, TOPIC, PARTITION, OFFSET = (
    f"__streams.errors.{name}" for name in ("exception", "message", "topic", "partition", "offset")
)

Place = tuple[str, int, int]  # a topic of ours, a partition, an offset


class Broken(msgspec.Struct, frozen=True):
    """A void entry that belongs to another history: where it lies, and why it is void."""

    partition: int
    offset: int
    reason: str


class Chains:
    """The heads of threads, along which records of the journal are judged in their order.

    midway: they are not read from the first that is left, so that the first one of a thread begins it."""

    def __init__(self, bootstrap: str, journal: str, codec: Codec, midway: bool = False) -> None:
        self._bootstrap, self._journal, self._codec, self._midway = bootstrap, journal, codec, midway
        self._heads = dict[str, Head]()
        self._cut = dict[int, bool]()

    def judge(self, record: Record) -> tuple[Entry | None, str]:
        """The entry that a record is, None where it is none, and why it is void; "" where it counts.

        Raises KafkaException, RegistryUnavailable."""
        thread, is_cut = thread_in(record.key), self._is_cut(record)
        try:
            entry = entry_of(record.value, self._codec)
        except Unreadable as error:
            return None, str(error)
        standing, reason = judge(entry, thread, head_before(entry, self._heads.get(thread, Head()), is_cut))
        if standing == "void":
            return entry, reason
        self._heads[thread] = Head(entry.seq, entry.hash)
        return entry, ""

    def _is_cut(self, record: Record) -> bool:
        """Whether the first entries may be gone. Asked once the first record is read: what was there before it was
        deleted by then. A partition may also begin with what was aborted, which is no cut."""
        if record.partition not in self._cut:
            self._cut[record.partition] = self._midway or (
                record.offset > 0 and first_offsets(self._bootstrap, self._journal).get(record.partition, 0) > 0
            )
        return self._cut[record.partition]


def said_in(letter: Record, namespace: str) -> tuple[str, str, Place] | None:
    """The code and the message of a dead letter, and of which record it is; None where it does not say.

    Before what a letter says lies what its record said, which may have been a letter once: the last one counts."""
    told = {name: value.decode("utf-8", "replace") for name, value in letter.headers if value is not None}
    try:
        place = topic_of(namespace, told[TOPIC]), int(told[PARTITION]), int(told[OFFSET])
    except (LookupError, ValueError):
        return None
    return told.get(CODE, ""), told.get(MESSAGE, ""), place


def broken_since(
    bootstrap: str, namespace: str, codec: Codec, ends: Mapping[int, int], since_ms: int = 0
) -> Broken | None:
    """The first entry of another history that lies in the journal at `ends` or behind; None where there is none, or
    where the tools job, which tells of them, has not read so far.

    `since_ms`: what that job told before is of entries before `ends`. Only threads are followed of which it has told
    anything. Raises KafkaException, RegistryUnavailable."""
    letters, journal = kafka_name(namespace, LETTERS), kafka_name(namespace, JOURNAL)
    suspects = set[tuple[int, bytes]]()
    first = offsets_since(bootstrap, letters, since_ms) if since_ms else {}
    for letter in read_topic(bootstrap, letters, first, missing=True):
        if (said := said_in(letter, namespace)) is None or letter.key is None:
            continue
        code, message, (topic, partition, offset) = said
        is_broken = topic == JOURNAL and code == VOID and message.startswith(BROKEN)
        if is_broken and offset >= ends.get(partition, 0):
            suspects.add((partition, letter.key))
    if not suspects:
        return None
    chains = Chains(bootstrap, journal, codec)
    for record in read_topic(bootstrap, journal, partitions={partition for partition, _ in suspects}):
        if (record.partition, record.key) in suspects:
            _, reason = chains.judge(record)
            if reason.startswith(BROKEN) and record.offset >= ends.get(record.partition, 0):
                return Broken(record.partition, record.offset, reason)
    return None
