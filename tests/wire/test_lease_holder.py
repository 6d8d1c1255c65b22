# SPDX-License-Identifier: Apache-2.0
"""Who holds a lease: until when, and what one does that the broker did not hear for a while."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from time import time_ns
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaException

from tests.wire.agent_leases import CODEC, Topic
from wire import leases
from wire.control import Overtaken
from wire.leases import HELD, LOOK_HOLDS_S, RELEASED, UNHEARD_S, Lease


@dataclass
class Holder:
    """A lease whose renewals are said by hand, and whose clock and look are too."""

    topic: Topic
    now_s: float = 100.0
    look_s: float = 0.0
    later: str = ""
    unreachable: int = 0
    looked: int = 0

    def __post_init__(self) -> None:
        self.lease = Lease("conversation", "ns", 4)

    def look(self) -> None:
        self.looked += 1
        self.now_s += self.look_s
        if self.unreachable:
            self.unreachable -= 1
            raise KafkaException("no broker")
        if self.later:
            raise Overtaken(self.later)

    def hold(self, begin_s: float = 0) -> None:
        def begin() -> None:
            self.now_s += begin_s

        self.lease.hold(self.topic, CODEC, begin, self.look)  # type: ignore[arg-type]

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def renew(self) -> None:
        self.lease._say(HELD)

    def looks(self) -> int:
        """How often it looks before its next decision."""
        before = self.looked
        assert self.lease.why_not() == self.later
        return self.looked - before


@pytest.fixture
def holder(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> Holder:
    made = Holder(topic)
    monkeypatch.setattr(leases, "time", SimpleNamespace(sleep=made.sleep, time_ns=time_ns))
    monkeypatch.setattr(leases, "_now", lambda: made.now_s)
    monkeypatch.setattr(Lease, "_renew", lambda lease: None)
    return made


def test_holder_that_is_heard_does_not_look(holder: Holder) -> None:
    """Nor one that holds no lease."""
    assert holder.looks() == 0
    holder.hold()
    for _ in range(5):
        assert holder.looks() == 0
        holder.now_s += UNHEARD_S - 1
        holder.renew()


@pytest.mark.parametrize("is_heard_again", [False, True])
def test_holder_that_was_not_heard_looks_before_it_goes_on(holder: Holder, is_heard_again: bool) -> None:
    """It may have been taken for dead. To be heard again does not undo that: only a look does."""
    holder.hold()
    holder.renew()
    holder.now_s += UNHEARD_S + 1  # it hangs
    if is_heard_again:
        holder.renew()
    holder.later = "generation 5 was started"
    assert (holder.looks(), holder.looks()) == (1, 0)
    holder.renew()
    assert holder.looks() == 0


def test_holder_whose_renewals_waited_was_not_heard(holder: Holder) -> None:
    """What the client has queued while its broker was out of reach is all acknowledged at once."""
    holder.hold()
    holder.topic.later = []
    for _ in range(5):
        holder.renew()
        holder.now_s += 2
    for delivered in holder.topic.later:
        delivered(None, None)
    assert holder.looks() == 1
    holder.now_s += LOOK_HOLDS_S + 0.1
    assert holder.looks() == 0


def test_holder_that_took_long_to_begin_looks_again(holder: Holder) -> None:
    """What it asked in the beginning may not be true any more."""
    holder.hold(begin_s=UNHEARD_S + 1)
    holder.renew()
    assert holder.looks() == 1


def test_holder_without_a_broker_looks_for_a_while(holder: Holder) -> None:
    """Then it fails. A look is good for a moment, and one that took long for none."""
    holder.hold()
    holder.now_s += UNHEARD_S + 1
    holder.unreachable = 3
    assert (holder.looks(), holder.looks()) == (4, 0)
    holder.now_s += LOOK_HOLDS_S + 0.1
    holder.unreachable = 1_000_000
    with pytest.raises(KafkaException, match="no broker"):
        holder.lease.why_not()
    assert holder.unreachable > 0
    holder.unreachable, holder.look_s = 0, UNHEARD_S + 1
    with pytest.raises(KafkaException, match="told slowly"):
        holder.lease.why_not()


def test_lease_ends_with_the_thread_that_held_it(topic: Topic) -> None:
    """A task may end without a word while its process lives on."""
    lease, go = Lease("conversation", "ns"), threading.Event()

    def task() -> None:
        lease.hold(topic, CODEC)  # type: ignore[arg-type]
        go.wait(20)

    thread = threading.Thread(target=task)
    thread.start()
    topic.wait(3)
    assert RELEASED not in topic.states()
    go.set()
    thread.join()
    lease._thread.join(20)
    assert topic.states()[-1] == RELEASED


def test_lease_tells_for_how_long_it_was_heard_without_a_gap(holder: Holder) -> None:
    """One that nobody holds has no gap. From the first time on that the broker hears it, and again after each gap; who
    asks in one looks first."""
    assert holder.lease.steady_s() == math.inf
    holder.hold()
    assert holder.lease.steady_s() == 0
    for _ in range(3):
        holder.now_s += UNHEARD_S
        holder.renew()
    assert (holder.lease.steady_s(), holder.looked) == (3 * UNHEARD_S, 0)
    holder.now_s += UNHEARD_S + 1
    assert (holder.lease.steady_s(), holder.looked) == (0, 1)
    holder.renew()
    holder.now_s += 1
    assert holder.lease.steady_s() == 1


def test_lease_that_cannot_be_renewed_is_steady_as_long_as_it_looks(holder: Holder) -> None:
    """Where nobody may write leases, the job decides on all the same: its timers must fire too."""
    holder.hold()
    for _ in range(6):
        holder.now_s += 2
        steady_s = holder.lease.steady_s()
    assert steady_s > UNHEARD_S
