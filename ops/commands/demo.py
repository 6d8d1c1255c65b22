# SPDX-License-Identifier: Apache-2.0
"""`threadlog demo`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click

from ops.context import Context, Trouble, pass_context
from ops.demo import run
from ops.stack import flink, lifecycle
from ops.stack.layout import PYTHON, ROOT
from ops.stack.submit import SubmitFailed
from wire.app_code import AppCodeError


def _stack(ctx: Context) -> None:
    # Inherited by the TaskManagers, in which the app's tools run.
    os.environ["SUPPORT_DESK_PAYMENTS_URL"] = f"http://127.0.0.1:{ctx.settings.port(0)}"
    try:
        lifecycle.up(ctx.settings, ctx.say)
    except lifecycle.StackFailed as error:
        raise Trouble(str(error), error.hint) from error
    except (SubmitFailed, AppCodeError) as error:
        raise Trouble(str(error), "The parts run; submit again with `threadlog submit`.") from error


def _addresses(ctx: Context) -> list[str]:
    settings = ctx.settings
    return ["--bootstrap", settings.bootstrap, "--registry", settings.registry_url, "--namespace", settings.namespace]


def _kills(ctx: Context, payments: run.Payments, count: int) -> None:
    """Kill hosts of the two jobs in turn, the payment service after the first."""
    for number in range(count):
        kind = ("tools", "conversation")[number % 2]
        open_now = run.wait_unanswered(payments.ledger, 30)
        name = run.kill_host(ctx.settings, kind)
        if open_now < run.UNANSWERED or not name:
            raise Trouble(f"Nothing to kill: {open_now} refunds open, {kind} runs on {name or 'no TaskManager'}.")
        ctx.say(f"  SIGKILL {name} ({kind} job), {open_now} refunds unanswered")
        ctx.emit(killed=name, job=kind, unanswered=open_now)
        if waiting := flink.wait_running(ctx.settings, list(flink.JOBS), 60):
            raise Trouble(f"{' and '.join(waiting)} did not recover in 60 s.", "Read `threadlog logs jobmanager`.")
        if number == 0:
            open_now = run.wait_unanswered(payments.ledger, 20)
            payments.kill()
            ctx.say(f"  SIGKILL the payment service, {open_now} refunds unanswered")
            ctx.emit(killed="payments", unanswered=open_now)


def _check(ctx: Context, sent: Path, ledger: Path, crashed: bool) -> int:
    command = [
        str(PYTHON),
        "-m",
        "examples.support_desk.check",
        "--sent",
        str(sent),
        "--ledger",
        str(ledger),
        *_addresses(ctx),
    ]
    extra = [*(["--crashed"] if crashed else []), *(["--json"] if ctx.json else [])]
    return subprocess.run([*command, *extra], cwd=ROOT, check=False).returncode


@click.command("demo")
@click.option("--conversations", type=click.IntRange(1, 100_000), default=500, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--kills", type=click.IntRange(0, 10), default=3, show_default=True, help="TaskManagers to SIGKILL.")
@click.option("--rate", type=float, default=25, show_default=True, help="Events a second.")
@click.option("--dedup-off", is_flag=True, help="A payment service that honours no idempotency key.")
@click.option("--fresh", is_flag=True, help="First remove the stack and data of an earlier demo.")
@pass_context
def command(ctx: Context, conversations: int, seed: int, kills: int, rate: float, dedup_off: bool, fresh: bool) -> None:
    """Refund customers while processes are killed, then check that every cent adds up."""
    earlier = ctx.settings.state_dir / "demo"
    if earlier.exists() and fresh:
        lifecycle.down(ctx.settings, ctx.say, purge=True)
    elif earlier.exists():
        # The checker counts whole topics, and a seed's event ids are known to the threads already.
        raise Trouble("This state folder has seen a demo.", "Use --fresh, or choose another --state-dir.")
    _stack(ctx)
    earlier.mkdir(parents=True)
    sent, payments = earlier / "sent.jsonl", run.Payments(ctx.settings, earlier / "ledger.jsonl", seed, dedup_off)
    try:
        payments.start()
    except OSError as error:
        raise Trouble(str(error)) from error
    ctx.say(f"Sending {conversations} conversations, seed {seed}")
    traffic = [str(PYTHON), "-m", "examples.support_desk.traffic", "--sent", str(sent), "--seed", str(seed)]
    traffic += ["--conversations", str(conversations), "--rate", str(rate), *_addresses(ctx)]
    sender = subprocess.Popen(traffic, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        _kills(ctx, payments, kills)
        if sender.wait(600):
            raise Trouble("The sender failed.", "Its error is above.")
    finally:
        if sender.poll() is None:
            sender.terminate()
    if not run.wait_quiet(ctx.settings, payments.ledger, 120):
        ctx.say("  still busy after 120 s; checking all the same")
    code = _check(ctx, sent, payments.ledger, kills > 0)
    _next(ctx, f"c{seed}-00000", dedup_off)
    raise SystemExit(code)


def _next(ctx: Context, thread: str, dedup_off: bool) -> None:
    """What to try now."""
    if dedup_off:
        ctx.say("The service honoured no key, so whatever a crash repeated was paid again: that is the callee's part.")
    here = "" if ctx.settings.state_dir == Path(".threadlog").resolve() else f" --state-dir {ctx.settings.state_dir}"
    ctx.say("The stack and the payment service are still up. Try")
    for command in (f"show {thread}", "tail agent-decisions -n 5", "status", "down"):
        ctx.say(f"  .venv/bin/threadlog{here} {command}")
    ctx.say(f"and Flink's page: {ctx.settings.flink_rest}")
