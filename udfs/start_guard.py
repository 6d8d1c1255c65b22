# SPDX-License-Identifier: Apache-2.0
"""A start of a job is looked at where no way around it leads: in the job's own `main()`.

`flink run -s PATH` gives the job whatever state the path holds. `main()` sees the path before anything is submitted,
and submits only where the state is the journal's end and no input is lost, under a generation that no start had before.
What Flink restarts by itself, after a failure or on another JobManager, goes on from the last checkpoint and does not
come through here; its operators ask again for what may have changed since."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from confluent_kafka import KafkaException
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from schemas.codec import OURS, Codec
from schemas.errors import WireError
from schemas.topics import kafka_name
from udfs.flink_io import restored_from
from wire.app_code import load_app
from wire.control import (
    BRANCHING,
    CAUGHT_UP,
    CONVERSATION,
    STARTED,
    TAKE_OVER,
    TOOLS,
    Mark,
    Overtaken,
    Written,
    allowed_tools,
    branch_of,
    ended,
    journal_ends,
    last_of,
    read_marks,
    refusal,
    write_mark,
)
from wire.decided import Place, without_thread
from wire.generations import last, take, under_way
from wire.inputs import look, why_not
from wire.journal import TOPIC as JOURNAL
from wire.kafka import read_topic
from wire.leases import joined, living

REFUSED = 3  # the exit code of `flink run`
T = TypeVar("T")


@dataclass(frozen=True)
class Start:
    """A start that may go on. `drops_sources`: the savepoint is that of a catch-up, whose sources are left behind and
    inputs are read from their beginning: each thread knows what it has handled. `told`: inputs of no thread, whose dead
    letters are there."""

    generation: int
    drops_sources: bool
    told: frozenset[Place] = frozenset()


def admit(args: Namespace) -> Start:
    """Return if the conversation may start from where it is told to; else end this process, with one sentence."""
    point = restored_from(StreamExecutionEnvironment.get_execution_environment())
    # Read once, before all else: `begun` gives way to every start that came since.
    marks = none_under_way(args)
    # Asked after that: a start that is under way no more has a lease by now, or has ended.
    leases = alone(args)
    # And the journal last: whoever could have written to it is neither here nor under way.
    journal, mark = _asked(args, lambda bootstrap, namespace, _: journal_ends(bootstrap, namespace)), last_of(marks)
    if not journal:
        refuse("the journal's topic is not there; `threadlog topics --ensure` makes it")
    if reason := refusal(point, mark, journal):
        refuse(reason)
    told = _asked(args, lambda bootstrap, namespace, _: without_thread(bootstrap, namespace))
    generation = begun(args, Mark(STARTED, CONVERSATION, "", point, journal, args.app), last(marks))
    # A copy that Flink has brought back meanwhile has shown itself by now, or sees the mark.
    if place := _asked(args, joined, CONVERSATION, leases):
        _asked(args, write_mark, ended(generation))
        refuse(f"a copy of it began in process {place} at the same moment; {TAKE_OVER}")
    return Start(generation, bool(point) and mark is not None and mark.what == CAUGHT_UP, told)


def none_under_way(args: Namespace) -> Sequence[Written]:
    """The marks of the conversation, if no start of it is under way; else end this process, with one sentence."""
    marks = _asked(args, read_marks)
    if other := _asked(args, under_way, marks):
        refuse(f"another start of it is under way ({other}); wait for it, or {TAKE_OVER}")
    return marks


def _asked(args: Namespace, what: Callable[..., T], *more: Any) -> T:
    """What the log says; ends this process if it cannot be read."""
    try:
        return what(args.bootstrap, args.namespace, _codec(args), *more)
    except (KafkaException, WireError) as error:
        refuse(f"what the journal holds cannot be read, so nothing was submitted: {_told(error)}")


def begun(args: Namespace, mark: Mark, known: int | None = None) -> int:
    """The generation that a start of a job has taken; ends this process where inputs are lost, or another was first.

    known: the last mark when it was asked whether another start is under way."""
    codec = _codec(args)
    try:
        looked = look(args.bootstrap, args.namespace, codec, mark.job)
        if trouble := why_not(looked):
            refuse(trouble, mark.job)
        whole = Mark(mark.what, mark.job, "", mark.savepoint, mark.journal, mark.app, inputs=looked.reached)
        return take(args.bootstrap, args.namespace, codec, whole, known)
    except Overtaken as error:
        refuse(str(error), mark.job)
    except (KafkaException, WireError) as error:
        reason = f"its start cannot be written down, so nothing was submitted: {_told(error)}"
        refuse(reason, mark.job)


def gate(args: Namespace) -> frozenset[str] | None:
    """In a branch the tools with an effect that may run, None elsewhere; ends this process if that cannot be read."""
    try:
        return allowed_tools(args.bootstrap, args.namespace, _codec(args))
    except (KafkaException, WireError) as error:
        refuse(f"whether this is a branch cannot be read, so nothing was submitted: {_told(error)}", TOOLS)


def alone(args: Namespace) -> Mapping[int, int]:
    """Return if no copy of the conversation runs, nor a catch-up, and its history is whole; else end this process, with
    one sentence.

    Gives the offsets up to which the leases were read to know that no copy runs."""
    branch = _asked(args, branch_of)
    if branch is not None and branch.what == BRANCHING:
        refuse(f"it is a branch of {branch.branch_of}, and making it has not ended; make another, under another name")
    try:
        found = living(args.bootstrap, args.namespace, _codec(args), CONVERSATION)
    except (KafkaException, WireError) as error:
        refuse(f"whether another copy runs cannot be read, so nothing was submitted: {_told(error)}")
    if found.place:
        refuse(
            f"a copy of it runs in process {found.place} and renews its lease; `threadlog stop` that one first "
            f"(`flink stop` on a cluster of your own), or {TAKE_OVER}"
        )
    return found.read


def reaches_the_end(args: Namespace) -> None:
    """Return if a catch-up that reads to `args.journal_end` reads all that the journal holds; else end this process.

    What lies behind that end would be lost to the state, and the start that follows would decide it once more."""
    topic = kafka_name(args.namespace, JOURNAL)
    more = _asked(args, lambda bootstrap, *_: next(read_topic(bootstrap, topic, args.journal_end), None))
    if more is not None:
        refuse(
            f"the journal has moved on since this line was made (partition {more.partition} has a record at offset "
            f"{more.offset}); stop what writes it, and have `threadlog pack --job catchup` print another one"
        )


def acquaint(args: Namespace, job: str, app: str = "") -> None:
    """Have the registry know what the job writes and reads before it goes into the graph: a restart then waits for no
    registry, as far as nothing is read that an older version wrote. Ends this process if it cannot be asked now."""
    try:
        for name in OURS:  # one that the registry lacks would be missed by each operator, after the old job has ended
            args.registry.id_of(f"threadlog.{name}")
        args.registry.learn(f"threadlog.{name}" for name in OURS)
    except WireError as error:
        refuse(f"the schemas it needs cannot be read, so nothing was submitted: {_told(error)}", job)
    if app:
        # Events save time, no more: an app that cannot be loaded here may well be where the operators are.
        with suppress(Exception, SystemExit):
            found = load_app(app)
            args.registry.learn(sorted({*found.newest, *found.awaited}))


def _codec(args: Namespace) -> Codec:
    return Codec(args.registry)


def _told(error: KafkaException | WireError) -> str:
    return str(error.args[0].str()) if isinstance(error, KafkaException) else str(error)


def refuse(reason: str, job: str = CONVERSATION) -> NoReturn:
    """End the client. An exception would bury the sentence under two stacks, Python's and Java's."""
    jvm = get_gateway().jvm
    jvm.java.lang.System.out.println(f"threadlog: {job} was not started: {reason}.")
    jvm.java.lang.System.out.flush()
    try:
        jvm.java.lang.Runtime.getRuntime().halt(REFUSED)
    finally:
        os._exit(REFUSED)
