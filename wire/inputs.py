# SPDX-License-Identifier: Apache-2.0
"""What the inputs of a job have lost: records that retention took before the job had handled them.

Where the record that a source wants next is gone, it goes on from the first that is left, without a word. So every
start, and every attempt of a task that Flink makes by itself, compares how far the job was with where its inputs begin.

How far it was is known from the offsets that Flink commits with each checkpoint under the job's group. The broker
forgets those a week after the job has ended, so starts and stops leave marks; and before anything of the conversation
is called lost, the journal and the dead letters are asked, which name each input that was decided.

Letting the source fail by itself (`auto.offset.reset=none`) would not do: behind the last record of a topic that is
written in transactions lies a marker, which no reader is given. The offset after the record is what Flink restores, and
it is gone together with the record, though nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from schemas.codec import Codec
from schemas.errors import WireError
from schemas.topics import EOS, TOPICS, kafka_name, topic_of
from wire.control import CONVERSATION, TOOLS, read_marks
from wire.decided import places_decided
from wire.journal import TOPIC as JOURNAL
from wire.kafka import progress

# Not `tool-reads`: a read that is lost is asked for again at its deadline. Results are lost to the tools job without
# harm too: what has none is fired again under its key.
INPUTS = {
    CONVERSATION: ("agent-events", "human-feedback", "tool-results", "agent-signals"),
    TOOLS: (JOURNAL,),
}
NAMED_MAX = 3
NEXT = "`threadlog start --accept-lost-inputs` goes on without them"

Place = tuple[str, int]  # a topic of ours and a partition


class LostInputs(WireError):
    """Inputs are gone that were not handled; the message says which."""


class Gap(msgspec.Struct, frozen=True):
    """Offsets of an input that are gone, from `first` to the one before `left`, which is the first that is left."""

    topic: str
    partition: int
    first: int
    left: int


class Looked(msgspec.Struct, frozen=True):
    """How far the inputs are handled, by "topic/partition", and what of them is lost. What is lost counts as handled:
    so it is written down where the loss is accepted.

    `short`: inputs that end, at `first`, before what was handled of them, up to `left`."""

    reached: dict[str, int]
    gaps: list[Gap]
    short: list[Gap] = msgspec.field(default_factory=list)


def look(bootstrap: str, namespace: str, codec: Codec, job: str) -> Looked:
    """How far a job's inputs are handled. Raises KafkaException, RegistryUnavailable."""
    known = progress(bootstrap, f"{namespace}.{job}", [kafka_name(namespace, topic) for topic in INPUTS[job]])
    held = {(topic_of(namespace, topic), p): (low, high) for (topic, p), (_, low, high) in known.items()}
    reached = {(topic_of(namespace, topic), p): at for (topic, p), (at, _, _) in known.items() if at >= 0}
    # With a topic that is deleted the broker forgets what was committed of it, and of one that was made anew under a
    # running job it has what that has read since.
    if job == CONVERSATION or _open(held, reached):
        for written in read_marks(bootstrap, namespace, codec, job):
            _further(reached, (_place(name, offset) for name, offset in written.mark.inputs.items()))
    if job == CONVERSATION and _open(held, reached):
        places = places_decided(bootstrap, namespace, codec)
        _further(reached, (((t, p), offset + 1) for t, p, offset in places if t in TOPICS))
    reckoned = {f"{t}/{p}": max(low, reached.get((t, p), 0)) for (t, p), (low, _) in held.items()}
    short = _short(held, reached) if job == CONVERSATION else []
    if short:  # of a job that runs more may have been written, and committed, since the ends were read
        now = progress(bootstrap, f"{namespace}.{job}", sorted({kafka_name(namespace, gap.topic) for gap in short}))
        short = _short(
            {(topic_of(namespace, topic), p): (low, high) for (topic, p), (_, low, high) in now.items()}, reached
        )
    return Looked(reckoned, _gaps(held, reached), short)


def committed(bootstrap: str, namespace: str, job: str) -> dict[str, int]:
    """The offsets that a job's last checkpoint has committed, by "topic/partition". Raises KafkaException."""
    known = progress(bootstrap, f"{namespace}.{job}", [kafka_name(namespace, topic) for topic in INPUTS[job]])
    return {f"{topic_of(namespace, topic)}/{p}": at for (topic, p), (at, _, _) in known.items() if at >= 0}


def check(bootstrap: str, namespace: str, codec: Codec, job: str) -> None:
    """Raises LostInputs where inputs of the job are lost; KafkaException, RegistryUnavailable."""
    if trouble := why_not(look(bootstrap, namespace, codec, job)):
        raise LostInputs(f"{job}: {trouble}")


def why_not(looked: Looked) -> str:
    """Why a job may not go on from there, in words; "" where it may."""
    if looked.short:
        return short_sentence(looked.short)
    return f"{sentence(looked.gaps)}; {NEXT}" if looked.gaps else ""


def sentence(gaps: list[Gap]) -> str:
    """What is lost, in words."""
    count = sum(gap.left - gap.first for gap in gaps)
    return f"{count} input offsets were deleted before they were handled: {_named(gaps)}"


def short_sentence(gaps: list[Gap]) -> str:
    """Which inputs have lost their end, in words, and what is left to do."""
    return (
        f"inputs end before what was handled of them: {_named(gaps)} are not there any more. The topic was made anew, "
        f"is a copy with other offsets, or has lost its end; what comes under these offsets now would be dropped as "
        f"handled before. `threadlog branch NEW` makes a namespace with this history, whose inputs begin behind them"
    )


def _named(gaps: list[Gap]) -> str:
    told = [f"{g.topic} partition {g.partition} offsets {g.first} to {g.left - 1}" for g in gaps]
    more = f" and {len(told) - NAMED_MAX} more partitions" if len(told) > NAMED_MAX else ""
    return f"{', '.join(told[:NAMED_MAX])}{more}"


def _open(held: dict[Place, tuple[int, int]], reached: dict[Place, int]) -> bool:
    """Whether anything is gone that nobody is known so far to have handled."""
    return any(
        low > reached.get(place, 0) and not _is_marker(place, reached.get(place, 0), low, high)
        for place, (low, high) in held.items()
    )


def _gaps(held: dict[Place, tuple[int, int]], reached: dict[Place, int]) -> list[Gap]:
    """What is lost. Of a partition that the job has never read, nothing is: it begins with what is left there."""
    gaps = []
    for (topic, partition), (low, high) in sorted(held.items()):
        first = reached.get((topic, partition), low)
        if first < low and not _is_marker((topic, partition), first, low, high):
            gaps.append(Gap(topic, partition, first, low))
    return gaps


def _short(held: dict[Place, tuple[int, int]], reached: dict[Place, int]) -> list[Gap]:
    """Inputs that end before what was handled of them: a thread drops what comes under an offset that it knows."""
    return [
        Gap(topic, partition, high, reached[topic, partition])
        for (topic, partition), (_, high) in sorted(held.items())
        if reached.get((topic, partition), 0) > high
    ]


def _is_marker(place: Place, first: int, low: int, high: int) -> bool:
    """Whether what is gone is the marker of a transaction alone: the last offset of a partition that is empty now."""
    return TOPICS[place[0]].guarantee == EOS and low == high == first + 1


def _further(reached: dict[Place, int], told: Iterable[tuple[Place, int]]) -> None:
    for place, offset in told:
        reached[place] = max(reached.get(place, 0), offset)


def _place(name: str, offset: int) -> tuple[Place, int]:
    topic, _, partition = name.rpartition("/")
    return (topic, int(partition)), offset
