# SPDX-License-Identifier: Apache-2.0
"""What `threadlog replay` says of a tally, to people and to programs, whoever has made it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

import click
import msgspec

from ops.context import Context, Trouble
from ops.replay import report
from ops.replay.tally import Tally
from ops.replay.work import Told
from threadlog.replay import Divergence

EXAMPLES = 3  # divergences shown in full, each of another kind, in what-if


@dataclass
class Voice:
    """Tells of progress while a replay goes on, and of each thread that diverges to a program."""

    ctx: Context
    count: int = 0
    diverged: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def __call__(self, told: Told) -> None:
        """A worker's word."""
        if isinstance(told, Divergence):
            self.diverged += 1
            self.ctx.emit(diverged=True, **msgspec.to_builtins(told))
            return
        self.count += told
        rate = self.count / max(self.seconds, 0.001)
        self._show(f"{self.count:,} decisions, {rate:,.0f}/s, {self.diverged:,} diverged")

    def verified(self, offsets: int, of: int) -> None:
        """How far the cluster has come in the journal, as of its last checkpoint."""
        self._show(f"{offsets:,} of {of:,} offsets, {self.seconds:.0f} s")

    def _show(self, line: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{line} ", nl=False, err=True)

    def clear(self) -> None:
        """Wipe the line of progress."""
        self._show(f"{'':<70}\r")


def decisions(ctx: Context, tally: Tally, question: bool = False) -> bool:
    """Say what diverged. True where that is a failure; a what-if is a `question`."""
    examples = sorted(tally.groups.values(), key=lambda group: -group.decisions)[:EXAMPLES] if question else []
    shown = [group.first for group in examples] if question else [first] if (first := tally.first()) else []
    for one in shown:
        for line in report.divergence(one):
            ctx.say(_coloured(line))
        ctx.say()
    ctx.say(report.verdict(tally))
    for line in report.groups(tally):
        ctx.say(line)
    return bool(tally.diverged) and not question


def upgrade(ctx: Context, tally: Tally) -> bool:
    """Say what this code would break of what is open now. True where there is any."""
    for one in tally.breaches:
        ctx.emit(breaks=True, **msgspec.to_builtins(one))
        for line in report.breach(one):
            ctx.say(_coloured(line))
    ctx.say(report.upgrade(tally))
    return bool(tally.breaches)


def end(tally: Tally, failed: bool) -> None:
    """End the command. Raises Trouble where entries are void, Exit with code 1 where decisions differ."""
    if tally.voids:
        told = "\n".join(f"  {one}" for one in tally.voids_told)
        raise Trouble(
            f"The journal is broken. Void and left out, {tally.voids}:\n{told}",
            "docs/operations.md says what that means and what to do.",
        )
    if failed:
        raise click.exceptions.Exit(1)


def counts(tally: Tally, seconds: float) -> dict[str, Any]:
    """What a program is told of a tally, however it came about."""
    return {
        "summary": True, "threads": tally.threads, "decisions": tally.decisions, "threads_diverged": tally.diverged,
        "standings": dict(sorted(tally.standings.items())), "voids": tally.voids, "threads_cut": tally.cut,
        "entries_lost": tally.lost, "other_limits": dict(sorted(tally.other_limits.items())),
        "older_states": tally.older_states, "ends": dict(sorted(tally.ends.items())),
        "answered": dict(sorted(tally.answered.items())),
        "seconds": round(seconds, 3),
        "decisions_per_s": round(tally.decisions / seconds) if seconds else None,  # None: nobody looked at a clock
        "groups": [
            {"kind": g.kind, "about": g.about, "threads": g.threads, "decisions": g.decisions,
             "thread": g.first.thread, "seq": g.first.seq}
            for g in tally.groups.values()
        ],
    }  # fmt: skip


def _coloured(line: str) -> str:
    mark = line.strip()[:2]
    return click.style(line, fg={"- ": "red", "+ ": "green"}.get(mark))
