# SPDX-License-Identifier: Apache-2.0
"""`threadlog tail`."""

from __future__ import annotations

import contextlib
import heapq
import json
from collections.abc import Iterable, Iterator
from typing import Any

import click

from ops.context import Context, pass_context
from ops.printable import printable
from ops.reading import as_json, codec_of, name_of, whole_topic
from wire.frames import Record
from wire.kafka import follow


def _show(ctx: Context, record: dict[str, Any], headers: bool) -> None:
    body = record.get("unreadable") or json.dumps(record.get("data"), ensure_ascii=False)
    line = f"{record['partition']}/{record['offset']}  {record['key']}  {record.get('type', '?')}  {body}"
    ctx.say(printable(line))
    if headers:
        for name, value in record["headers"].items():
            ctx.say(printable(f"    {name}: {value}"))
    ctx.emit(**record)


def _noted(records: Iterable[Record], seen: dict[tuple[str, int], int]) -> Iterator[Record]:
    """The records; `seen` says how far each partition was read."""
    for record in records:
        place = record.topic, record.partition
        seen[place] = max(record.offset, seen.get(place, -1))
        yield record


@click.command("tail")
@click.argument("topic")
@click.option(
    "-n",
    "--lines",
    "last",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="So many of the last records first.",
)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--headers", is_flag=True, help="Headers too.")
@pass_context
def command(ctx: Context, topic: str, last: int, following: bool, headers: bool) -> None:
    """The committed records of TOPIC, decoded: partition/offset, key, type, data."""
    codec = codec_of(ctx.settings)
    seen: dict[tuple[str, int], int] = {}
    read = _noted(whole_topic(ctx.settings, topic), seen)
    records = heapq.nlargest(last, read, key=lambda r: (r.timestamp_ms, r.partition, r.offset))
    for _ in read:  # to the end, also where none was asked for
        pass
    for record in reversed(records):
        _show(ctx, as_json(record, codec), headers)
    if not following:
        return
    # What came in the meantime is after the last that was read, not after the end as it is by now.
    with contextlib.suppress(KeyboardInterrupt):
        for new in follow(ctx.settings.bootstrap, [name_of(ctx.settings, topic)], after=seen):
            if new is not None:
                _show(ctx, as_json(new, codec), headers)
