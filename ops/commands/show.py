# SPDX-License-Identifier: Apache-2.0
"""`threadlog show`."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from ops.context import Context, Trouble, pass_context
from ops.index.opened import index
from ops.index.source import journal as log_of
from ops.index.states import states_at
from ops.index.voids import void_entries
from ops.printable import printable
from ops.reading import Journal, codec_of, whole_topic
from ops.voids import complain
from schemas.codec import Codec
from schemas.errors import Unreadable
from threadlog.canonical import digest
from threadlog.entry import Entry


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _cause(entry: Entry, codec: Codec) -> str:
    came = entry.input
    if entry.kind == "timer":
        return f"timer {came.id}"
    try:
        data = codec.decode(came.value)[2]
    except Unreadable:
        data = {}
    if entry.kind == "result":
        outcome = (
            data.get("value")
            if data.get("status") == "done"
            else f"{data.get('error_type')}: {data.get('error_message')}"
        )
        tries = ", ".join(f"{a['outcome']} {a['ended_ms'] - a['started_ms']} ms" for a in data.get("attempts", []))
        return f"{data.get('tool')} {data.get('status')}: {outcome}  [{tries}]  call {str(data.get('call_id'))[:12]}"
    return f"{came.type or 'unreadable'} {json.dumps(data, ensure_ascii=False)}  ({came.source} {came.id})"


def _effect(effect: dict[str, Any]) -> str:
    match effect["do"]:
        case "call":
            again = f", asked for the {effect['ask']}. time" if effect["ask"] > 1 else ""
            return f"call {effect['tool']}({effect['args']})  {effect['effect']}, key {effect['call_id'][:12]}{again}"
        case "reply":
            return f"reply «{effect['text']}»"
        case "signal":
            return f"{effect['name']} on thread {effect['thread']}"
        case "end_run":
            error = effect.get("error")
            return f"run {effect['status']}" + (f": {error['type']}: {error['message']}" if error else "")
        case "park_run":
            return f"run PARKED: {effect['error']['type']}: {effect['error']['message']}"
        case "dead_letter":
            return f"dead letter: {effect['message']}"
        case "late_success":
            return f"{effect['tool']} has happened after all, call {effect['call_id'][:12]}"
        case _:
            return ""


def _tell(ctx: Context, entry: Entry, codec: Codec) -> None:
    ctx.say(printable(f"{entry.seq:>4}  {_time(entry.time_ms)}  {_cause(entry, codec)}"))
    reason = f": {entry.reason}" if entry.reason else ""
    ctx.say(printable(f"      {entry.verdict}{reason}"))
    for effect in json.loads(entry.effects):
        if line := _effect(effect):
            ctx.say(printable(f"        → {line}"))


def _tell_cut(ctx: Context, first: Entry, left_out: int) -> None:
    """Say that a story begins at a snapshot, and how many entries are left that lie before it."""
    more = f" {left_out} before that are left, and are not told." if left_out else ""
    ctx.say(f"Retention has deleted the beginning: this is the story from the snapshot in seq {first.seq} on.{more}")
    ctx.emit(cut=True, thread=first.thread, seq=first.seq, left_out=left_out)


def _state_at(ctx: Context, thread: str, seq: int, refresh: bool) -> None:
    with index(ctx, refresh) as db:
        with log_of(ctx.settings) as log:
            state = states_at(db, log, codec_of(ctx.settings), thread, [seq])[seq]
        voids = void_entries(db, thread)
    core = state["core"]
    ctx.emit(thread=thread, seq=seq, time_ms=core["now"], state=state, hash=digest(state))
    ctx.say(f"{printable(thread)} after decision {seq}, {_time(core['now'])}")
    for section, values in state.items():
        if section not in ("core", *_NOT_TOLD) and values:
            ctx.say(f"  {section}")
            for key, value in values.items():
                ctx.say(printable(f"    {key}: {json.dumps(value, ensure_ascii=False)}"))
    complain(voids, len(voids))


_NOT_TOLD = ("positions", "seen", "window")  # where the log holds what was read, and what resends are known by


@click.command("show")
@click.argument("thread")
@click.option("--at", "seq", type=click.IntRange(1), help="The whole state after decision SEQ instead of the story.")
@click.option("--no-refresh", is_flag=True, help="With --at: find its entries by the index as it is.")
@pass_context
def command(ctx: Context, thread: str, seq: int | None, no_refresh: bool) -> None:
    """The story of THREAD from the journal: each input, what became of it, what was asked of the world."""
    if seq is not None:
        _state_at(ctx, thread, seq, not no_refresh)
        return
    codec, found = codec_of(ctx.settings), False
    journal = Journal(ctx.settings, thread, from_snapshot=True)
    for entry in journal:
        if not found and entry.seq > 1:
            _tell_cut(ctx, entry, journal.cut[thread])
        found = True
        _tell(ctx, entry, codec)
        fields = entry.to_dict()
        fields["input"]["value"] = base64.b64encode(entry.input.value).decode("ascii")
        for name in ("effects", "patch"):
            fields[name] = json.loads(fields[name])
        ctx.emit(**fields)
    for void in journal.voids:
        ctx.emit(void=True, **asdict(void))
    journal.complain()
    if thread in journal.cut and not found:
        raise Trouble(
            f"Retention has deleted the beginning of thread {thread!r}, and left no snapshot of it.",
            f"`threadlog tail agent-decisions` shows entries as they lie; {journal.cut[thread]} of its own are left.",
        )
    if not found:
        names = sorted(
            {r.key.decode("utf-8", "replace") for r in whole_topic(ctx.settings, "agent-decisions") if r.key}
        )
        known = (
            f"Some that it knows: {', '.join(names[:5])}."
            if names
            else "The journal is empty; `threadlog send` begins a thread."
        )
        raise Trouble(f"The journal holds nothing of thread {thread!r}.", known)
