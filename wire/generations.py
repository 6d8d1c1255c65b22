# SPDX-License-Identifier: Apache-2.0
"""Generations: every start of a job takes the next number, and `agent-control` decides who has it.

Whoever starts a job appends its mark and then looks again: of two that were appended beside each other the one with the
lower offset stands. The log is the lock. From the mark until the job runs and renews its lease the start is under way,
and another one waits for it. What ends it, a lease or a mark, names its generation; what others say ends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from schemas.cloudevents import GENERATION
from schemas.codec import Codec
from schemas.errors import WireError
from schemas.topics import kafka_name
from wire.control import (
    CONVERSATION,
    ENDED,
    STARTED,
    STOPPED,
    TAKE_OVER,
    Mark,
    Overtaken,
    Written,
    ended,
    here,
    read_marks,
    write_mark,
)
from wire.frames import Record
from wire.journal import TOPIC as JOURNAL
from wire.kafka import EVERYTHING, read_topic
from wire.leases import has_held

# In what Flink tells of a job's configuration.
PARAMETER = "threadlog.generation"
# From `main()` to a running operator. A client that died between the two blocks nobody for longer, nor for more than
# twice as long where the broker's clock is ahead of this one.
STARTING_S = 30.0
# What says of a generation that it is over.
ENDS = frozenset({STOPPED, ENDED})


def last(marks: Sequence[Written]) -> int:
    """The offset of the last mark, -1 before the first."""
    return marks[-1].offset if marks else -1


def take(bootstrap: str, namespace: str, codec: Codec, mark: Mark, looked: int | None = None) -> int:
    """Append the mark of a start under the next generation, which is returned.

    looked: the `last` mark when it was asked whether another start is under way; one that came since was first. Raises
    Overtaken where another start was appended first; KafkaException; WireError, also for a mark not read back."""
    before = read_marks(bootstrap, namespace, codec, mark.job)
    if looked is not None:
        # Before anything is appended: a higher generation would overtake the one that goes on.
        _give_way(before, looked)
    generation = 1 + newest(before)
    mine = msgspec.structs.replace(mark, what=STARTED, generation=generation, place=here())
    offset = write_mark(bootstrap, namespace, codec, mine)
    after = read_marks(bootstrap, namespace, codec, mark.job)
    if offset not in {one.offset for one in after}:
        raise WireError(f"the mark of generation {generation} was written, and cannot be read back")
    _give_way([other for other in after if other.offset < offset], last(before))
    return generation


def _give_way(marks: Sequence[Written], known: int) -> None:
    """Raises Overtaken where one of the marks is of a start that was appended after the `known` offset."""
    for other in marks:
        if other.offset > known and other.mark.what == STARTED:
            raise Overtaken(f"another start of it, in process {other.mark.place}, took the same moment and was first")


def newest(marks: list[Written]) -> int:
    """The highest generation that was taken; 0 before the first."""
    return max((one.mark.generation for one in marks), default=0)


def check(bootstrap: str, namespace: str, codec: Codec, job: str, generation: int) -> Mark:
    """The mark of this start. Raises Overtaken where a later one of the job has been made, or where this one was
    stopped with a savepoint or ended, or is not told of; KafkaException, WireError.

    Where a JobManager dies before it has written down that a stopped job has ended, the next one recovers the job, from
    a checkpoint before that savepoint: what was decided in between would be decided again. Seen here only where the
    stop had its answer; without one no mark tells of it, and what is decided again is void, as in any other fork."""
    marks = read_marks(bootstrap, namespace, codec, job)
    of_mine = [one.mark for one in marks if one.mark.generation == generation]
    mine = next((mark for mark in of_mine if mark.what == STARTED), None)
    if not marks:  # a broker that has just come back may not know its topics yet
        raise WireError(f"agent-control tells of no start of {job}")
    if mine is None:
        raise Overtaken(
            f"agent-control does not tell of generation {generation} of {job}, which this copy is of, so it would not "
            f"tell of a later one either. This copy decides nothing more; {TAKE_OVER}"
        )
    if (now := newest(marks)) > generation:
        theirs = [one.mark for one in marks if one.mark.generation == now]
        place = next(mark.place for mark in reversed(theirs) if mark.what == STARTED)
        both = any(mark.what == ENDED for mark in theirs)
        do = f"that one has ended too: {TAKE_OVER}" if both else "cancel its Flink job"
        raise Overtaken(
            f"{job} of generation {generation} was overtaken: generation {now} was started in process {place}. This "
            f"copy decides nothing more; {do}"
        )
    if stop := next((mark for mark in of_mine if mark.what == STOPPED), None):
        raise Overtaken(
            f"{job} of generation {generation} was stopped with the savepoint {stop.savepoint}, and brought back from "
            f"a checkpoint before it. This copy decides nothing more; `threadlog start --take-over` (local stack), or "
            f"cancel its Flink job and go on from the savepoint"
        )
    if any(mark.what == ENDED for mark in of_mine):
        raise Overtaken(f"{job} of generation {generation} was ended. This copy decides nothing more; {TAKE_OVER}")
    return mine


def alone_since(bootstrap: str, namespace: str, codec: Codec, mine: Mark) -> None:
    """Raises Overtaken where another copy has written to the journal since this start read where that ends; then the
    state which it began from is not the journal's end. KafkaException, WireError.

    To be asked when the sinks of the new copy are there: they have aborted what an older one had not committed, so it
    commits nothing more of what it has decided."""
    topic = kafka_name(namespace, JOURNAL)
    if any(_generation(record) == mine.generation for record in read_topic(bootstrap, topic, mine.journal)):
        return  # committed: an earlier attempt of this start was whole, and has looked
    # Of a sister of this subtask, which began a moment ago, nothing is committed yet, and hides what comes behind it.
    all_of_it = read_topic(bootstrap, topic, mine.journal, isolation=EVERYTHING)
    if other := next((record for record in all_of_it if _generation(record) != mine.generation), None):
        # For the next attempts: to them it would look as if this one had been whole.
        write_mark(bootstrap, namespace, codec, ended(mine.generation))
        raise Overtaken(
            f"{mine.job} of generation {mine.generation} began beside a copy of generation {_generation(other)}, which "
            f"went on writing (journal, partition {other.partition}, offset {other.offset}). This copy decides "
            f"nothing, and that one must end too: {TAKE_OVER}"
        )


def _generation(record: Record) -> int:
    said = dict(record.headers).get(GENERATION) or b"0"
    return int(said) if said.isdigit() else 0


def under_way(bootstrap: str, namespace: str, codec: Codec, marks: Sequence[Written], job: str = CONVERSATION) -> str:
    """Which other start has a generation and whose job does not run yet, in words; "" if there is none.

    `marks`: the job's, as they were read. Raises KafkaException, RegistryUnavailable."""
    start = next((one for one in reversed(marks) if one.mark.what == STARTED), None)
    if start is None:
        return ""
    generation, ago_s = start.mark.generation, time.time() - start.log_time_ms / 1000
    later = [one.mark for one in marks if one.offset > start.offset]
    if abs(ago_s) > STARTING_S or any(mark.what in ENDS and mark.generation == generation for mark in later):
        return ""
    if has_held(bootstrap, namespace, codec, job, generation):
        return ""
    return f"generation {generation}, taken {max(0.0, ago_s):.0f} s ago in process {start.mark.place}"
