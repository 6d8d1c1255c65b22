# SPDX-License-Identifier: Apache-2.0
"""A start of the conversation is looked at where no way around it leads: in the job's own `main()`.

`flink run -s PATH` gives the job whatever state the path holds. `main()` sees the path before anything is submitted,
and submits only where the state is the journal's end. What Flink restarts by itself, after a failure or on another
JobManager, goes on from the last checkpoint and does not come through here."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import NoReturn

from confluent_kafka import KafkaException
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from schemas.codec import Codec
from schemas.errors import WireError
from udfs.flink_io import allow_dropped_sources, restored_from
from wire.control import CAUGHT_UP, CONVERSATION, journal_ends, last_mark, refusal
from wire.leases import living
from wire.registry import Registry

REFUSED = 3  # the exit code of `flink run`


def admit(env: StreamExecutionEnvironment, args: Namespace) -> None:
    """Return if the conversation may start from where it is told to; else end this process, with one sentence.

    From the savepoint of a catch-up the sources of that are dropped, and inputs are read from their beginning: each
    thread knows what it has handled."""
    alone(args)
    point, codec = restored_from(env), Codec(Registry(args.registry))
    try:
        mark = last_mark(args.bootstrap, args.namespace, codec)
        reason = refusal(point, mark, journal_ends(args.bootstrap, args.namespace))
    except (KafkaException, WireError) as error:
        refuse(f"what the journal holds cannot be read, so nothing was submitted: {_told(error)}")
    if reason:
        refuse(reason)
    if mark is not None and mark.what == CAUGHT_UP and point:
        allow_dropped_sources(env)


def alone(args: Namespace) -> None:
    """Return if no copy of the conversation runs, nor a catch-up of it; else end this process, with one sentence."""
    try:
        place = living(args.bootstrap, args.namespace, Codec(Registry(args.registry)), CONVERSATION)
    except (KafkaException, WireError) as error:
        refuse(f"whether another copy runs cannot be read, so nothing was submitted: {_told(error)}")
    if place:
        refuse(f"a copy of it runs in process {place} and renews its lease; `threadlog stop` that one first")


def _told(error: KafkaException | WireError) -> str:
    return str(error.args[0].str()) if isinstance(error, KafkaException) else str(error)


def refuse(reason: str) -> NoReturn:
    """End the client. An exception would bury the sentence under two stacks, Python's and Java's."""
    jvm = get_gateway().jvm
    jvm.java.lang.System.out.println(f"threadlog: conversation was not started: {reason}.")
    jvm.java.lang.System.out.flush()
    try:
        jvm.java.lang.Runtime.getRuntime().halt(REFUSED)
    finally:
        os._exit(REFUSED)
