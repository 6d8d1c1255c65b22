# SPDX-License-Identifier: Apache-2.0
"""Today's app as it was when an entry was decided: its digest, and the versions on which its runs began."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec

from threadlog.app import Agent, App
from threadlog.entry import Entry


class Recorded:
    """Gives the app for an entry. With `newest` the newest version of an agent decides in place of any other."""

    def __init__(self, app: App, newest: bool = False) -> None:
        self._app, self._newest = app, newest
        self._apps: dict[tuple[Any, ...], App] = {}

    def app_of(self, entry: Entry) -> App:
        """The app with the digest that the entry says, in which runs begin on the version that the entry says."""
        versions = [(entry.agent, entry.version)] if entry.agent else []
        if '"begin_run"' in entry.effects:
            effects = msgspec.json.decode(entry.effects)
            versions += [(e["agent"], e["version"]) for e in effects if e["do"] == "begin_run"]
        key = (entry.app_digest, *versions)
        if key not in self._apps:
            app = copy.copy(self._app)
            app.digest = entry.app_digest
            known = {v: self._agent(v) or a for v, a in app.agents.items()} if self._newest else app.agents
            app.agents = {**known, **{v: a for v in versions if (a := self._agent(v)) is not None}}
            begun = [app.agents[version] for version in versions if version in app.agents]
            app.newest = {**app.newest, **{agent.on: agent for agent in begun}}
            self._apps[key] = app
        return self._apps[key]

    def older(self, type: str, app: App) -> Iterator[App]:
        """The app as it was before it had other versions: how a message is taken depends on the newest of its time."""
        newest = app.newest.get(type)
        if newest is None or self._newest:
            return
        for agent in self._app.agents.values():
            if agent.on == type and agent.version != newest.version:
                older = copy.copy(app)
                older.newest = {**app.newest, agent.on: agent}
                yield older

    def _agent(self, version: tuple[str, int]) -> Agent | None:
        if not self._newest:
            return self._app.agents.get(version)
        newest = max((a for a in self._app.agents.values() if a.name == version[0]), key=_version, default=None)
        return None if newest is None else dataclasses.replace(newest, version=version[1])


def _version(agent: Agent) -> int:
    return agent.version
