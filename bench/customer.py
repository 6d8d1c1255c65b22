# SPDX-License-Identifier: Apache-2.0
"""One customer of the bench: a seeded script of what reaches its thread, slot by slot.

The script is driven through `threadlog.engine.step` in memory, so the results it sends carry the ids of calls that the
job under test is about to make. Records of one slot are of one topic, and the next slot is sent when the journal shows
that this one was handled: topics are read side by side, and a result must not overtake the message it belongs to.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.app import CONFIRMATION, LARGE, MESSAGE, app
from threadlog.canonical import text
from threadlog.engine import follow, step
from threadlog.inputs import Input, timer
from threadlog.limits import Limits
from threadlog.live import LiveRuns
from threadlog.state import State, new_state

EVENTS, RESULTS = "agent-events", "tool-results"
RESULT, FOREIGN = "threadlog.ToolResult", "threadlog.Message"
SOURCE = "/threadlog/bench"
BEGAN_MS = 1_700_000_000_000
WORDS_CHARS = 150  # as in the bare job's input
LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Planned:
    """One record to be sent. `cut` makes its value unreadable; `ask` is the call that a result answers."""

    topic: str
    thread: str
    id: str
    type: str
    data: dict[str, Any]
    cut: bool = False
    ask: dict[str, Any] | None = None


Slot = list[Planned]


@dataclass
class Customer:
    """One thread. `slots` yields what to send; meanwhile `verdicts` counts the entries that must come of it."""

    thread: str
    draw: random.Random
    slots_max: int
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _state: State = field(init=False)
    _cache: LiveRuns = field(default_factory=LiveRuns)
    _now: int = BEGAN_MS
    _offset: int = -1
    _messages: int = 0
    _last: Planned | None = None

    def __post_init__(self) -> None:
        self._state = new_state(self.thread)

    def slots(self) -> Iterator[Slot]:
        """Exactly `slots_max` slots; when they are over no call, wait or sleep is open."""
        left = self.slots_max
        while left:
            for slot in self._scene(left):
                self._take(slot)
                yield slot
                left -= 1

    def _scene(self, left: int) -> Iterator[Slot]:
        """What the customer does next, in at most `left` slots."""
        kind = self.draw.random()
        if kind < 0.50 and left >= 5:
            return self._refund()
        if kind < 0.74 and left >= 2:
            return self._stock()
        if kind < 0.84 and self._last is not None:
            return iter([[self._last]])  # the producer sends it again
        if kind < 0.87:
            return iter([[self._message(type=FOREIGN)]])
        if kind < 0.89:
            return iter([[self._message(cut=True)]])
        return iter([[self._keep(self._message(intent="status"))]])

    def _refund(self) -> Iterator[Slot]:
        number, amount = self._messages + 1, 2_000 + self.draw.randrange(28_000)
        order_id, sku = f"o-{self.thread}-{number}", f"sku-{self.draw.randrange(40):02d}"
        yield [self._keep(self._message(intent="refund", order_id=order_id, amount=amount, sku=sku))]
        if self.draw.random() < 0.25:
            yield [self._message(intent="status")]  # waits its turn
        order = {"order_id": order_id, "total": amount, "sku": sku, "status": "delivered"}
        found = {"look_up_order": order, "check_stock": self.draw.randrange(25)}
        answers = [self._answer(ask, found[ask["tool"]]) for ask in self._open_calls()]
        self.draw.shuffle(answers)
        yield answers
        if amount >= LARGE:
            approved = self.draw.random() < 0.85
            yield [self._event(CONFIRMATION, {"order_id": order_id, "approved": approved, "text": ""})]
            if not approved:
                return
        (ask,) = self._open_calls()
        if self.draw.random() < 0.05:
            yield [self._answer(ask, None, "failed")]
        else:
            yield [self._answer(ask, {"refund_id": f"r-{number}", "order_id": order_id, "amount": amount})]

    def _stock(self) -> Iterator[Slot]:
        yield [self._keep(self._message(intent="stock", sku=f"sku-{self.draw.randrange(40):02d}"))]
        (ask,) = self._open_calls()
        yield [self._answer(ask, self.draw.randrange(25))]

    def _message(self, type: str = MESSAGE, cut: bool = False, **data: Any) -> Planned:
        words = {"text": "".join(self.draw.choices("abcdefghij klmnop ", k=WORDS_CHARS))}
        if type == FOREIGN:
            return self._event(type, {**words, "data": "{}"})
        return self._event(type, {**words, "intent": "", "order_id": "", "amount": 0, "sku": "", **data}, cut)

    def _event(self, type: str, data: dict[str, Any], cut: bool = False) -> Planned:
        self._messages += 1
        return Planned(EVENTS, self.thread, f"{self.thread}/{self._messages}", type, data, cut)

    def _keep(self, planned: Planned) -> Planned:
        self._last = planned
        return planned

    def _open_calls(self) -> list[dict[str, Any]]:
        asks = dict(self._state.maps.items("asks"))
        return sorted((asks[call_id] for call_id in self._state.small["calls"]), key=lambda ask: str(ask["ordinal"]))

    def _answer(self, ask: dict[str, Any], value: Any, status: str = "done") -> Planned:
        result = {key: ask[key] for key in ("thread", "run_id", "ordinal", "call_id", "tool", "args_digest")}
        error = ("", "") if status == "done" else ("Declined", "the card was declined")
        attempt = {"n": 1, "started_ms": self._now, "ended_ms": self._now, "outcome": status, "detail": ""}
        result |= {
            "quota_key": ask["quota_key"], "status": status, "value": text(value), "error_type": error[0],
            "error_message": error[1], "attempts": [attempt], "asked_ms": ask["asked_ms"], "finished_ms": self._now,
        }  # fmt: skip
        return Planned(RESULTS, self.thread, f"{ask['call_id']}/result/1", RESULT, result, ask=ask)

    def _take(self, slot: Slot) -> None:
        """Decide the slot's records, and the sleeps that end before the next slot is sent."""
        for planned in slot:
            self._now, self._offset = self._now + 1, self._offset + 1
            kind: Any = "poison" if planned.cut else "result" if planned.topic == RESULTS else "event"
            self._step(Input(
                kind, self.thread, planned.topic, 0, self._offset, self._now, self._now, source=SOURCE, id=planned.id,
                type=planned.type, data=planned.data,
            ))  # fmt: skip
        while sleeping := [(due, id) for id, due in self._state.small["timers"].items() if id.startswith("sleep:")]:
            due, id = min(sleeping)
            self._now = max(self._now, due)
            self._step(timer(self.thread, id, due, self._now))

    def _step(self, input: Input) -> None:
        decision = step(self._state, input, app, LIMITS, self._cache)
        if decision is None:
            raise RuntimeError(f"{self.thread}: the engine took {input.id} for a record it had handled")
        self._state = follow(self._state, decision)
        self.verdicts[decision.entry.kind, decision.entry.verdict] += 1
