# SPDX-License-Identifier: Apache-2.0
"""A file that a command writes where a person says: there when all of it is, and never over another one unasked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from ops.context import Trouble


def force(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of every command that writes such a file."""
    return click.option("--force", is_flag=True, help="Write over a file that is there.")(command)


@contextmanager
def written(out: Path, over: bool) -> Iterator[IO[bytes]]:
    """The file to write. What is raised in the body leaves none, and what was there as it was.

    over: write over what is there. Raises Trouble where that is not allowed, or the file cannot be written."""
    if not over:
        _refuse(out)
    fresh = out.with_name(f"{out.name}.{os.getpid()}")
    try:
        file = fresh.open("wb")
    except OSError as error:
        raise Trouble(f"{out} cannot be written: {error.strerror}.") from error
    try:
        with file:
            yield file
        _place(fresh, out, over)
    finally:
        fresh.unlink(missing_ok=True)


def _place(fresh: Path, out: Path, over: bool) -> None:
    if not over:
        _refuse(out)  # somebody may have written one meanwhile
    try:
        fresh.replace(out)
    except OSError as error:
        raise Trouble(f"{out} cannot be written: {error.strerror}.") from error


def _refuse(out: Path) -> None:
    if os.path.lexists(out):
        raise Trouble(f"{out} is there already.", "Name another file, or write over it with --force.")
