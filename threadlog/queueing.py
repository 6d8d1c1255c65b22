# SPDX-License-Identifier: Apache-2.0
"""The queue of one quota key: which asks wait, which are pending, and what is to be done next.

Pure: it reads and writes its state through `Slots` and returns actions; the operator carries them out. A call is
*pending* from the moment it is fired or answered until its own result has come back through the log; only then is its
slot free, so a crash at any point leaves it pending, and it is fired or answered again under the same key.

    ask of a new call          fire, or queue, or reject when the queue is full
    ask of a call in hand      join: one answer is enough
    ask of a finished call     fire again under its key: its callee answers as before
    ask of a call that an earlier process has ended   nothing: its answer is in the log, and of a "no" a new key may
                              stand for it by now
    ask that is not what its key stands for   refuse: a key stands for one tool and one set of arguments

A restored state may be older than what its process did: a call that it shows waiting, or whose ask is read only now,
may have been fired already. Whatever was asked before this process began is therefore fired `again`, as if an attempt
of unknown end had gone before: else a refusal now would be reported as "it did not run", and the agent would pay under
a new key.

A call may be what kills its process. The count of its restarts lies in the state, which a crash sets back to the last
checkpoint; a call that kills at once is not even pending there. So one restart is taken for bad luck, and what was in
flight is fired again at once. But a call is *held* until its count lies in a checkpoint, and fired only then,

    where it was in flight at an earlier restart too, or
    where its key has had no watch for a minute before this process began, and its ask is older than that: either
    nothing ran for so long, or process after process has died too soon to be remembered.

Promised, as long as checkpoints complete while a call is held: one that kills its process does so for about a minute,
then RESTARTS_MAX times more, and ends in doubt. So does what is in flight beside it every time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from threadlog.app import App
from threadlog.calls import call_key
from threadlog.tools import Tool

QUEUE_ASKS_MAX = 10_000  # per quota key; a queue that only grows is rejected to the agent, which can decide
CLOCKS_APART_MS = 5_000  # asks carry the clock of the conversation's machine
RESTARTS_MAX = 5  # a call in flight at more restarts in a row is suspected to cause them
SUSPECT_MS = 60_000  # an ordinary restart is over long before; only as young a process asks how long nothing ran
FIELD_CHARS_MAX = (
    512  # a result repeats the fields of its ask: what nobody could read back would hold its slot for ever
)
GATED = "gated in this branch"  # it has the history of another namespace, and must not act in its place
_REPEATED = ("thread", "run_id", "ordinal", "call_id", "tool", "args_digest", "quota_key")

Ask = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Action:
    """fire the ask; answer it with `status` and a reason; or refuse it to the dead letters.

    again: an earlier process may have made an attempt whose end is unknown.
    """

    do: Literal["fire", "answer", "refuse"]
    ask: Ask
    status: str = ""
    reason: str = ""
    again: bool = False


class Slots(Protocol):
    """Keyed state of one quota key: plain JSON by string keys."""

    def get(self, key: str) -> Any:
        """The value, or None."""

    def put(self, key: str, value: Any) -> None:
        """Write plain JSON."""

    def remove(self, key: str) -> None:
        """No value from now on; nothing to say where there was none."""

    def keys(self) -> list[str]:
        """All keys, in any order."""


class Queue:
    """The queue of the current quota key.

    slots: "meta" {"head", "tail", "open": calls that hold a slot, "told": answers without one, "began_ms": of the
    process that last came here, "gap_ms": how long before that there was no watch, "watched_ms": the last one};
    "q:<number>" a waiting ask, "w:<call id>" its number.
    pending: call id → {"ask", "restarts"}, and "answer" [status, reason] where that is all that is left to do.
    """

    def __init__(
        self,
        slots: Slots,
        pending: Slots,
        app: App,
        began_ms: int,
        hold_ms: int,
        answered: Callable[[Ask], bool],
        queue_asks_max: int = QUEUE_ASKS_MAX,
    ) -> None:
        """began_ms: the clock when this process began; `now_ms` everywhere: the clock now (Unix epoch, milliseconds).

        hold_ms: within so long, what is written now lies in a completed checkpoint. answered: whether the log had a
        result when this process began which says that the call was done, or did not happen."""
        self._slots, self._pending, self._app = slots, pending, app
        self._began_ms, self._hold_ms, self._max, self._answered = began_ms, hold_ms, queue_asks_max, answered
        self.allowed: frozenset[str] | None = None  # in a branch the tools that may have an effect; None: all may
        self._held: dict[str, int] = {}  # call id → when to fire it; another process counts and holds anew

    def accept(self, ask: Ask, now_ms: int) -> list[Action]:
        """An ask has come."""
        if wrong := forged(ask) or altered(ask, self._app.tools.get(ask["tool"])):
            return [Action("refuse", ask, reason=wrong)]
        call_id = ask["call_id"]
        if self._pending.get(call_id) is not None or self._slots.get(f"w:{call_id}") is not None:
            return []
        meta = self._meta()
        if ask["tool"] not in self._app.tools:
            return [self._tell(meta, ask, self._untried(ask), f"there is no tool {ask['tool']!r} in this app")]
        if self.allowed is not None and ask["effect"] != "read" and ask["tool"] not in self.allowed:
            return [self._tell(meta, ask, "rejected", GATED)]
        if meta["open"] < self._concurrency(ask):
            return self._start(meta, ask, now_ms)
        if meta["tail"] - meta["head"] >= self._max:
            reason = f"{self._max} calls wait for {ask['quota_key']!r} already"
            return [self._tell(meta, ask, self._untried(ask), reason)]
        self._slots.put(f"q:{meta['tail']}", ask)
        self._slots.put(f"w:{call_id}", meta["tail"])
        self._slots.put("meta", {**meta, "tail": meta["tail"] + 1})
        return []

    def finished(self, call_id: str, now_ms: int) -> list[Action]:
        """Our own result has come back: free the slot and fire what waits. Unknown calls are late news, and ignored.

        One that waits was fired by an earlier process, behind the checkpoint that this one began with: it is over."""
        pending = self._pending.get(call_id)
        if pending is None:
            if (number := self._slots.get(f"w:{call_id}")) is not None:
                self._slots.remove(f"q:{number}")
                self._slots.remove(f"w:{call_id}")
            return []
        self._pending.remove(call_id)
        self._held.pop(call_id, None)
        meta = self._meta()
        meta["told" if "answer" in pending else "open"] -= 1
        self._slots.put("meta", meta)
        return self._next(meta, now_ms)

    def recover(self, live: frozenset[str] | set[str], now_ms: int) -> list[Action]:
        """The watch: fire or answer again what is pending and not live in this process, and what was held enough."""
        meta, actions = self._meta(), list[Action]()
        for call_id in sorted(self._pending.keys()):
            if call_id not in live:
                actions += self._again(meta, call_id, self._pending.get(call_id), now_ms)
        meta["watched_ms"] = now_ms
        self._slots.put("meta", meta)
        return actions + self._next(meta, now_ms)

    def busy(self) -> bool:
        """Whether anything is pending or waits."""
        meta = self._meta()
        return bool(meta["open"] or meta["told"] or meta["tail"] > meta["head"])

    def _again(self, meta: dict[str, int], call_id: str, pending: dict[str, Any], now_ms: int) -> list[Action]:
        ask = pending["ask"]
        if "answer" in pending:
            return [Action("answer", ask, *pending["answer"])]
        if self._over(ask):
            self._pending.remove(call_id)
            meta["open"] -= 1
            return []
        if call_id not in self._held:
            hold = pending["restarts"] > 0 or self._suspect(meta, ask, now_ms)
            return self._go(meta, ask, pending["restarts"] + 1, True, hold, now_ms)
        if now_ms < self._held[call_id]:
            return []
        del self._held[call_id]
        return [Action("fire", ask, again=True)]

    def _next(self, meta: dict[str, int], now_ms: int) -> list[Action]:
        actions: list[Action] = []
        while meta["head"] < meta["tail"]:
            key = f"q:{meta['head']}"
            ask = self._slots.get(key)
            if ask is not None and meta["open"] >= self._concurrency(ask):
                break
            meta["head"] += 1
            if ask is None:  # its result came while it waited
                self._slots.put("meta", meta)
                continue
            self._slots.remove(key)
            self._slots.remove(f"w:{ask['call_id']}")
            actions += self._start(meta, ask, now_ms)
        return actions

    def _over(self, ask: Ask) -> bool:
        """Whether an earlier process has ended this call. What it began and did not end is fired again. What it said
        did not happen must not be: the agent may have asked for the same under a new key; what was done need not be.
        Of a call that was asked for again no agent is told that it did not happen (`calls.believed`)."""
        return ask["effect"] != "read" and ask["ask"] == 1 and self._maybe_fired(ask) and self._answered(ask)

    def _start(self, meta: dict[str, int], ask: Ask, now_ms: int) -> list[Action]:
        """Give a call a slot, unless it is over."""
        if self._over(ask):
            self._slots.put("meta", meta)
            return []
        suspect = self._suspect(meta, ask, now_ms)
        meta["open"] += 1
        return self._go(meta, ask, int(suspect), self._maybe_fired(ask), suspect, now_ms)

    def _go(self, meta: dict[str, int], ask: Ask, restarts: int, again: bool, hold: bool, now_ms: int) -> list[Action]:
        """Fire a call that has a slot, now or later; answer it where its tool is gone or it may kill its process."""
        tool = self._app.tools.get(ask["tool"])
        if tool is None or tool.effect != ask["effect"]:
            meta["open"] -= 1
            reason = f"there is no {ask['effect']} tool {ask['tool']!r} in this app any more"
            return [self._tell(meta, ask, self._untried(ask, again), reason)]
        if restarts > RESTARTS_MAX:
            meta["open"] -= 1
            status = "failed" if ask["effect"] == "read" else "in_doubt"
            return [self._tell(meta, ask, status, f"in flight at {restarts} restarts in a row")]
        self._pending.put(ask["call_id"], {"ask": ask, "restarts": restarts})
        self._slots.put("meta", meta)
        if hold:
            self._held[ask["call_id"]] = now_ms + self._hold_ms
            return []
        return [Action("fire", ask, again=again)]

    def _tell(self, meta: dict[str, int], ask: Ask, status: str, reason: str) -> Action:
        """Answer without an attempt, again and again until that has come back through the log."""
        self._pending.put(ask["call_id"], {"ask": ask, "restarts": 0, "answer": [status, reason]})
        meta["told"] += 1
        self._slots.put("meta", meta)
        return Action("answer", ask, status, reason)

    def _untried(self, ask: Ask, again: bool = False) -> str:
        """How a call ends that is not tried here, and may have been elsewhere."""
        doubt = ask["effect"] != "read" and (again or self._maybe_fired(ask))
        return "in_doubt" if doubt else "rejected"

    def _maybe_fired(self, ask: Ask) -> bool:
        return bool(ask["clock_ms"] < self._began_ms + CLOCKS_APART_MS)

    def _suspect(self, meta: dict[str, int], ask: Ask, now_ms: int) -> bool:
        """Whether processes may have died of this call for a while, too soon to be remembered."""
        unseen_ms = min(meta["gap_ms"], self._began_ms - ask["clock_ms"])
        return bool(unseen_ms > SUSPECT_MS > now_ms - self._began_ms)

    def _meta(self) -> dict[str, int]:
        stored = self._slots.get("meta") or {"head": 0, "tail": 0, "open": 0, "told": 0, "began_ms": 0, "watched_ms": 0}
        meta: dict[str, int] = dict(stored)
        if meta["began_ms"] != self._began_ms:
            meta |= {"began_ms": self._began_ms, "gap_ms": self._began_ms - meta["watched_ms"]}
        return meta

    def _concurrency(self, ask: Ask) -> int:
        tool = self._app.tools.get(ask["tool"])
        return tool.quota.concurrency if tool is not None else 1


def forged(fields: Ask) -> str:
    """Why an ask, or the result that repeats its fields, cannot be one of ours, or ""."""
    if long := [name for name in _REPEATED if len(fields[name]) > FIELD_CHARS_MAX]:
        return f"{', '.join(long)}: longer than {FIELD_CHARS_MAX} characters"
    key = call_key(fields["thread"], fields["run_id"], fields["ordinal"], fields["tool"], fields["args_digest"])
    return "" if key == fields["call_id"] else "the call id is not the key of what is asked"


def altered(ask: Ask, tool: Tool[Any, Any] | None) -> str:
    """Why an ask under a good key asks for something else than the key stands for, or "".

    The key covers the digest, not the arguments, and not the effect: a keyed call that is marked "read" would be called
    failed after an attempt of unknown end. An ask from before its tool changed its effect looks the same, and goes the
    same way: the deadline in its thread closes it.
    """
    if hashlib.sha256(ask["args"].encode()).hexdigest()[:32] != ask["args_digest"]:
        return "the arguments are not those of their digest"
    if tool is not None and tool.effect != ask["effect"]:
        return f"the ask says {ask['effect'][:20]!r}, the tool {tool.name!r} is {tool.effect!r}"
    return ""
