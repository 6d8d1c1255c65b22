# SPDX-License-Identifier: Apache-2.0
"""What every command of the line is given, and how it speaks.

A command writes for a person, or, with `--json`, one JSON object per line with stable names. It ends with a sentence
and a next step, never with a traceback: raise `Trouble`. With `--json` that is an object, too, on the error stream."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click

from ops.settings import Settings


class Trouble(click.ClickException):
    """The command could not do its work. `said` says what happened, `hint` what to do about it, `message` both."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.said, self.hint = message, hint
        super().__init__(f"{message}\n{hint}" if hint else message)


@dataclass(frozen=True)
class Context:
    """Settings and the voice: `say` for people, `emit` for programs; each is silent in the other's mode."""

    settings: Settings
    json: bool = False

    def say(self, line: str = "") -> None:
        """A line for a person."""
        if not self.json:
            click.echo(line)

    def emit(self, **record: Any) -> None:
        """One JSON object on one line."""
        if self.json:
            click.echo(json.dumps(record, ensure_ascii=False))


def as_json(error: click.ClickException | click.Abort) -> str:
    """What a command ends with, for a program: an object on one line, with `error` and `hint`."""
    hint = ""
    match error:
        case Trouble():
            said, hint = error.said, error.hint
        case click.ClickException():
            said = error.format_message()
        case click.Abort():
            said = "It was interrupted."
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"`{error.ctx.command_path} --help` says how it is called."
    return json.dumps({"error": said, "hint": hint}, ensure_ascii=False)


pass_context = click.make_pass_decorator(Context)
