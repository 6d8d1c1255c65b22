# SPDX-License-Identifier: Apache-2.0
"""`threadlog parked`: runs that were stopped and wait for a person."""

from __future__ import annotations

import getpass
import json
from typing import Any

import click

from ops.context import Context, Trouble, pass_context
from ops.reading import Journal
from ops.sending import Sender


def parked(journal: Journal) -> dict[str, dict[str, Any]]:
    """The parked run of each thread that has one."""
    found: dict[str, dict[str, Any]] = {}
    for entry in journal:
        for effect in json.loads(entry.effects):
            if effect["do"] == "park_run":
                found[entry.thread] = {
                    "thread": entry.thread,
                    "run_id": effect["run_id"],
                    "seq": entry.seq,
                    **effect["error"],
                }
            elif effect["do"] == "end_run":
                found.pop(entry.thread, None)
        if entry.verdict == "retried" and not any(e["do"] == "park_run" for e in json.loads(entry.effects)):
            found.pop(entry.thread, None)
    return found


@click.group("parked")
def command() -> None:
    """Runs that were stopped because code and log disagree, or a limit was hit."""


@command.command("list")
@pass_context
def list_(ctx: Context) -> None:
    """Every parked run and why."""
    journal = Journal(ctx.settings)
    runs = parked(journal)
    for run in runs.values():
        ctx.say(f"{run['thread']}  run {run['run_id'][:12]}  {run['type']}: {run['message']}")
        ctx.emit(**run)
    if not runs:
        ctx.say("No run is parked.")
    journal.complain()


def _command(ctx: Context, thread: str, action: str, reason: str) -> None:
    journal = Journal(ctx.settings, thread)
    run = parked(journal).get(thread)
    journal.complain()
    if run is None:
        raise Trouble(f"Thread {thread!r} has no parked run.", "`threadlog parked list` names those that have.")
    with Sender(ctx.settings) as sender:
        data = {"run_id": run["run_id"], "action": action, "who": getpass.getuser(), "reason": reason}
        id = sender.send(thread, "threadlog.RunCommand", data)
    ctx.say(f"Asked to {action} run {run['run_id'][:12]}; `threadlog show {thread}` tells what became of it.")
    ctx.emit(thread=thread, action=action, event_id=id)


@command.command("retry")
@click.argument("thread")
@click.option("--reason", default="", help="Why; it is journaled.")
@pass_context
def retry(ctx: Context, thread: str, reason: str) -> None:
    """Go on with the parked run of THREAD on the code that is deployed now."""
    _command(ctx, thread, "retry", reason)


@command.command("abandon")
@click.argument("thread")
@click.option("--reason", default="", help="Why; it is journaled.")
@pass_context
def abandon(ctx: Context, thread: str, reason: str) -> None:
    """End the parked run of THREAD; its open effect calls stay with the thread."""
    _command(ctx, thread, "abandon", reason)
