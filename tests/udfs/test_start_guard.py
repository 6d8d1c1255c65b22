# SPDX-License-Identifier: Apache-2.0
"""What the conversation's `main()` does before it submits anything."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import RegistryUnavailable
from udfs import start_guard
from wire.control import CAUGHT_UP, STOPPED, Mark

POINT = "file:/s/1"
ARGS: Any = Namespace(bootstrap="b", registry="http://r", namespace="ns")


class Ended(BaseException):
    """The process would have ended."""


@dataclass
class Around:
    """What broker and lease say; whether sources may be dropped, and why the process ended."""

    point: str = POINT
    mark: Mark | None = None
    journal: dict[int, int] = field(default_factory=lambda: {0: 7})
    place: str = ""
    broken: Exception | None = None
    drops: bool = False
    why: str = ""

    def tell(self, what: Any) -> Any:
        if self.broken is not None:
            raise self.broken
        return what

    def admit(self) -> str:
        """Why it ended; "" where it goes on."""
        try:
            start_guard.admit(None, ARGS)  # type: ignore[arg-type]
        except Ended:
            assert not self.drops
            return self.why
        return ""


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Around:
    made = Around()

    def refuse(reason: str) -> NoReturn:
        made.why = reason
        raise Ended

    monkeypatch.setattr(start_guard, "refuse", refuse)
    monkeypatch.setattr(start_guard, "Registry", lambda url: None)
    monkeypatch.setattr(start_guard, "restored_from", lambda env: made.point)
    monkeypatch.setattr(start_guard, "last_mark", lambda *given: made.tell(made.mark))
    monkeypatch.setattr(start_guard, "journal_ends", lambda *given: made.tell(made.journal))
    monkeypatch.setattr(start_guard, "living", lambda *given: made.place)
    monkeypatch.setattr(start_guard, "allow_dropped_sources", lambda env: setattr(made, "drops", True))
    return made


def mark(what: str, savepoint: str = POINT) -> Mark:
    return Mark(what, "conversation", "", savepoint, {0: 7})


def test_guard_lets_a_stopped_job_go_on(around: Around) -> None:
    """From the recorded stop; no state of it may be dropped."""
    around.mark = mark(STOPPED)
    assert (around.admit(), around.drops) == ("", False)


def test_guard_lets_the_sources_of_a_catch_up_be_dropped(around: Around) -> None:
    """The one place where state may be left out, and only for that very savepoint."""
    around.mark = mark(CAUGHT_UP)
    assert (around.admit(), around.drops) == ("", True)


def test_guard_lets_a_first_start_go(around: Around) -> None:
    """From nothing, beside nothing; a mark of an empty journal allows nothing else."""
    around.point, around.journal = "", {0: 0}
    assert (around.admit(), around.drops) == ("", False)
    around.mark = Mark(CAUGHT_UP, "conversation", "", POINT, {0: 0})
    assert (around.admit(), around.drops) == ("", False)


def test_guard_ends_any_other_start(around: Around) -> None:
    """From nothing beside a journal, from a state that nobody recorded, from one that is older."""
    assert "nothing tells what the journal held" in around.admit()
    around.mark = mark(CAUGHT_UP, "file:/s/2")
    assert "is not where the job was last stopped" in around.admit()
    around.mark, around.journal = mark(CAUGHT_UP), {0: 8}
    assert "the journal has moved on" in around.admit()
    around.point = ""
    assert "from nothing it would decide again" in around.admit()


def test_guard_ends_a_second_copy(around: Around) -> None:
    """Whatever state it has; it is told where the first runs."""
    around.mark, around.place = mark(STOPPED), "host/17"
    assert "a copy of it runs in process host/17" in around.admit()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), "so nothing was submitted: Local: All broker"),
        (RegistryUnavailable("the registry does not answer"), "so nothing was submitted: the registry does not"),
    ],
)
def test_guard_ends_where_it_cannot_look(around: Around, error: Exception, words: str) -> None:
    """A broker that does not answer is no reason to believe that all is well."""
    around.mark, around.broken = mark(STOPPED), error
    assert words in around.admit()
