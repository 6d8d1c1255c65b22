# SPDX-License-Identifier: Apache-2.0
"""`threadlog parked`: runs that were stopped and wait for a person."""

from __future__ import annotations

import getpass
import json
from typing import Any

import click

from ops.context import Context, Trouble, pass_context
from ops.printable import printable
from ops.reading import Journal
from ops.sending import Sender
from threadlog.entry import Entry
from threadlog.snapshots import state_before


def parked(journal: Journal) -> dict[str, dict[str, Any]]:
    """The parked run of each thread that has one; `seq` is None where retention took the decision that parked it."""
    found, begun = dict[str, dict[str, Any]](), set[str]()
    for entry in journal:
        if entry.thread not in begun:
            begun.add(entry.thread)
            if (run := _parked_before(entry)) is not None:
                found[entry.thread] = run
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


def _parked_before(entry: Entry) -> dict[str, Any] | None:
    """The run that is parked in the snapshot with which a thread begins whose start is gone."""
    state = state_before(entry)
    run = {} if state is None else state.small["run"]
    if "parked" not in run:
        return None
    cause = {name: value for name, value in run["parked"].items() if name != "since_ms"}
    return {"thread": entry.thread, "run_id": run["id"], "seq": None, **cause}


@click.group("parked")
def command() -> None:
    """Runs that were stopped because code and log disagree, or a limit was hit."""


@command.command("list")
@pass_context
def list_(ctx: Context) -> None:
    """Every parked run and why."""
    journal = Journal(ctx.settings, from_snapshot=True)
    runs = parked(journal)
    for run in runs.values():
        ctx.say(printable(f"{run['thread']}  run {run['run_id'][:12]}  {run['type']}: {run['message']}"))
        ctx.emit(**run)
    if not runs:
        ctx.say("No run is parked.")
    journal.complain()


def _command(ctx: Context, thread: str, action: str, reason: str) -> None:
    journal = Journal(ctx.settings, thread, from_snapshot=True)
    run = parked(journal).get(thread)
    if run is None:
        journal.complain()
        raise Trouble(f"Thread {thread!r} has no parked run.", "`threadlog parked list` names those that have.")
    with Sender(ctx.settings) as sender:
        data = {"run_id": run["run_id"], "action": action, "who": getpass.getuser(), "reason": reason}
        id = sender.send(thread, "threadlog.RunCommand", data)
    ctx.say(f"Asked to {action} run {run['run_id'][:12]}; `threadlog show {thread}` tells what became of it.")
    ctx.emit(thread=thread, action=action, event_id=id)
    journal.complain()


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
