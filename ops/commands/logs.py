# SPDX-License-Identifier: Apache-2.0
"""`threadlog logs`."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

import click

from ops.context import Context, Trouble, pass_context
from ops.stack.layout import Layout


def _tell(ctx: Context, part: str, line: str) -> None:
    ctx.say(line.rstrip("\n"))
    ctx.emit(part=part, line=line.rstrip("\n"))


def _follow(ctx: Context, path: Path) -> None:
    """Print what is appended, also after the supervisor has rotated the file, until interrupted."""
    stream = path.open(errors="replace")
    stream.seek(0, 2)
    while True:
        if line := stream.readline():
            _tell(ctx, path.stem, line)
            continue
        if path.exists() and path.stat().st_ino != Path(f"/proc/self/fd/{stream.fileno()}").stat().st_ino:
            stream = path.open(errors="replace")
            continue
        time.sleep(0.2)


@click.command("logs")
@click.argument("part", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is appended.")
@click.option("-n", "--lines", type=click.IntRange(0), default=50, show_default=True, help="How many lines.")
@pass_context
def command(ctx: Context, part: str | None, follow: bool, lines: int) -> None:
    """Show the log of one PART; without one, list the logs."""
    layout = Layout(ctx.settings.state_dir)
    names = sorted(path.stem for path in layout.logs.glob("*.log"))
    if part is None:
        for name in names:
            ctx.say(name)
            ctx.emit(part=name, path=str(layout.logs / f"{name}.log"))
        if not names:
            ctx.say(f"There are no logs in {layout.state}.")
        return
    path = layout.logs / f"{part}.log"
    if part not in names:
        raise Trouble(f"There is no log of {part!r}.", f"There are: {', '.join(names) or 'none yet'}.")
    with path.open(errors="replace") as stream:
        for line in deque(stream, maxlen=lines):
            _tell(ctx, part, line)
    if follow:
        try:
            _follow(ctx, path)
        except KeyboardInterrupt:
            return
