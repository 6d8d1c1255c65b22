# SPDX-License-Identifier: Apache-2.0
"""When something that is wrong becomes an alarm: it is told once, when it has lasted, and once more when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Wrong:
    """Something that is not as it should be.

    kind      the name of the alarm, as programs see it
    what, do  a sentence each: what is wrong, and what to do about it
    after_s   how long it may last before it is told; short recoveries are no alarm
    where     which of several of a kind
    fields    what a program is told besides
    """

    kind: str
    what: str
    do: str
    after_s: float = 0
    where: str = ""
    fields: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """By which it is known again at the next look."""
        return self.kind, self.where

    def line(self, lasted_s: float) -> str:
        """For a person."""
        since = f" for {lasted_s:.0f} s" if self.after_s else ""
        return f"ALARM {self.what}{since}. {self.do}"

    def record(self, lasted_s: float, over: bool = False) -> dict[str, Any]:
        """For a program."""
        return {
            "alarm": self.kind, "over": over, "lasted_s": round(lasted_s, 1), "what": self.what, "do": self.do,
            **self.fields,
        }  # fmt: skip


@dataclass
class Alarms:
    """What is wrong, since when, and what of it was told."""

    since: dict[tuple[str, str], float] = field(default_factory=dict)
    told: dict[tuple[str, str], Wrong] = field(default_factory=dict)

    def look(self, now: float, found: Iterable[Wrong]) -> list[tuple[Wrong, float, bool]]:
        """What is to be told now, of all that is wrong at this time: (what, for how long, whether it is over)."""
        current = {wrong.key: wrong for wrong in found}
        over = [(wrong, now - self.since[key], True) for key, wrong in self.told.items() if key not in current]
        self.told = {key: wrong for key, wrong in self.told.items() if key in current}
        self.since = {key: self.since.get(key, now) for key in current}
        news = []
        for key, wrong in current.items():
            if key not in self.told and now - self.since[key] >= wrong.after_s:
                self.told[key] = wrong
                news.append((wrong, now - self.since[key], False))
        return [*over, *news]
