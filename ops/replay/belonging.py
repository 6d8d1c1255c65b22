# SPDX-License-Identifier: Apache-2.0
"""Whether a histories file is of this app at all. By another app each of its decisions diverges, and none says why.

An entry carries the agent that decided and the digest of the app's code, not the app's name."""

from __future__ import annotations

from collections.abc import Iterable

from ops.context import Trouble
from threadlog import App
from threadlog.entry import Entry


def check(spec: str, app: App, entries: Iterable[Entry]) -> None:
    """Raises Trouble where agents decided the entries, and the app, which is named `spec`, has none of them.

    Reads as far as the first decision of an agent that it has, so mostly one or two."""
    here, found, digests = {name for name, _ in app.agents}, set[tuple[str, int]](), set[str]()
    for entry in entries:
        if entry.agent in here:
            return
        if entry.agent:
            found.add((entry.agent, entry.version))
            digests.add(entry.app_digest)
    if found:
        raise Trouble(
            f"Another app decided this: {_told(found)}. {spec} has {_told(app.agents) or 'no agent'}.",
            f"Name the app that has {_names(found)}: --app package.module:attribute. What is recorded of it is the "
            f"digest of its code, {', '.join(sorted(digest[:12] for digest in digests)[:3])}, not its name.",
        )


def _told(agents: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} version {version}" for name, version in sorted(agents))


def _names(agents: Iterable[tuple[str, int]]) -> str:
    return ", ".join(sorted({name for name, _ in agents}))
