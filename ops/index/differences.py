# SPDX-License-Identifier: Apache-2.0
"""What differs between two states of a thread. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

# What moves with every decision and says nothing about it: hashes, and where the log holds the inputs.
BOOKKEEPING = {("core", "head"), ("core", "state_hash"), ("core", "outbox"), ("seen",), ("positions",), ("window",)}


@dataclass(frozen=True)
class Difference:
    """One value that differs; `path` begins with the section. before and after: None where there is none."""

    path: tuple[str, ...]
    change: Literal["added", "removed", "changed"]
    before: Any
    after: Any

    @property
    def is_bookkeeping(self) -> bool:
        """Whether it says nothing about what was decided."""
        return self.path[:1] in BOOKKEEPING or self.path[:2] in BOOKKEEPING


def differences(before: dict[str, Any], after: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Every difference, in the order of paths; objects are compared key by key, all else as a whole."""
    for key in sorted(before.keys() | after.keys()):
        here = (*path, key)
        if key not in before:
            yield Difference(here, "added", None, after[key])
        elif key not in after:
            yield Difference(here, "removed", before[key], None)
        elif isinstance(before[key], dict) and isinstance(after[key], dict):
            yield from differences(before[key], after[key], here)
        elif before[key] != after[key] or type(before[key]) is not type(after[key]):
            yield Difference(here, "changed", before[key], after[key])
