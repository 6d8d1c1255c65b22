# SPDX-License-Identifier: Apache-2.0
"""A state as an older version of this code left it, made what this version works with.

    a state of version v ─► UPCASTERS[v - 1] ─► version v + 1 ─► … ─► newest()

A thread begins at version 1, whatever code begins it. The first decision that is made on a newer form says so in its
patch, `{"put": {"core": {"v": N}}}`, and whoever follows the journal brings the state to that version right there,
before the patch. So the state stays a function of the journal, a rebuild ends where the live job is, and no hash that
was ever written changes: the state hash is chained over patches, and an upcast is no patch. A snapshot is of the
version that it names, under the digest of that form.

A released upcaster is never changed: journals of that time are followed through it for ever. A new version is for what
patches say in another way; a new key that older states simply lack needs none. What operators and other readers look at
without the engine stays as it is in every version, and is checked: FIXED, `positions`, `timers`. Sections are added,
never taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from threadlog.canonical import copy
from threadlog.errors import BrokenInvariant, NewerState

Whole = dict[str, dict[str, Any]]  # every section of a thread, as from `threadlog.state.dump`
Upcaster = Callable[[Whole], Whole]

UPCASTERS: tuple[Upcaster, ...] = ()
FIXED = ("thread", "seq", "head", "state_hash", "outbox", "now")


def newest() -> int:
    """The version that this code decides on."""
    return 1 + len(UPCASTERS)


def upcast(whole: Whole, to: int) -> Whole:
    """The state in version `to`; what was given is not changed. Raises NewerState where this code does not know it."""
    core = whole["core"]
    if max(core["v"], to) > newest():
        raise NewerState(core["thread"], max(core["v"], to), newest())
    after: Whole = copy(whole)
    for version in range(core["v"], to):
        after = UPCASTERS[version - 1](after)
        after["core"]["v"] = version + 1
        _check(whole, after, version)
    return after


def _check(before: Whole, after: Whole, version: int) -> None:
    moved = [f"core.{key}" for key in FIXED if after["core"].get(key) != before["core"].get(key)]
    moved += [name for name in ("positions", "timers") if after.get(name) != before.get(name)]
    if moved:
        raise BrokenInvariant(f"the upcaster of version {version} moves {', '.join(moved)}, which no version may")
