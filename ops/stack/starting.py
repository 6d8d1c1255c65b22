# SPDX-License-Identifier: Apache-2.0
"""From where the conversation starts: a state that is the journal's end, or one that is brought there first.

    nothing decided since the recorded stop ───────────────────────────────► that savepoint
    an older savepoint, a checkpoint, nothing ─► catch-up ─► flink stop ───► what it leaves, recorded like a stop
    a state of another history ────────────────► rebuild: the same from nothing

The rule itself is `wire.control.refusal`, to which the job's own `main()` holds every start."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace

from confluent_kafka import KafkaException

from ops import http
from ops.context import Trouble
from ops.settings import Settings
from ops.stack import flink, records
from ops.stack.catch_up import OtherHistory, Say, SubmitFailed, wait_read
from ops.stack.layout import Layout
from ops.stack.savepoints import ahead, is_there, of_another_history, source_offsets
from schemas.codec import Codec
from schemas.errors import WireError
from schemas.topics import kafka_name
from wire.control import (
    ACCEPTED,
    CAUGHT_UP,
    CONVERSATION,
    DROPPED,
    LEFT_STOPPED,
    STARTED,
    STOPPED,
    Mark,
    ended,
    here,
    is_dropped,
    is_stopped,
    last_mark,
    last_of,
    read_marks,
    refusal,
    write_mark,
)
from wire.inputs import INPUTS, committed, look, sentence, short_sentence
from wire.journal import without_beginning
from wire.kafka import bounds, read_topic, settled_ends
from wire.registry import Registry

# A long catch-up saves its state seldom: nobody waits for its transactions, and each save costs; its end waits for one.
LONG_ENTRIES, LONG_INTERVAL_MS = 50_000, 5_000
NAMED_MAX = 3

Run = Callable[[str, list[str]], str]


class Declined(SubmitFailed):
    """Flink has looked at a job's graph and does not take it: nothing of that start runs, or will."""


class Unproven(WireError):
    """A state may be of another history than the journal's; the message says why. A catch-up from it tells."""


def journal_of(settings: Settings) -> str:
    """The journal's name in Kafka."""
    return kafka_name(settings.namespace, "agent-decisions")


def _codec(settings: Settings) -> Codec:
    return Codec(Registry(settings.registry_url))


def generation_of(settings: Settings, job: flink.Job) -> int:
    """The generation of a job, as Flink was told it; 0 where it was not, or does not answer."""
    try:
        return flink.generation(settings, job.id)
    except http.HttpError:
        return 0


def remember_stop(
    settings: Settings, job_id: str, savepoint: str, known: records.Record, generation: int, say: Say
) -> None:
    """Write down where a job was stopped and, of the conversation, where the journal ended. Failing that, the
    conversation's next start catches up.

    `generation`: the one that was stopped. A copy of it that Flink brings back from an older checkpoint ends itself."""
    try:
        remember(settings, STOPPED, job_id, savepoint, known, generation)
    except OtherHistory as error:
        say(f"  {error}: the next start will make the state anew")
        remember_end(settings, job_id, generation, say)
        try:
            drop(settings)
        except (KafkaException, WireError) as unwritten:
            say(f"  that it is to be made anew could not be written down: {unwritten}")
    except Unproven as error:
        say(f"  {error}: the next start will hold the state against the journal")
        remember_end(settings, job_id, generation, say)
    except (KafkaException, WireError) as error:
        will = ": the next start will catch up" if known.kind == CONVERSATION else ""
        say(f"  where {known.kind} was stopped could not be written down ({error}){will}")


def remember(
    settings: Settings, what: str, job_id: str, savepoint: str, known: records.Record, generation: int = 0,
    ends: Mapping[int, int] | None = None,
) -> None:  # fmt: skip
    """Write down a savepoint of a job, how far it has read, and where the journal ends if it is the conversation's.

    `ends`: where it does, if that was asked. Raises OtherHistory, Unproven, KafkaException, WireError."""
    held = source_offsets(savepoint, settings.namespace, INPUTS[known.kind])
    if ends is None and known.kind == CONVERSATION:
        ends = settled_ends(settings.bootstrap, journal_of(settings))
        if held and (lost := ahead(settings, _codec(settings), savepoint, held)):
            raise OtherHistory(lost)
        # What a catch-up leaves was held against the journal, entry by entry.
        if what == STOPPED and (doubt := of_another_history(settings, _codec(settings))):
            raise Unproven(doubt)
    read = committed(settings.bootstrap, settings.namespace, known.kind)
    for place, offset in held.items():
        read[place] = max(offset, read.get(place, 0))
    mark = Mark(
        what, known.kind, job_id, savepoint, dict(ends or {}), known.app, known.code, generation=generation, inputs=read
    )
    write_mark(settings.bootstrap, settings.namespace, _codec(settings), mark)


def drop(settings: Settings) -> None:
    """Write down that no state of the conversation from before may be gone on from: whatever becomes of this, the next
    start makes it anew, and what is caught up next is known for that. Raises KafkaException, WireError."""
    write_mark(settings.bootstrap, settings.namespace, _codec(settings), Mark(DROPPED, CONVERSATION, "", "", {}))


def cancel(settings: Settings, job: flink.Job, say: Say) -> None:
    """Cancel a job. Of the conversation it is written down which start has ended."""
    generation = generation_of(settings, job) if job.kind == CONVERSATION else 0  # asked while Flink knows the job
    flink.cancel(settings, job)
    if job.kind == CONVERSATION:
        remember_end(settings, job.id, generation, say)


def remember_end(settings: Settings, job_id: str, generation: int, say: Say) -> None:
    """Write down that the conversation was ended without a savepoint, so that nobody waits for that start of it."""
    try:
        write_mark(settings.bootstrap, settings.namespace, _codec(settings), ended(generation, job_id))
    except (KafkaException, WireError) as error:
        say(f"  that the conversation was ended could not be written down: {error}")


def leave_stopped(settings: Settings, say: Say) -> None:
    """Write down that a person has said stop, unless that stop is written down: a watch that repairs the journal starts
    the conversation again where it has failed to, and where a stop was not the journal's end."""
    try:
        marks = read_marks(settings.bootstrap, settings.namespace, _codec(settings))
        if marks and not is_stopped(marks):
            mark = Mark(LEFT_STOPPED, CONVERSATION, "", "", {}, place=here())
            write_mark(settings.bootstrap, settings.namespace, _codec(settings), mark)
    except (KafkaException, WireError) as error:
        say(
            f"  that the conversation was stopped could not be written down ({error}): a watch with --heal may start it"
        )


def remember_declined(settings: Settings, began_ms: int, say: Say) -> None:
    """Write down that the start that was made on this machine since `began_ms` has ended, so that the next one need not
    wait for it. Not where two were: the generation of the other is none of ours to end."""
    try:
        marks = read_marks(settings.bootstrap, settings.namespace, _codec(settings))
    except (KafkaException, WireError) as error:
        say(f"  whether another start is under way could not be read: {error}")
        return
    machine = here().partition("/")[0]
    since = [one.mark for one in marks if one.mark.what == STARTED and one.mark.time_ms >= began_ms]  # by one clock
    mine = [mark for mark in since if mark.place.partition("/")[0] == machine]
    if len(mine) == 1:
        remember_end(settings, "", mine[0].generation, say)


def check_inputs(settings: Settings, kinds: list[str], accept: bool, say: Say) -> None:
    """See that no input of these jobs is lost, or, with `accept`, write down that they go on without what is.

    Raises Trouble, KafkaException, WireError."""
    for kind in kinds:
        looked = look(settings.bootstrap, settings.namespace, _codec(settings), kind)
        if looked.short:
            raise Trouble(f"{kind}: {short_sentence(looked.short)}.")
        if not looked.gaps:
            continue
        if not accept:
            raise Trouble(
                f"{kind}: {sentence(looked.gaps)}. Whatever they asked for is decided by nobody.",
                "`threadlog start --accept-lost-inputs` goes on without them.",
            )
        mark = Mark(ACCEPTED, kind, "", "", {}, inputs=looked.reached)
        write_mark(settings.bootstrap, settings.namespace, _codec(settings), mark)
        say(f"  {kind}: {sentence(looked.gaps)}: accepted")


def what_is_left(settings: Settings, point: str, kind: str) -> str:
    """`point`, or the savepoint of the last recorded stop, whichever is still there; "" where neither is."""
    if kind == CONVERSATION and not is_there(point):
        mark = last_mark(settings.bootstrap, settings.namespace, _codec(settings))
        point = mark.savepoint if mark else ""
    return point if is_there(point) else ""


def ready(settings: Settings, layout: Layout, point: str, mine: records.Record, run: Run, say: Say) -> str:
    """Where the live job starts so that it goes on from the journal's end: `point`, or what a catch-up from it leaves.

    `mine` names app and code, `run` submits a catch-up. Raises SubmitFailed, KafkaException, WireError."""
    held = bounds(settings.bootstrap, journal_of(settings))
    ends = {partition: high for partition, (_, high) in held.items()}
    marks = read_marks(settings.bootstrap, settings.namespace, _codec(settings))
    if point and is_dropped(marks):
        say(f"  {point} may not be gone on from: the state of the {CONVERSATION} was to be made anew, and was not yet")
        point = ""
    reason = refusal(point, last_of(marks), ends)
    if not reason and point:  # the tools job may have read only after the stop what tells of it
        reason = of_another_history(settings, _codec(settings))
    if not reason:
        return point
    if not any(ends.values()):
        say(f"  the journal is empty, so the state of {point} is none of its: beginning from nothing")
        return ""
    say(f"  {reason.partition(';')[0]}: {'catching up' if point else 'rebuilding the state from the journal'}")
    if cut := {partition for partition, (low, _) in held.items() if low > 0}:
        _tell_cut(settings, cut, say)
    for begin in dict.fromkeys((point, "")):
        try:
            return _caught_up(settings, layout, begin, mine, held, run, say)
        except OtherHistory as error:
            say(f"  {error}" + (": rebuilding the state from the journal" if begin else ""))
    raise SubmitFailed("conversation: what the journal holds makes no state that goes on from its end")


def _tell_cut(settings: Settings, cut: set[int], say: Say) -> None:
    """Retention has taken the first entries: say what begins with a snapshot, and what cannot."""
    say(f"  the beginning of the journal is gone from {len(cut)} of its partitions: threads begin at their snapshots")
    if lost := without_beginning(settings.bootstrap, journal_of(settings), _codec(settings), cut):
        named = ", ".join(lost[:NAMED_MAX]) + (", …" if len(lost) > NAMED_MAX else "")
        say(
            f"  {len(lost)} of them have none left ({named}): unless the state reaches to what is left of them, "
            f"nothing is decided for them any more; what they are sent becomes dead letters, code history_cut"
        )


def catch_up_arguments(generation: str, held: Mapping[int, tuple[int, int]]) -> list[str]:
    """What a catch-up's `main()` is told besides: a name that none had before, and what the journal holds."""
    first, until = (",".join(f"{p}:{mark[at]}" for p, mark in sorted(held.items())) for at in (0, 1))
    entries = sum(high - low for low, high in held.values())
    seldom = ["--checkpoint-interval-ms", str(LONG_INTERVAL_MS)] if entries > LONG_ENTRIES else []
    return [*seldom, "--generation", generation, "--journal-begin", first, "--journal-end", until]


def _caught_up(
    settings: Settings, layout: Layout, point: str, mine: records.Record, held: Mapping[int, tuple[int, int]], run: Run,
    say: Say,
) -> str:  # fmt: skip
    """The savepoint of a catch-up from `point`, recorded. The job is gone afterwards, whatever comes of it."""
    generation, began = uuid.uuid4().hex[:12], time.monotonic()
    ends = {partition: high for partition, (_, high) in held.items()}
    job_id = run(point, catch_up_arguments(generation, held))
    try:
        if not point:  # not before it has been let in: a state that is good stays one to go on from
            drop(settings)
        wait_read(settings, job_id, generation, held, say)
        job = flink.Job(flink.CATCH_UP, job_id, "RUNNING", {})
        savepoint = flink.stop_with_savepoint(settings, job, f"file://{layout.savepoints}")
    except BaseException:
        flink.cancel(settings, flink.Job(flink.CATCH_UP, job_id, "", {}))
        raise
    # In this order: what is written later lies behind these ends, and the start that is compared with them is refused.
    settled = settled_ends(settings.bootstrap, journal_of(settings))
    if more := next(read_topic(settings.bootstrap, journal_of(settings), ends), None):
        raise SubmitFailed(
            f"conversation: the journal grows while its state is brought up to it (partition {more.partition}, offset "
            f"{more.offset}). Another copy of the job writes {settings.namespace}: stop that one first."
        )
    # Asked of where it began, now that its sinks have committed whatever a killed job had left for that.
    read = source_offsets(point, settings.namespace, INPUTS[CONVERSATION]) if point else {}
    if read and (lost := ahead(settings, _codec(settings), point, read)):
        raise OtherHistory(lost)
    # And before the mark, which ends that a state is dropped: should this start fail, what the record told of until now
    # may be that very state.
    known = records.read(layout, CONVERSATION) or mine
    records.write(layout, replace(known, savepoint=savepoint))
    remember(settings, CAUGHT_UP, job_id, savepoint, mine, ends=settled)
    say(f"  caught up after {time.monotonic() - began:.1f} s, savepoint {savepoint.removeprefix('file://')}")
    return savepoint
