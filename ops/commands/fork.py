# SPDX-License-Identifier: Apache-2.0
"""`threadlog fork`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ops.context import Context, Trouble, pass_context
from ops.replay.fork import Trial, read_events
from ops.replay.histories import Writer
from ops.replay.source import FileSource, JournalSource, Source
from ops.replay.work import load
from ops.sending import check_thread
from ops.written import force, written
from schemas.codec import Codec
from schemas.errors import Unreadable
from threadlog.differences import line
from threadlog.engine import Decision
from threadlog.forking import Fork
from wire.app_code import loaded_digest


@click.command("fork")
@click.argument("thread")
@click.option("--at", required=True, type=click.IntRange(1), help="The last decision that the fork shares.")
@click.option("--as", "new", required=True, help="The id of the fork.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Its histories file.")
@force
@click.option("--file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Histories, not Kafka.")
@click.option("--app", help="The code: package.module:attribute (default: the setting).")
@click.option(
    "--try", "events", type=click.Path(path_type=Path, exists=True), help="Events to try, a JSON object a line."
)
@click.option("--allow", multiple=True, metavar="TOOL", help="Run this tool when a tried event asks for it.")
@pass_context
def command(ctx: Context, /, **given: Any) -> None:
    """THREAD's history up to --at as another thread, in a file; nothing is sent to Kafka.

    Events of --try are decided on it. What they ask for is told; only tools that --allow names are run."""
    thread, new, out = given["thread"], given["new"], given["out"]
    spec = given["app"] or ctx.settings.app
    app = load(spec)
    app.digest = loaded_digest(spec)
    _check(thread, new, given["allow"], app.tools)
    one = frozenset([thread])
    source: Source = (
        FileSource(given["file"], (0, 1), one) if given["file"] else JournalSource(ctx.settings, (0, 1), one)
    )
    with written(out, given["force"]) as file:
        writer = Writer(file, source.schemas)
        fork = Fork(new, app, Codec(source.schemas).encode)
        trial = Trial(fork, source, writer, lambda decision: _tell(ctx, decision), frozenset(given["allow"]))
        trial.history(thread, given["at"])
        ctx.say(f"{new}: {given['at']:,} decisions of {thread}, decided again under its own ids.")
        for number, tried in enumerate(read_events(given["events"]) if given["events"] else (), 1):
            trial.attempt(tried, number)
        writer.close()
    for ask in trial.open_calls():
        ctx.say(f"waits for {line(ask)}")
    ctx.say(f"{writer.entries:,} decisions in {out}; `threadlog replay --file {out}` decides them again.")
    waits = [{"tool": ask["tool"], "args": ask["args"], "call_id": ask["call_id"]} for ask in trial.open_calls()]
    ctx.emit(fork=new, thread=thread, at=given["at"], entries=writer.entries, file=str(out), waits_for=waits)


def _check(thread: str, new: str, allowed: tuple[str, ...], tools: Any) -> None:
    try:
        check_thread(new)
    except (Unreadable, UnicodeEncodeError) as error:
        raise Trouble(f"{new!r} names no thread: {error}.", "1 to 512 bytes of UTF-8 are needed.") from error
    if new == thread:
        raise Trouble("The fork would have the thread's own id.", "Give it another with --as.")
    if unknown := sorted(set(allowed) - set(tools)):
        raise Trouble(f"The app has no tool {', '.join(unknown)}.", f"Its tools are {', '.join(sorted(tools))}.")


def _tell(ctx: Context, decision: Decision) -> None:
    """A tried event, what became of it, and what it asks for."""
    entry = decision.entry
    ctx.say(f"seq {entry.seq}: {entry.input.type or entry.input.id}: {entry.verdict} {entry.reason}".rstrip())
    for effect in decision.effects:
        ctx.say(f"    {line(effect)}")
    ctx.emit(seq=entry.seq, kind=entry.kind, verdict=entry.verdict, reason=entry.reason, effects=decision.effects)
