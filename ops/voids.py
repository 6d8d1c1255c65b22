# SPDX-License-Identifier: Apache-2.0
"""Void entries of the journal as a person is told of them; no client of Kafka is needed to say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ops.context import Trouble
from ops.printable import printable

VOIDS_SHOWN = 5


@dataclass(frozen=True)
class Void:
    """A record of the journal that does not count: where it is, and what is wrong with it."""

    thread: str
    partition: int
    offset: int
    reason: str


def complain(voids: Sequence[Void], count: int) -> None:
    """Raises Trouble when there are void entries: `count` of them, of which these are shown."""
    if not count:
        return
    told = [printable(f"  {v.thread} at {v.partition}/{v.offset}: {v.reason}") for v in voids[:VOIDS_SHOWN]]
    more = count - len(told)
    lines = "\n".join([*told, *([f"  and {more} more"] if more else [])])
    raise Trouble(
        f"The journal is broken. Void and left out, {count}:\n{lines}",
        "docs/operations.md says what that means and what to do.",
    )
