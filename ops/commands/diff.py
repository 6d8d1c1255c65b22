# SPDX-License-Identifier: Apache-2.0
"""`threadlog diff`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from ops.context import Context, pass_context
from ops.index import queries
from ops.index.differences import Difference, differences
from ops.index.opened import index, no_refresh
from ops.index.source import journal
from ops.index.states import states_at
from ops.index.voids import void_entries
from ops.printable import printable
from ops.reading import codec_of
from ops.voids import complain

_SHOWN_CHARS = 160
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}… ({len(text)} characters)"


def line(one: Difference) -> str:
    """A difference for a person."""
    told = {
        "added": lambda: _short(one.after),
        "removed": lambda: _short(one.before),
        "changed": lambda: f"{_short(one.before)} → {_short(one.after)}",
    }
    return f"{_SIGNS[one.change]} {'.'.join(one.path)}  {told[one.change]()}"


def _tell_decision(ctx: Context, one: dict[str, Any]) -> None:
    at = datetime.fromtimestamp(one["time_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    reason = f": {one['reason']}" if one["reason"] else ""
    what = f"{one['kind']} {one['input_type'] or one['input_id']}"
    ctx.say(printable(f"{one['seq']:>5}  {at}  {what}  {one['verdict']}{reason}"))
    ctx.emit(decision=one["seq"], **{name: value for name, value in one.items() if name != "seq"})


@click.command("diff")
@click.argument("thread")
@click.argument("first", type=click.IntRange(0), metavar="SEQ")
@click.argument("second", type=click.IntRange(0), metavar="SEQ")
@click.option("--all", "everything", is_flag=True, help="Also hashes, positions, and what resends are known by.")
@no_refresh
@pass_context
def command(ctx: Context, thread: str, first: int, second: int, everything: bool, no_refresh: bool) -> None:
    """What differs in THREAD's state between two decisions, and the decisions between them.

    The state after the first SEQ is compared with that after the second; 0 is before the first decision."""
    with index(ctx, not no_refresh) as db:
        with journal(ctx.settings) as log:
            states = states_at(db, log, codec_of(ctx.settings), thread, [first, second])
        between = queries.decisions(db, thread, min(first, second), max(first, second))
        voids = void_entries(db, thread)
    for one in between:
        _tell_decision(ctx, one)
    found = [d for d in differences(states[first], states[second]) if everything or not d.is_bookkeeping]
    for difference in found:
        ctx.say(printable(line(difference)))
        ctx.emit(path=list(difference.path), change=difference.change, before=difference.before, after=difference.after)
    if not found:
        ctx.say("The state is the same.")
    complain(voids, len(voids))
