# SPDX-License-Identifier: Apache-2.0
"""`threadlog watch`: the alarm on what no log line tells, a journal that is no chain any more, and what leads there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import click
from confluent_kafka import KafkaException

from ops.context import Context, Trouble, pass_context
from ops.printable import printable
from ops.reading import check_broker, name_of, whole_topic
from ops.settings import Settings
from ops.stack import checks
from ops.stack.healing import Cause, Healer, Unhealed
from ops.voids import complain
from ops.watching.jobs import ALARMS
from ops.watching.watch import FOLLOWED, News, Watch
from schemas.errors import WireError
from wire.frames import Record
from wire.journal import TOPIC as JOURNAL
from wire.kafka import follow

LOOK_S = 2.0
# So soon a record is read again that could not be, for a registry that does not answer.
AGAIN_S = 0.5


def _records(settings: Settings, once: bool) -> Iterator[Record | None]:
    """The journal to its end as of now, or all that is followed, for ever; each from its beginning."""
    if once:
        yield from whole_topic(settings, JOURNAL)
    else:
        yield from follow(settings.bootstrap, [name_of(settings, topic) for topic in FOLLOWED], from_start=True)


def _until_taken(watch: Watch, records: Iterator[Record | None], once: bool) -> Iterator[Record | None]:
    """Each record until it was taken: an entry that is left out would look like a gap. `once`: raises WireError."""
    for record in records:
        yield record
        while watch.unread is not None:
            if once:
                raise watch.unread
            time.sleep(AGAIN_S)
            yield record


@click.command("watch")
@click.option("--once", is_flag=True, help="Read the journal to its end as of now, and end; look at nothing else.")
@click.option(
    "--heal", is_flag=True, help="Upon a gap or fork: stop the conversation, rebuild its state, start it again."
)
@click.option("--every", metavar="SECONDS", type=click.FloatRange(min=0), help="Tell the figures of now so often.")
@pass_context
def command(ctx: Context, once: bool, heal: bool, every: float | None) -> None:
    """Follow the journal and tell of every entry that does not continue its thread: a gap, a fork, a changed entry.

    Without --once also of decisions that were lost, transactions that hang, and jobs that do not run, and when that is
    over. Ends with code 1 if the journal was broken, with --once at its end, otherwise at Ctrl-C; what a rebuild has
    healed since does not count."""
    if once and heal:
        raise Trouble("--once ends at the journal's end, --heal goes on.", "Give one of the two.")
    check_broker(ctx.settings)
    if heal:
        checks.check_ours(ctx.settings)
    if not once and not ctx.settings.is_local:
        ctx.say(f"No JobManager is asked, for Kafka is not the local stack's: no alarms {', '.join(ALARMS)}.")
        ctx.emit(not_watched=list(ALARMS))
    watch, healer = Watch(ctx.settings), _healer(ctx) if heal else None
    with contextlib.suppress(KeyboardInterrupt):
        _watch(ctx, watch, healer, _until_taken(watch, _records(ctx.settings, once), once), every)
    counts = watch.counts(time.monotonic())
    told = f", {watch.healed} of them healed by the last rebuild" if watch.healed else ""
    ctx.say(f"{watch.entries} entries of {counts['threads']} threads are valid, {counts['void']} void{told}.")
    if cut := len(watch.journal.cut):
        ctx.say(f"Of {cut} threads the beginning is deleted; {counts['cut']} entries lie before their next snapshot.")
    ctx.emit(**counts)
    complain(watch.broken, len(watch.broken))


def _watch(
    ctx: Context, watch: Watch, healer: Healer | None, records: Iterator[Record | None], every: float | None
) -> None:
    looked = told = time.monotonic()
    for record in records:
        now, news = time.monotonic(), list[News]()
        if record is not None:
            entries = watch.entries
            news = watch.take(record, now)
            if healer is not None and watch.entries > entries:
                healer.valid(record.partition, record.offset)
        if now - looked >= LOOK_S:
            looked, news = now, [*news, *watch.look(now)]
        if every is not None and now - told >= every:
            told = now
            _tell_counts(ctx, watch, now)
        for one in news:
            ctx.say(printable(one.line))
            ctx.emit(**one.record)
        if healer is not None:
            for one in news:
                if one.broken:
                    healer.broke(Cause(one.record["alarm"], one.place, one.mark))
            _heal(ctx, watch, healer)


def _tell_counts(ctx: Context, watch: Watch, now: float) -> None:
    counts = watch.counts(now)
    ctx.say(", ".join(f"{name} {value}" for name, value in counts.items()))
    ctx.emit(**counts)


def _healer(ctx: Context) -> Healer:
    def begun(cause: Cause) -> None:
        ctx.say("Healing: the conversation is stopped and its state made anew from the journal.")
        ctx.emit(heal="begun", cause=cause.alarm)

    return Healer(ctx.settings, ctx.say, begun)


def _heal(ctx: Context, watch: Watch, healer: Healer) -> None:
    """Repair what is pending, at once, unless that is done. The watch goes on, whatever comes of it."""
    began = time.monotonic()
    try:
        if healer.heal(began):
            ctx.emit(heal="done", seconds=round(time.monotonic() - began, 1))
            with contextlib.suppress(KafkaException, WireError):  # it is read with the other topics, too
                watch.read_marks()
    except Unhealed as error:
        if healer.is_news(str(error)):
            ctx.say(f"ALARM not healed: {error}")
            ctx.emit(heal="failed", reason=str(error))
