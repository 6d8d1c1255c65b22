# SPDX-License-Identifier: Apache-2.0
"""What the conversation's `main()` does before it submits anything."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.codec import OURS
from schemas.errors import RegistryUnavailable, UnknownSchema
from tests.udfs.around import ARGS, POINT, Around, Ended, mark
from threadlog import App, Event, Thread
from udfs import start_guard
from udfs.start_guard import Start
from wire.control import CAUGHT_UP, STARTED, STOPPED, Mark
from wire.inputs import Gap

TOLD = frozenset({("agent-events", 0, 3)})


def test_guard_lets_a_stopped_job_go_on(around: Around) -> None:
    """From the recorded stop; no state of it may be dropped. It takes along which dead letters there are of inputs
    without a thread, since it may still read again what was read before."""
    around.mark = mark(STOPPED)
    assert (around.admit(), around.start) == ("", Start(5, drops_sources=False, told=TOLD))


def test_guard_lets_the_sources_of_a_catch_up_be_dropped(around: Around) -> None:
    """The one place where state may be left out, and only for that very savepoint."""
    around.mark = mark(CAUGHT_UP)
    assert (around.admit(), around.start) == ("", Start(5, drops_sources=True, told=TOLD))


def test_guard_lets_a_first_start_go(around: Around) -> None:
    """From nothing, beside nothing; a mark of an empty journal allows nothing else."""
    around.point, around.journal = "", {0: 0}
    assert (around.admit(), around.start) == ("", Start(5, drops_sources=False, told=TOLD))
    around.mark = Mark(CAUGHT_UP, "conversation", "", POINT, {0: 0})
    assert (around.admit(), around.start) == ("", Start(5, drops_sources=False, told=TOLD))


def test_guard_ends_any_other_start(around: Around) -> None:
    """From nothing beside a journal, from a state that nobody recorded, from one that is older."""
    assert "nothing tells what the journal held" in around.admit()
    around.mark = mark(CAUGHT_UP, "file:/s/2")
    assert "is not where the job was last stopped" in around.admit()
    around.mark, around.journal = mark(CAUGHT_UP), {0: 8}
    assert "the journal has moved on" in around.admit()
    around.point = ""
    assert "from nothing it would decide again" in around.admit()


def test_guard_ends_a_start_of_a_journal_that_is_not_there(around: Around) -> None:
    """A broker that has just come back may not know its topics yet: no topic is no empty journal."""
    around.point, around.journal = "", {}
    assert "the journal's topic is not there" in around.admit()


def test_guard_asks_in_the_order_in_which_another_start_shows_itself(around: Around) -> None:
    """First its mark, then its lease, then what it writes. Asked the other way round, one that takes a step in between
    is never seen. Behind its own mark it looks for leases again: a copy that Flink brings back shows its lease first,
    and looks for marks then."""
    around.mark = mark(STOPPED)
    assert around.admit() == ""
    assert around.asked == ["marks", "under way", "lease", "journal", "take", "joined"]


def test_guard_ends_a_start_beside_a_copy_that_was_brought_back(around: Around) -> None:
    """In the moment between its look at the leases and its mark. The start is written down as ended."""
    around.mark, around.joined = mark(STOPPED), "host/18"
    assert "a copy of it began in process host/18 at the same moment" in around.admit()
    assert around.taken and around.written


def test_guard_ends_a_second_copy(around: Around) -> None:
    """Whatever state it has; it is told where the first runs."""
    around.mark, around.place = mark(STOPPED), "host/17"
    assert "a copy of it runs in process host/17" in around.admit()


def test_guard_takes_a_generation_with_what_the_start_is_from(around: Around) -> None:
    """Savepoint, journal and how far the inputs are handled are written down before anything is submitted."""
    around.mark = mark(STOPPED)
    assert around.admit() == ""
    [taken] = around.taken
    assert (taken.what, taken.job, taken.savepoint, taken.journal) == (STARTED, "conversation", POINT, {0: 7})
    assert (taken.app, taken.inputs, around.looked) == ("a:app", {"agent-events/0": 4}, 12)


def test_guard_ends_a_start_beside_another(around: Around) -> None:
    """That is under way, or took the same moment."""
    around.mark, around.other = mark(STOPPED), "generation 4, taken 2 s ago in process h/1"
    assert "another start of it is under way (generation 4, taken 2 s ago in process h/1)" in around.admit()
    around.other, around.first = "", "another start of it was first"
    assert around.admit() == "conversation: another start of it was first"


def test_guard_ends_a_start_that_has_lost_inputs(around: Around) -> None:
    """It says which, and how to go on without; the tools job is held to the same."""
    around.mark, around.gaps = mark(STOPPED), [Gap("agent-events", 3, 7, 9)]
    wanted = "2 input offsets were deleted before they were handled: agent-events partition 3 offsets 7 to 8; "
    assert around.admit() == f"conversation: {wanted}`threadlog start --accept-lost-inputs` goes on without them"
    with pytest.raises(Ended):
        start_guard.begun(ARGS, Mark(STARTED, "tools", "", "", {}))
    assert around.why.startswith(f"tools: {wanted}")
    around.gaps = []
    assert start_guard.begun(ARGS, Mark(STARTED, "tools", "", "", {})) == 5


def test_guard_reads_the_gate_of_a_branch(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    """From agent-control, so a plain `flink run` is gated too; what cannot be read is not taken for no gate."""
    monkeypatch.setattr(start_guard, "allowed_tools", lambda *given: around.tell(frozenset({"pay"})))
    assert start_guard.gate(ARGS) == {"pay"}
    around.broken = RegistryUnavailable("no answer")
    with pytest.raises(Ended):
        start_guard.gate(ARGS)
    assert around.why.startswith("tools: whether this is a branch cannot be read")


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


class Learning:
    """A registry that is asked to learn names; `away`: it does not answer; `lacks`: a schema that it does not have."""

    def __init__(self) -> None:
        self.learned, self.away, self.lacks = list[str](), False, ""

    def id_of(self, name: str) -> int:
        if name == self.lacks:
            raise UnknownSchema(f"the registry has no schema of {name} as this code writes it")
        return 1

    def learn(self, names: Iterable[str]) -> None:
        if self.away:
            raise RegistryUnavailable("the registry does not answer")
        self.learned += names


def test_guard_acquaints_the_registry_with_what_the_job_needs(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of ours, and what agents are begun by and wait for."""
    registry, app = Learning(), App("shop")
    app.agent(on="shop.Asked", awaits=["shop.Paid"])(nothing)
    monkeypatch.setattr(start_guard, "load_app", lambda spec: {"a:app": app}[spec])
    args = Namespace(**{**vars(ARGS), "registry": registry})
    start_guard.acquaint(args, "tools")
    assert registry.learned == [f"threadlog.{name}" for name in OURS]
    start_guard.acquaint(args, "conversation", "a:app")
    assert registry.learned[2 * len(OURS) :] == ["shop.Asked", "shop.Paid"]


@pytest.mark.parametrize("error", [ImportError("no module"), SystemExit(1), KeyError("TOKEN")])
def test_guard_leaves_an_app_that_cannot_be_loaded_to_the_operators(
    around: Around, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """A machine from which jobs are submitted need not have all that they run with."""
    registry = Learning()

    def load(spec: str) -> Any:
        raise error

    monkeypatch.setattr(start_guard, "load_app", load)
    start_guard.acquaint(Namespace(**{**vars(ARGS), "registry": registry}), "conversation", "a:app")
    assert len(registry.learned) == len(OURS)


def test_guard_ends_a_start_without_a_registry(around: Around) -> None:
    """Told before a generation is taken."""
    registry = Learning()
    registry.away = True
    with pytest.raises(Ended):
        start_guard.acquaint(Namespace(**{**vars(ARGS), "registry": registry}), "tools")
    assert around.why.startswith("tools: the schemas it needs cannot be read, so nothing was submitted: the registry")
    assert around.taken == []


def test_guard_ends_a_start_with_schemas_that_nobody_registered(around: Around) -> None:
    """A release may bring new ones; its operators would all fail, one attempt after the other."""
    registry = Learning()
    registry.lacks = "threadlog.Lease"
    with pytest.raises(Ended):
        start_guard.acquaint(Namespace(**{**vars(ARGS), "registry": registry}), "conversation")
    assert "the registry has no schema of threadlog.Lease" in around.why and around.taken == []


async def nothing(thread: Thread, event: Event) -> None:
    """An agent that decides nothing."""
