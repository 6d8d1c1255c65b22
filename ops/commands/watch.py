# SPDX-License-Identifier: Apache-2.0
"""`threadlog watch`: the alarm on what no log line tells, a journal that is no chain any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from ops.context import Context, pass_context
from ops.reading import Journal, check_broker, name_of, whole_topic
from ops.settings import Settings
from wire.frames import Record
from wire.kafka import follow


def _records(settings: Settings, once: bool) -> Iterator[Record | None]:
    """The journal from its beginning: to its end as of now, or for ever."""
    if once:
        yield from whole_topic(settings, "agent-decisions")
    else:
        yield from follow(settings.bootstrap, [name_of(settings, "agent-decisions")], from_start=True)


@click.command("watch")
@click.option("--once", is_flag=True, help="Read to the end as of now, and end.")
@pass_context
def command(ctx: Context, once: bool) -> None:
    """Follow the journal and tell of every entry that does not continue its thread: a gap, a fork, a changed entry.

    Ends with code 1 if there was any, with --once at the journal's end, otherwise at Ctrl-C."""
    check_broker(ctx.settings)
    journal, entries = Journal(ctx.settings), 0
    with contextlib.suppress(KeyboardInterrupt):
        for record in _records(ctx.settings, once):
            if record is None:
                continue
            told = len(journal.voids)
            entries += journal.take(record) is not None
            for void in journal.voids[told:]:
                ctx.say(f"ALARM {void.thread} at {void.partition}/{void.offset}: {void.reason}")
                ctx.emit(
                    alarm="void", thread=void.thread, partition=void.partition, offset=void.offset, reason=void.reason
                )
    ctx.say(f"{entries} entries of {len(journal.heads)} threads are valid, {len(journal.voids)} void.")
    ctx.emit(entries=entries, threads=len(journal.heads), void=len(journal.voids))
    journal.complain()
