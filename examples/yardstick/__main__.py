# SPDX-License-Identifier: Apache-2.0
"""`python -m examples.yardstick`: the leaderboard's tasks straight and under SIGKILLs, against direct execution.

    tasks fetched ─► direct execution ─► a stack of its own ─► run "straight" ─► run "killed" ─► tables ─► stack away
                                                                                    --write-docs FOLDER: page and writes

The checker is a program of its own and shares no code with the product."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import click

from bench.figures import machine
from examples.yardstick import fetch, report
from examples.yardstick import run as runs
from examples.yardstick.tasks import Task, load
from ops.context import Trouble
from ops.settings import Settings, SettingsError
from ops.settings import load as load_settings
from ops.stack import lifecycle
from ops.stack.layout import BUILD, PYTHON, ROOT
from ops.stack.submit import SubmitFailed

FOLDER = BUILD / "yardstick"
# Beside the defaults of `threadlog up`, so that both may run.
PUBLISHED = {"kills": 21, "delay_ms": (50, 200)}  # what a page is of, and what the options are by default
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


def _check(settings: Settings, folder: Path, name: str, earlier: list[str]) -> dict[str, Any]:
    """The checker's table of a run; `earlier` are the names of those before it on the same stack."""
    given = {
        "prefix": f"{name}.", "direct": folder / "direct.json", "ledger": folder / f"{name}.jsonl",
        "states": folder / f"{name}.states.json", "kills": folder / f"{name}.kills.json",
        "bootstrap": settings.bootstrap, "registry": settings.registry_url, "namespace": settings.namespace,
    }  # fmt: skip
    command = [str(PYTHON), "-m", "examples.yardstick.check"]
    command += [word for option, value in given.items() for word in (f"--{option}", str(value))]
    command += [word for one in earlier for word in ("--earlier", f"{one}.")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise Trouble(f"The checker failed on the run {name!r}.", "Its error is above.")
    table: dict[str, Any] = json.loads(done.stdout)
    return table


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
    found: dict[str, Any] = {"runs": {}, "tables": {}}
    for name, kills in (("straight", 0), ("killed", given["kills"])):
        if name == "killed" and not kills:
            continue
        click.echo(f"Run {name!r}: {len(tasks)} tasks, {kills} kills")
        service = runs.Service(url, folder / f"{name}.jsonl", options)
        earlier = list(found["runs"])
        found["runs"][name] = runs.run(settings, name, tasks, service, kills, click.echo)
        (folder / f"{name}.kills.json").write_text(json.dumps(found["runs"][name]["kills"]))
        found["tables"][name] = _check(settings, folder, name, earlier)
    return found


def _check_publishable(given: dict[str, Any], commit: str) -> None:
    """Raise Trouble where a page would be of something else than the document speaks of, or of code that nobody has."""
    if given["tasks"] is not None:
        raise Trouble("--write-docs makes a page of all tasks.", "Leave --tasks out.")
    if other := [key for key, usual in PUBLISHED.items() if given[key] != usual]:
        names = " and ".join(f"--{key.replace('_', '-')}" for key in other)
        raise Trouble("--write-docs makes a page of the usual kills and delays.", f"Leave {names} out.")
    if not commit or commit.endswith("+"):
        raise Trouble(f"--write-docs makes a page of a commit, and this tree is changed ({commit}).", "Commit first.")


def _page_name(given: dict[str, Any]) -> str:
    """Pages that may stand side by side have names of their own."""
    told = {"yardstick": True, "dedup-off": given["dedup_off"], f"seed-{given['seed']}": given["seed"] != 1}
    return "-".join(word for word, is_told in told.items() if is_told)


def _write(folder: Path, name: str, whole: dict[str, Any], direct: dict[str, Any]) -> None:
    """The page, and the list of writes that it links to."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(report.page(whole))
    (folder / report.WRITES).write_text("".join(report.each_write(direct)))


@click.command()
@click.option("--tasks", type=click.IntRange(1), help="How many of the 200 tasks, drawn by the seed (default: all).")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Order of the tasks, and how long each call takes."
)
@click.option(
    "--kills",
    type=click.IntRange(0, 100),
    default=PUBLISHED["kills"],
    show_default=True,
    help="SIGKILLs of the second run.",
)
@click.option(
    "--delay-ms",
    type=click.IntRange(0, 4000),
    nargs=2,
    default=PUBLISHED["delay_ms"],
    show_default=True,
    help="Of a call.",
)
@click.option("--dedup-off", is_flag=True, help="A tool service that honours no idempotency key: the check turns red.")
@click.option(
    "--write-docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Page and list of writes of a clean commit, to a folder, if the check is as it should be.",
)
@click.option("--keep", is_flag=True, help="Leave the stack up.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Folder of the stack.")
@click.option("--namespace", help="Prefix of its topics.")
@click.option("--port-base", type=int, help="First of its ten ports.")
def main(**given: Any) -> None:
    """Run the leaderboard's multi-turn tasks through threadlog and compare with direct execution."""
    began, measured_on = time.monotonic(), machine()
    if given["write_docs"] is not None:
        _check_publishable(given, measured_on["commit"])
    settings = _settings(given)
    folder = FOLDER / settings.namespace / "last"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    try:
        fetch.ensure(click.echo)
        tasks = _chosen(given["tasks"], given["seed"])
        direct = runs.direct(folder / "direct.json")
    except (fetch.FetchFailed, subprocess.CalledProcessError) as error:
        raise Trouble(str(error), "Run it again to continue.") from error
    direct = {task.id: direct[task.id] for task in tasks}
    (folder / "direct.json").write_text(json.dumps(direct))
    whole: dict[str, Any] = {
        "settings": {key: given[key] for key in ("seed", "kills", "delay_ms", "dedup_off")},
        "writes": report.writes(direct),
        "machine": measured_on,
    }
    click.echo(report.calls(whole["writes"]))
    equal = False
    try:
        whole.update(_runs(settings, folder, tasks, given))
        equal = not any(table["wrong"] for table in whole["tables"].values())
    finally:
        if not given["keep"]:
            lifecycle.down(settings, click.echo, purge=equal)
    whole.update(equal=equal, seconds=round(time.monotonic() - began))
    code, _ = report.outcome(whole)
    (folder / "report.json").write_text(json.dumps(whole, indent=1))
    _write(folder, "report", whole, direct)
    if given["write_docs"] is not None and code == int(given["dedup_off"]):
        _write(given["write_docs"], _page_name(given), whole, direct)
    click.echo(f"\n{report.table(whole['tables'])}\n{report.verdict(whole)}")
    click.echo(f"The ledgers, the states and report.md are in {folder.relative_to(ROOT)}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
