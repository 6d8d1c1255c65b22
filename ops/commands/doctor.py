# SPDX-License-Identifier: Apache-2.0
"""`threadlog doctor`: transactions that hold up every reader, and topics that are kept too long or not long enough."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from ops.context import Context, pass_context
from ops.reading import check_broker
from ops.retention import mismatches
from wire.transactions import conversations, open_transactions


@click.command("doctor")
@pass_context
def command(ctx: Context) -> None:
    """List the conversation's open transactions: while one is open, nothing that comes after it can be read.

    A job that works ends one with every checkpoint. One that stays unchanged hangs: `threadlog start` commits or aborts
    it, as the state says that it begins from; else the broker aborts it after its timeout.

    Topics whose retention is not what the engine rests on are told of, with what that means."""
    check_broker(ctx.settings)
    found = open_transactions(ctx.settings.bootstrap, conversations(ctx.settings.namespace))
    for one in found:
        held_s, timeout_s = max(0.0, time.time() - one.changed_ms / 1000), one.timeout_ms / 1000
        ctx.emit(transaction=one.name, state=one.state, unchanged_s=round(held_s, 1), timeout_s=timeout_s)
        ctx.say(f"{one.name}: {one.state}, unchanged for {held_s:.1f} s; the broker aborts it after {timeout_s:.0f} s")
    ctx.say(
        "`threadlog start` ends what a job that is gone has left; what a job that runs has open, it ends itself."
        if found
        else "No transaction is open."
    )
    for mismatch in mismatches(ctx.settings):
        ctx.emit(**asdict(mismatch))
        ctx.say(str(mismatch))
