# SPDX-License-Identifier: Apache-2.0
"""A start of the conversation as its `main()` sees it: what broker and lease say, and whether the process ended."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

from udfs import start_guard
from wire.control import ACCEPTED, ENDED, Mark, Overtaken, Written
from wire.inputs import Gap

POINT = "file:/s/1"
OTHER = Mark(ACCEPTED, "conversation", "", "", {})
ARGS: Any = Namespace(bootstrap="b", registry="http://r", namespace="ns", app="a:app")


class Ended(BaseException):
    """The process would have ended."""


@dataclass
class Around:
    """What broker and lease say; which start was taken, and why the process ended."""

    point: str = POINT
    mark: Mark | None = None
    journal: dict[int, int] = field(default_factory=lambda: {0: 7})
    place: str = ""
    other: str = ""
    gaps: list[Gap] = field(default_factory=list)
    first: str = ""
    broken: Exception | None = None
    taken: list[Mark] = field(default_factory=list)
    why: str = ""
    looked: int | None = None
    asked: list[str] = field(default_factory=list)
    joined: str = ""
    branch: Mark | None = None
    written: list[Mark] = field(default_factory=list)

    def tell(self, what: Any, name: str = "") -> Any:
        self.asked += [name] if name else []
        if self.broken is not None:
            raise self.broken
        return what

    def read(self) -> list[Written]:
        """The marks, of which the last, at offset 12, is no place to go on from."""
        found = [Written(11, 0, self.mark), Written(12, 0, OTHER)] if self.mark else []
        return self.tell(found, "marks")

    def under_way(self, marks: list[Written]) -> str:
        return self.tell(self.other, "under way")

    def take(self, bootstrap: str, namespace: str, codec: Any, mark: Mark, looked: int | None = None) -> int:
        self.looked = looked
        if self.first:
            raise Overtaken(self.first)
        self.asked.append("take")
        self.taken.append(mark)
        return 5

    def admit(self) -> str:
        """Why it ended; "" where it goes on."""
        try:
            self.start = start_guard.admit(ARGS)
        except Ended:
            ended = [Mark(ENDED, "conversation", "", "", {}, generation=5)] if self.taken else []
            assert self.written == ended
            return self.why
        return ""


def mark(what: str, savepoint: str = POINT) -> Mark:
    return Mark(what, "conversation", "", savepoint, {0: 7})
