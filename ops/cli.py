# SPDX-License-Identifier: Apache-2.0
"""`threadlog`: the command line. A command's module is imported only when that command is asked for."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

import click

import ops.commands
from ops.context import Context, as_json
from ops.settings import load


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and ctx.obj is not None:
        ctx.obj = dataclasses.replace(ctx.obj, json=True)


def _json_option() -> click.Option:
    """`--json` after the command's name as well as before it."""
    return click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_set_json, help="One JSON object per line."
    )


def _give_json(command: click.Command) -> None:
    if not any("--json" in parameter.opts for parameter in command.params):
        command.params.append(_json_option())
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _give_json(inner)


class Commands(click.Group):
    """The modules of `ops.commands` as commands, found by listing the folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name."""
        return sorted(module.name for module in pkgutil.iter_modules(ops.commands.__path__))

    def main(self, *given: Any, **more: Any) -> Any:
        """Run the line. With `--json`, wherever it stands, an error is an object, also that of a line that is none."""
        line = given[0] if given else more.get("args")
        if "--json" not in (sys.argv[1:] if line is None else line):
            return super().main(*given, **more)
        try:
            code = super().main(*given, **{**more, "standalone_mode": False})
        except (click.ClickException, click.Abort) as error:
            click.echo(as_json(error), err=True)
            code = getattr(error, "exit_code", 1)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it could not do is told in a sentence."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            from ops.failures import trouble  # all the clients of the stack, which `--help` need not wait for

            told = trouble(error, ctx.obj.settings if ctx.obj else None)
            if told is None:
                raise
            raise told from error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None when there is no such module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"ops.commands.{cmd_name}").command
        _give_json(command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state-dir", type=click.Path(path_type=Path), help="Folder of the stack (default: .threadlog).")
@click.option("--namespace", help="Prefix of every topic (default: threadlog).")
@click.option("--port-base", type=int, help="First of the ten ports the stack uses (default: 19090).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def main(
    ctx: click.Context, state_dir: Path | None, namespace: str | None, port_base: int | None, as_json: bool
) -> None:
    """Agents as stream processors: run the local stack, send events, read what was decided."""
    overrides = {"state_dir": state_dir, "namespace": namespace, "port_base": port_base}
    ctx.obj = Context(load(overrides, os.environ, Path.cwd()), as_json)


if __name__ == "__main__":
    main()
