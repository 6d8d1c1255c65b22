# SPDX-License-Identifier: Apache-2.0
"""A conversation operator that holds a lease: it asks whether it may go on, at its start and while it runs."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from schemas.codec import FixedSchemas
from tests.threadlog.desk import BEGAN_MS, app_of, refund
from tests.udfs.kafka import Log
from tests.udfs.keyed import Keyed
from udfs import thread_function
from udfs.thread_function import ThreadFunction
from wire.control import STARTED, Mark, Overtaken
from wire.frames import pack_in
from wire.inputs import LostInputs

MINE = Mark(STARTED, "conversation", "", "file:/s", {0: 7}, generation=3)


class Around:
    """What the operator finds: later starts, lost inputs, and its lease with what that is to ask."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.later, self.lost, self.beside, self.look, self.log = "", "", "", None, Log(FixedSchemas())
        self.asked = list[str]()
        patch.setattr(thread_function.AppCode, "load", lambda code: app_of(refund))
        patch.setattr(thread_function, "prompt_producer", lambda *given: None)
        patch.setattr(thread_function.Lease, "hold", lambda lease, *given: self.hold(*given))
        patch.setattr(thread_function.generations, "check", self.check_generation)
        patch.setattr(thread_function.generations, "alone_since", self.alone_since)
        patch.setattr(thread_function.inputs, "check", self.check_inputs)

    def hold(self, sender: Any, codec: Any, begin: Any, look: Any) -> None:
        begin()
        self.look = look

    def check_generation(self, bootstrap: str, namespace: str, codec: Any, job: str, generation: int) -> Mark:
        self.asked.append("marks")
        assert (bootstrap, namespace, job, generation) == ("b:1", "ns", "conversation", 3)
        if self.later:
            raise Overtaken(self.later)
        return MINE

    def alone_since(self, bootstrap: str, namespace: str, codec: Any, mine: Mark) -> None:
        self.asked.append("journal")
        assert (bootstrap, namespace, mine) == ("b:1", "ns", MINE)
        if self.beside:
            raise Overtaken(self.beside)

    def check_inputs(self, bootstrap: str, namespace: str, codec: Any, job: str) -> None:
        assert (bootstrap, namespace, job) == ("b:1", "ns", "conversation")
        if self.lost:
            raise LostInputs(self.lost)

    def opened(self) -> Keyed:
        flink = Keyed(ThreadFunction("app:app", "0" * 64, "ns", self.log.schemas, "b:1", 3), BEGAN_MS)
        flink.open()
        return flink


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Around:
    return Around(monkeypatch)


def test_operator_says_which_start_it_is_of(around: Around) -> None:
    """In a header of every record."""
    main, side = around.opened().give("t-1", pack_in(around.log.go("t-1", "e-1")))
    assert [dict(record.headers)["generation"] for record in (*main, *side)] == [b"3", b"3"]


@pytest.mark.parametrize(("what", "error"), [("later", Overtaken), ("beside", Overtaken), ("lost", LostInputs)])
def test_operator_does_not_open_where_it_may_not_go_on(around: Around, what: str, error: type[Exception]) -> None:
    """After a restart by Flink too, which no `main()` sees; it holds no lease then."""
    setattr(around, what, "a sentence")
    with pytest.raises(error, match="a sentence"):
        around.opened()
    assert around.look is None


def test_operator_of_an_attempt_that_has_ended_is_freed(around: Around) -> None:
    """Without the collector, which is told to leave alone for good whatever is there when the next attempt opens."""
    gc.disable()
    try:
        function = ThreadFunction("app:app", "0" * 64, "ns", around.log.schemas, "b:1", 3)
        function._hold(around.log.codec)
        function._lease._look, around.look = around.look, None  # as the lease keeps it
        gone = weakref.ref(function)
        del function
        assert gone() is None
    finally:
        gc.enable()


def test_operator_that_was_overtaken_decides_nothing_more(around: Around) -> None:
    """Neither for a record nor for a timer: the task fails, and says why."""
    flink = around.opened()
    flink.give("t-1", pack_in(around.log.go("t-1", "e-1")))
    around.later = "generation 4 was started"
    assert around.look is not None
    around.asked.clear()
    with pytest.raises(Overtaken):
        around.look()
    assert around.asked == ["marks"]  # the journal is its own by now
    flink.function._lease.trouble = around.later
    with pytest.raises(Overtaken, match="generation 4"):
        flink.give("t-2", pack_in(around.log.go("t-2", "e-2")))
    with pytest.raises(Overtaken, match="generation 4"):
        flink.fire(flink.due("t-1")[0])
