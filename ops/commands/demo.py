# SPDX-License-Identifier: Apache-2.0
"""`threadlog demo`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from confluent_kafka import KafkaException

from ops import http
from ops.context import Context, Trouble, pass_context
from ops.demo import kills, quiet
from ops.demo.payments import Payments, url
from ops.demo.victims import Tail, Watch
from ops.settings import REMEMBERED, Settings, changed, remembered
from ops.stack import flink, lifecycle, records
from ops.stack.layout import PYTHON, ROOT, Layout
from ops.stack.submit import SubmitFailed
from ops.stack.supervisor import Supervisor
from wire.app_code import AppCodeError

APP = "examples.support_desk.app:app"
SENDING_S, BUSY_S = 600, 120


@dataclass(frozen=True)
class Plan:
    """What a demo does; plans that differ in `dedup_off` only meet the same customers."""

    conversations: int = 500
    seed: int = 1
    kills: int = 3
    rate: float = 25.0
    dedup_off: bool = False

    def options(self) -> str:
        """How the same customers are asked for on the command line."""
        given = {key: value for key, value in asdict(self).items() if key != "dedup_off"}
        return "".join(f" --{key} {value:g}" for key, value in given.items() if value != getattr(Plan, key))


@click.command("demo")
@click.option("--conversations", type=click.IntRange(1, 100_000), default=Plan.conversations, show_default=True)
@click.option("--seed", type=int, default=Plan.seed, show_default=True)
@click.option("--kills", type=click.IntRange(0, 10), default=Plan.kills, show_default=True, help="TaskManagers.")
@click.option("--rate", type=click.FloatRange(1, 1000), default=Plan.rate, show_default=True, help="Events a second.")
@click.option(
    "--dedup-off",
    is_flag=True,
    help="A payment service that honours no key. Replaces an earlier demo and shows its table beside.",
)
@click.option("--fresh", is_flag=True, help="First remove the stack and data of an earlier demo.")
@pass_context
def command(ctx: Context, /, fresh: bool, **options: Any) -> None:
    """Refund customers while processes are killed, then check that every cent adds up."""
    plan, began = Plan(**options), time.monotonic()
    # The checker knows the refund desk and no other app, whatever the settings say.
    ctx = dataclasses.replace(ctx, settings=dataclasses.replace(ctx.settings, app=APP))
    folder = ctx.settings.state_dir / "demo"
    before = table_before(folder, plan)
    make_room(ctx, folder, fresh or plan.dedup_off)
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(asdict(plan)))
    if before is not None:
        (folder / "before.json").write_text(json.dumps(before))
    try:
        _stack(ctx)
        _traffic(ctx, folder, plan)
    except (http.HttpError, KafkaException, OSError) as error:
        raise Trouble(str(error), "Is the stack well? `threadlog status`.") from error
    code = _check(ctx, folder)
    _next(ctx, plan, beside=before is not None, seconds=time.monotonic() - began)
    raise SystemExit(code)


def table_before(folder: Path, plan: Plan) -> dict[str, Any] | None:
    """The table of the demo that lies in the folder, if this one is the same without the callee's part."""
    try:
        earlier: dict[str, Any] = json.loads((folder / "plan.json").read_text())
        table: dict[str, Any] = json.loads((folder / "table.json").read_text())
    except (OSError, ValueError):
        return None
    return table if plan.dedup_off and earlier == {**asdict(plan), "dedup_off": False} else None


def make_room(ctx: Context, folder: Path, fresh: bool) -> None:
    """Leave a state folder without a stack: the checker counts whole topics, a seed's event ids are known to threads
    that met them before, and TaskManagers learn the payment service's address when they start."""
    holds_stack = (ctx.settings.state_dir / REMEMBERED).is_file()
    if holds_stack and not folder.exists():
        raise Trouble(
            f"{ctx.settings.state_dir} holds a stack that is no demo's.",
            "Choose another with --state-dir, or remove it with `threadlog down --purge`.",
        )
    if folder.exists() and not fresh:
        raise Trouble("This state folder has seen a demo.", "Use --fresh, or choose another --state-dir.")
    if holds_stack:
        if others := others_work(ctx.settings):
            raise Trouble(
                f"{ctx.settings.state_dir} holds more than a demo, which would go with it: {', '.join(others)}.",
                "Choose another --state-dir; or remove all of it, the journal too, with `threadlog down --purge`.",
            )
        lifecycle.down(ctx.settings, ctx.say, purge=True)
    shutil.rmtree(folder, ignore_errors=True)


def others_work(settings: Settings) -> list[str]:
    """What somebody has done with the stack that a demo has left up: other apps, and jobs of other namespaces."""
    known, layout = remembered(settings.state_dir), Layout(settings.state_dir)
    submitted = [records.read(layout, kind) for kind in flink.JOBS]
    apps = {known.get("app", APP), *(record.app for record in submitted if record)} - {APP}
    namespaces = {path.name for path in layout.jobs.glob("*/")}
    if Supervisor(layout).is_running():
        with contextlib.suppress(http.HttpError):  # what ran of them when it died has its folder
            of = changed(settings, {"port_base": known.get("port_base")})
            namespaces |= {*flink.namespaces(of)} - {known.get("namespace", settings.namespace)}
    return [f"the app {app}" for app in sorted(apps)] + [f"the namespace {name}" for name in sorted(namespaces)]


def _stack(ctx: Context) -> None:
    # Inherited by the TaskManagers, in which the app's tools run.
    os.environ["SUPPORT_DESK_PAYMENTS_URL"] = url(ctx.settings)
    try:
        lifecycle.up(ctx.settings, ctx.say)
    except lifecycle.StackFailed as error:
        raise Trouble(str(error), error.hint) from error
    except (SubmitFailed, AppCodeError) as error:
        raise Trouble(str(error), "The parts run; submit again with `threadlog submit`.") from error


def _addresses(ctx: Context) -> list[str]:
    settings = ctx.settings
    return ["--bootstrap", settings.bootstrap, "--registry", settings.registry_url, "--namespace", settings.namespace]


def _traffic(ctx: Context, folder: Path, plan: Plan) -> None:
    """Send the customers' events, kill meanwhile, and wait until nothing moves any more."""
    payments = Payments(ctx.settings, folder / "ledger.jsonl", plan.seed, plan.dedup_off)
    payments.start()
    ctx.say(f"Sending {plan.conversations} conversations, seed {plan.seed}")
    traffic = [str(PYTHON), "-m", "examples.support_desk.traffic", "--sent", str(folder / "sent.jsonl")]
    traffic += ["--seed", str(plan.seed), "--conversations", str(plan.conversations), "--rate", str(plan.rate)]
    sender = subprocess.Popen([*traffic, *_addresses(ctx)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        _kills(ctx, folder, payments, plan.kills)
        if sender.wait(SENDING_S):
            raise Trouble("The sender failed.", "Its error is above.")
    finally:
        if sender.poll() is None:
            sender.terminate()
    if not quiet.wait_quiet(ctx.settings, payments.ledger, BUSY_S):
        ctx.say(f"  still busy after {BUSY_S} s; checking all the same")


def _kills(ctx: Context, folder: Path, payments: Payments, count: int) -> None:
    """Kill hosts of the two jobs in turn, the payment service after the first. What missed its refunds is repeated."""
    watch = Watch(Tail(payments.ledger), Tail(folder / "sent.jsonl"))
    hits = 0
    while hits < count:
        kill = kills.kill_host(ctx.settings, ("tools", "conversation")[hits % 2], watch)
        _note(ctx, folder, kill, f"{kill.killed} ({kill.job} job, subtask {kill.subtask})")
        hits += kill.hit
        if kill.hit and hits == 1:
            _note(ctx, folder, kills.kill_payments(payments, watch), "the payment service")


def _note(ctx: Context, folder: Path, kill: kills.Kill, victim: str) -> None:
    """Tell of a kill, and write it down for the checker."""
    back_s = (kill.running_ms - kill.at_ms) / 1000
    ctx.say(f"  SIGKILL {victim}, {kill.unanswered} refunds unanswered; all runs {back_s:.1f} s later")
    ctx.emit(**asdict(kill))
    with (folder / "kills.jsonl").open("a") as notes:
        notes.write(json.dumps(asdict(kill)) + "\n")


def _check(ctx: Context, folder: Path) -> int:
    """Let the checker print its table; its exit code."""
    command = [str(PYTHON), "-m", "examples.support_desk.check", *_addresses(ctx)]
    names = {"sent": "sent.jsonl", "ledger": "ledger.jsonl", "kills": "kills.jsonl", "before": "before.json"}
    for option, name in names.items():
        command += [f"--{option}", str(folder / name)] if (folder / name).exists() else []
    command += ["--table", str(folder / "table.json"), *(["--json"] if ctx.json else [])]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _next(ctx: Context, plan: Plan, beside: bool, seconds: float) -> None:
    """What it was worth, and what to try now."""
    ctx.say(f"All of it took {seconds:.0f} s.")
    threadlog = ".venv/bin/threadlog"
    if ctx.settings.state_dir != Path(".threadlog").resolve():
        threadlog += f" --state-dir {ctx.settings.state_dir}"
    if plan.dedup_off:
        ctx.say("This service honoured no key: what was asked again, by a crash or a retry, was paid again.")
        ctx.say("The same calls under the same keys; paying a key once is the callee's part of the bargain.")
        if not beside:
            ctx.say(
                f"To see it beside a service that does its part: {threadlog} demo --fresh{plan.options()}, then this."
            )
    ctx.say("The stack and the payment service are still up. Try")
    for words in (f"show c{plan.seed}-00000", "tail agent-decisions -n 5", "status"):
        ctx.say(f"  {threadlog} {words}")
    if not plan.dedup_off:
        ctx.say(f"  {threadlog} demo --dedup-off{plan.options()}    the same customers, a service that honours no key")
    ctx.say(f"  {threadlog} down")
    ctx.say(f"and Flink's page: {ctx.settings.flink_rest}")
