# SPDX-License-Identifier: Apache-2.0
"""Where the conversation may go on from: the marks in `agent-control`, and the rule that every start is held to.

A state is a cache of the journal. A start from one that lacks entries would decide again what the journal holds, and
in another order: a fork. So whoever stops the job, or has brought a state up to the journal's end, writes down the
savepoint and where the journal ended; from there, and with not one record more in the journal, a start may go on.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence

import msgspec

from schemas.cloudevents import root_traceparent, write_headers
from schemas.codec import Codec
from schemas.errors import Unreadable, WireError
from schemas.topics import kafka_name
from wire.frames import Record
from wire.kafka import bounds, read_topic
from wire.writing import Writing

TOPIC, TYPE, SOURCE = "agent-control", "threadlog.Control", "/threadlog/start"
# What a mark tells: a start has a generation; a job was stopped with a savepoint; a state has followed the journal to
# its end; a job was ended without a savepoint; inputs that are lost are gone on without.
# `dropped`: no state from before may be gone on from, because it is not the journal's, or shall be made anew.
# `branching`, then `branched`: the namespace is a branch, whose history is being copied, or is whole; and these are the
# tools with an effect that it may use.
STARTED, STOPPED, CAUGHT_UP, ENDED, ACCEPTED = "started", "stopped", "caught_up", "ended", "accepted"
DROPPED, BRANCHING, BRANCHED, LEFT_STOPPED = "dropped", "branching", "branched", "left_stopped"
CONVERSATION, TOOLS = "conversation", "tools"
_POINTS = frozenset({STOPPED, CAUGHT_UP})
# Whoever refuses knows not whose cluster it is, so both ways are told: the local stack's, and that of one's own.
NEXT = (
    "`threadlog start` (local stack), or the catch-up that `threadlog pack --job catchup` prints, brings a state up to "
    "the journal's end first, or makes it anew from the journal"
)
TAKE_OVER = (
    "`threadlog start --take-over` (local stack), or cancel its Flink job and go on as `threadlog pack --job catchup` "
    "prints"
)


class Overtaken(WireError):
    """Another start of the job has a better claim; the message says which."""


class Mark(msgspec.Struct, frozen=True):
    """A record of `agent-control`; fields as in its schema, `journal` by partition, `inputs` by "topic/partition".

    `generation`: the one that a start has, or that was stopped; 0 for none."""

    what: str
    job: str
    job_id: str
    savepoint: str
    journal: dict[int, int]
    app: str = ""
    code: str = ""
    time_ms: int = 0
    generation: int = 0
    inputs: dict[str, int] = msgspec.field(default_factory=dict)
    place: str = ""
    branch_of: str = ""
    allowed: list[str] = msgspec.field(default_factory=list)


def ended(generation: int, job_id: str = "") -> Mark:
    """The mark which says that a start of the conversation has ended without a savepoint."""
    return Mark(ENDED, CONVERSATION, job_id, "", {}, generation=generation)


class Written(msgspec.Struct, frozen=True):
    """A mark and where it lies; `log_time_ms` is the broker's clock, Unix epoch."""

    offset: int
    log_time_ms: int
    mark: Mark


def here() -> str:
    """This process, for people."""
    return f"{socket.gethostname()}/{os.getpid()}"


def same_path(one: str, other: str) -> bool:
    """Whether two URIs name one savepoint: Flink writes `file:/a` and takes `/a`, `file:///a` and its metadata file."""
    return plain_path(one) == plain_path(other)


def plain_path(uri: str) -> str:
    """The path in a savepoint's URI; another scheme than `file` stays."""
    path = uri.removesuffix("/_metadata").rstrip("/")
    for scheme in ("file://", "file:"):
        path = path.removeprefix(scheme)
    return path


def refusal(point: str, mark: Mark | None, journal: Mapping[int, int]) -> str:
    """Why the conversation may not start from `point`, a savepoint's URI or "" for nothing; "" where it may.

    `mark`: the last one of the job; `journal`: for each partition the offset after its last record."""
    if not point:
        return f"from nothing it would decide again what the journal holds; {NEXT}" if any(journal.values()) else ""
    if mark is None:
        return f"nothing tells what the journal held when {point} was taken; {NEXT}"
    if not same_path(point, mark.savepoint):
        return f"{point} is not where the job was last stopped ({mark.savepoint}); {NEXT}"
    held = {p: (mark.journal.get(p, 0), journal.get(p, 0)) for p in sorted({*mark.journal, *journal})}
    if moved := [(p, *ends) for p, ends in held.items() if ends[0] != ends[1]]:
        told = ", ".join(f"partition {p} from {then} to {now}" for p, then, now in moved[:3])
        return f"the journal has moved on since {point} was taken ({told}); {NEXT}"
    return ""


def journal_ends(bootstrap: str, namespace: str) -> dict[int, int]:
    """For each partition of the journal the offset after its last record, committed or not. Raises KafkaException."""
    return {p: high for p, (_, high) in bounds(bootstrap, kafka_name(namespace, "agent-decisions")).items()}


def read_marks(bootstrap: str, namespace: str, codec: Codec, job: str = CONVERSATION) -> list[Written]:
    """Every mark of a job in the order of the log. Raises KafkaException, RegistryUnavailable."""
    topic, found = kafka_name(namespace, TOPIC), list[Written]()
    for record in read_topic(bootstrap, topic, missing=True):
        if (written := mark_in(record, codec, job)) is not None:
            found.append(written)
    return found


def mark_in(record: Record, codec: Codec, job: str = CONVERSATION) -> Written | None:
    """The mark of a job that a record of the topic is; None for another. Raises RegistryUnavailable."""
    try:
        type_, _, data = codec.decode(record.value)
    except Unreadable:  # the topic is kept for ever, and so is what somebody else wrote there
        return None
    if type_ != TYPE or data["job"] != job:
        return None
    journal = {int(partition): end for partition, end in data["journal"].items()}
    return Written(record.offset, record.timestamp_ms, Mark(**{**data, "journal": journal}))


def last_mark(bootstrap: str, namespace: str, codec: Codec, job: str = CONVERSATION, what: str = "") -> Mark | None:
    """The newest mark that a job may go on from, or the newest that says `what`; None where there is none.

    Raises KafkaException, WireError."""
    return last_of(read_marks(bootstrap, namespace, codec, job), what)


def last_of(marks: Sequence[Written], what: str = "") -> Mark | None:
    """As `last_mark`, of marks that were read."""
    if what:
        return next((one.mark for one in reversed(marks) if one.mark.what == what), None)
    return None if is_dropped(marks) else next((one.mark for one in reversed(marks) if one.mark.what in _POINTS), None)


def is_dropped(marks: Sequence[Written]) -> bool:
    """Whether the next state must be made from the journal alone. A job that was stopped meanwhile has left the very
    state that was dropped."""
    told = (one.mark.what for one in reversed(marks) if one.mark.what in (CAUGHT_UP, DROPPED))
    return next(told, "") == DROPPED


def is_stopped(marks: Sequence[Written]) -> bool:
    """Whether a person has said stop, and nothing of the conversation was begun since: nobody else starts it then."""
    told = next((one.mark.what for one in reversed(marks) if one.mark.what != ACCEPTED), "")
    return told in (STOPPED, LEFT_STOPPED)


def last_rebuild(marks: Sequence[Written]) -> Written | None:
    """The newest mark of a state that was made from the journal alone: what was void or lost before its ends is healed.
    None before the first. A state that was brought up to the journal's end may be one that holds what the journal
    lacks."""
    found, dropped = None, False
    for one in marks:
        if one.mark.what == DROPPED:
            dropped = True
        elif one.mark.what == CAUGHT_UP:
            found, dropped = (one if dropped else found), False
    return found


def branch_of(bootstrap: str, namespace: str, codec: Codec) -> Mark | None:
    """What is told last of this namespace as a branch; None where it is none.

    Raises KafkaException, RegistryUnavailable."""
    marks = [one.mark for one in read_marks(bootstrap, namespace, codec, TOOLS)]
    return next((mark for mark in reversed(marks) if mark.what in (BRANCHING, BRANCHED)), None)


def allowed_tools(bootstrap: str, namespace: str, codec: Codec) -> frozenset[str] | None:
    """The tools with an effect that a branch may use; None in a namespace that is none, where all may be.

    Raises KafkaException, RegistryUnavailable."""
    mark = branch_of(bootstrap, namespace, codec)
    return None if mark is None else frozenset(mark.allowed)


def write_mark(bootstrap: str, namespace: str, codec: Codec, mark: Mark) -> int:
    """Append a mark and wait until it is acknowledged; its offset. Raises KafkaException, WireError."""
    time_ms = time.time_ns() // 1_000_000
    journal = {str(partition): end for partition, end in mark.journal.items()}
    value = codec.encode(TYPE, {**msgspec.structs.asdict(mark), "journal": journal, "time_ms": time_ms})
    id = f"{mark.job}/{mark.what}/{(mark.what == STARTED and mark.generation) or mark.savepoint or time_ms}"
    headers = write_headers(
        id=id, source=SOURCE, type=TYPE, thread=mark.job, time_ms=time_ms, value=value,
        traceparent=root_traceparent(SOURCE, id),
    )  # fmt: skip
    with Writing(bootstrap) as to:
        to.send(kafka_name(namespace, TOPIC), value, mark.job.encode(), headers)
    return to.offset
