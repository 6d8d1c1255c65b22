# SPDX-License-Identifier: Apache-2.0
"""`python -m examples.yardstick`: the leaderboard's tasks straight and under SIGKILLs, against direct execution.

    tasks fetched ─► direct execution ─► a stack of its own ─► run "straight" ─► run "killed" ─► tables ─► stack away

The checker is a program of its own and shares no code with the product."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from examples.yardstick import fetch
from examples.yardstick import run as runs
from examples.yardstick.simulators import WALL_CLOCK
from examples.yardstick.tasks import Task, load
from ops.context import Trouble
from ops.settings import Settings, SettingsError
from ops.settings import load as load_settings
from ops.stack import lifecycle
from ops.stack.layout import BUILD, PYTHON, ROOT
from ops.stack.submit import SubmitFailed

FOLDER = BUILD / "yardstick"
# Beside the defaults of `threadlog up`, so that both may run.
DEFAULTS = {"state_dir": FOLDER / "stack", "namespace": "yardstick", "port_base": 21000}


def _settings(given: dict[str, Any]) -> Settings:
    overrides = {key: given[key] or default for key, default in DEFAULTS.items()}
    try:
        settings = load_settings({**overrides, "app": "examples.yardstick.app:app"}, os.environ, Path.cwd())
    except SettingsError as error:
        raise Trouble(str(error)) from error
    if settings.state_dir.exists() and any(settings.state_dir.iterdir()):
        # Its threads know the events of the run before, and the checker counts whole topics.
        raise Trouble(
            f"{settings.state_dir} has a stack in it.", f"`threadlog --state-dir {settings.state_dir} down --purge`"
        )
    return settings


def _up(settings: Settings) -> str:
    """Start the stack; the service's URL, which the TaskManagers inherit."""
    url = os.environ["YARDSTICK_SERVICE_URL"] = f"http://127.0.0.1:{settings.port(0)}"
    try:
        lifecycle.up(settings, click.echo)
    except (lifecycle.StackFailed, SubmitFailed) as error:
        raise Trouble(str(error), getattr(error, "hint", "")) from error
    runs.register(settings)
    return url


def _check(settings: Settings, folder: Path, name: str, crashed: bool) -> dict[str, Any]:
    """The checker's table of a run."""
    command = [
        str(PYTHON),
        "-m",
        "examples.yardstick.check",
        "--prefix",
        f"{name}.",
        "--direct",
        str(folder / "direct.json"),
    ]
    command += ["--ledger", str(folder / f"{name}.jsonl"), "--states", str(folder / f"{name}.states.json")]
    command += [
        "--bootstrap",
        settings.bootstrap,
        "--registry",
        settings.registry_url,
        "--namespace",
        settings.namespace,
    ]
    command += ["--crashed"] if crashed else []
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise Trouble(f"The checker failed on the run {name!r}.", "Its error is above.")
    table: dict[str, Any] = json.loads(done.stdout)
    return table


def writes(direct: dict[str, Any]) -> dict[str, Counter[str]]:
    """By function: its calls, how many of them are writes, and of how many a duplicate would show."""
    found: dict[str, Counter[str]] = {}
    for one in direct.values():
        rows = zip(one["calls"], one["writes"], one["shows_in_state"], one["shows_in_answer"], strict=True)
        for call, write, state, answer in rows:
            counts = {"calls": 1, "writes": write, "in_state": state, "in_answer": answer, "shown": state or answer}
            found.setdefault(call["function"], Counter()).update(counts)
    return found


def _say_direct(direct: dict[str, Any]) -> dict[str, Counter[str]]:
    by_function = writes(direct)
    all_of = sum(by_function.values(), Counter())
    click.echo(
        f"{len(direct)} tasks, {all_of['calls']} calls, {all_of['writes']} of them writes; a duplicate would show for "
        f"{all_of['shown']}: for {all_of['in_state']} in the state, for {all_of['in_answer']} in its answer"
    )
    left_out = ", ".join(f"{owner}.{name}" for owner, name in sorted(WALL_CLOCK))
    click.echo(f"Wall clock, left out of states: {left_out}")
    return by_function


def _table(tables: dict[str, dict[str, Any]]) -> None:
    click.echo(f"\n  {'':<26}" + "".join(f"{name:>10}" for name in tables))
    for row in next(iter(tables.values())):
        if row != "wrong":
            mark = "   <- wrong" if any(row in table["wrong"] for table in tables.values()) else ""
            click.echo(
                f"  {row.replace('_', ' '):<26}" + "".join(f"{table[row]:>10}" for table in tables.values()) + mark
            )


def _chosen(count: int | None, seed: int) -> list[Task]:
    tasks = load(fetch.package())
    random.Random(seed).shuffle(tasks)
    return tasks[:count]


def _runs(settings: Settings, folder: Path, tasks: list[Task], given: dict[str, Any]) -> dict[str, Any]:
    """Both runs and their tables."""
    url = _up(settings)
    low, high = given["delay_ms"]
    options = ["--seed", str(given["seed"]), "--delay-ms", str(low), str(high)]
    options += ["--dedup-off"] if given["dedup_off"] else []
    report: dict[str, Any] = {"runs": {}, "tables": {}}
    for name, kills in (("straight", 0), ("killed", given["kills"])):
        if name == "killed" and not kills:
            continue
        click.echo(f"Run {name!r}: {len(tasks)} tasks, {kills} kills")
        service = runs.Service(url, folder / f"{name}.jsonl", options)
        report["runs"][name] = runs.run(settings, name, tasks, service, kills, click.echo)
        report["tables"][name] = _check(settings, folder, name, kills > 0)
    return report


@click.command()
@click.option("--tasks", type=click.IntRange(1), help="How many of the 200 tasks, drawn by the seed (default: all).")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Order of the tasks, and how long each call takes."
)
@click.option("--kills", type=click.IntRange(0, 100), default=6, show_default=True, help="SIGKILLs of the second run.")
@click.option(
    "--delay-ms", type=click.IntRange(0, 4000), nargs=2, default=(50, 200), show_default=True, help="Of a call."
)
@click.option("--dedup-off", is_flag=True, help="A tool service that honours no idempotency key: the check turns red.")
@click.option("--keep", is_flag=True, help="Leave the stack up.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Folder of the stack.")
@click.option("--namespace", help="Prefix of its topics.")
@click.option("--port-base", type=int, help="First of its ten ports.")
def main(**given: Any) -> None:
    """Run the leaderboard's multi-turn tasks through threadlog and compare with direct execution."""
    began, settings = time.monotonic(), _settings(given)
    folder = FOLDER / settings.namespace / "last"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    try:
        fetch.ensure(click.echo)
        tasks = _chosen(given["tasks"], given["seed"])
        found = runs.direct(folder / "direct.json")
    except (fetch.FetchFailed, subprocess.CalledProcessError) as error:
        raise Trouble(str(error), "Run it again to continue.") from error
    found = {task.id: found[task.id] for task in tasks}
    (folder / "direct.json").write_text(json.dumps(found))
    by_function = _say_direct(found)
    equal = False
    try:
        report = _runs(settings, folder, tasks, given)
        _table(report["tables"])
        equal = not any(table["wrong"] for table in report["tables"].values())
        settled = {key: value for key, value in given.items() if key not in DEFAULTS and key != "keep"}
        seconds = round(time.monotonic() - began)
        whole = {"equal": equal, "seconds": seconds, "settings": settled, **report, "writes": by_function}
        (folder / "report.json").write_text(json.dumps(whole, indent=1))
    finally:
        if not given["keep"]:
            lifecycle.down(settings, click.echo, purge=equal)
    verdict = "Every run is equal to direct execution." if equal else "NOT equal to direct execution."
    click.echo(f"{verdict} {seconds} s; ledgers, states and report.json in {folder.relative_to(ROOT)}")
    raise SystemExit(0 if equal else 1)


if __name__ == "__main__":
    main()
