# SPDX-License-Identifier: Apache-2.0
"""The queue of one quota key: which asks wait, which are pending, and what is to be done next.

Pure: it reads and writes its state through `Slots` and returns actions; the operator carries them out. A call is
*pending* from the moment it is fired until its own result has come back through the log; only then is its slot free, so
a crash at any point leaves it pending and it is fired again under the same key.

    ask of a new call          fire, or queue, or reject when the queue is full
    ask of a call in hand      join: one answer is enough
    ask of a finished call     fire again under its key: its callee answers as before
    ask that is not what its key stands for   refuse: a key stands for one tool and one set of arguments

A restored state may be older than what its process did: a call that it shows waiting, or whose ask is read only now,
may have been fired already. Whatever was asked before this process began is therefore fired `again`, as if an attempt
of unknown end had gone before: else a refusal now would be reported as "it did not run", and the agent would pay under
a new key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from threadlog.app import App
from threadlog.calls import call_key
from threadlog.tools import Tool

QUEUE_ASKS_MAX = 10_000  # per quota key; a queue that only grows is rejected to the agent, which can decide
CLOCKS_APART_MS = 5_000  # asks carry the clock of the conversation's machine
RESTARTS_MAX = 5  # a call in flight at so many restarts in a row is suspected to cause them
FIELD_CHARS_MAX = (
    512  # a result repeats the fields of its ask: what nobody could read back would hold its slot for ever
)
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
    """The keyed state of one quota key: plain JSON by string keys."""

    def get(self, key: str) -> Any:
        """The value, or None."""

    def put(self, key: str, value: Any) -> None:
        """Write plain JSON."""

    def remove(self, key: str) -> None:
        """No value from now on; nothing to say where there was none."""

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin so, in any order."""


class Queue:
    """The queue of the current quota key of `slots`.

    Keys: "meta" {"head", "tail", "open"}; "q:<number>" a waiting ask, "w:<call id>" its number;
    "p:<call id>" {"ask", "restarts"} for what is pending.
    """

    def __init__(self, slots: Slots, app: App, began_ms: int, queue_asks_max: int = QUEUE_ASKS_MAX) -> None:
        """began_ms: the clock when this process began (Unix epoch, milliseconds)."""
        self._slots, self._app, self._max = slots, app, queue_asks_max
        self._before_ms = began_ms + CLOCKS_APART_MS

    def accept(self, ask: Ask) -> list[Action]:
        """An ask has come."""
        if wrong := forged(ask) or altered(ask, self._app.tools.get(ask["tool"])):
            return [Action("refuse", ask, reason=wrong)]
        call_id = ask["call_id"]
        in_hand = self._slots.get(f"p:{call_id}") or self._slots.get(f"w:{call_id}")
        if in_hand is not None:
            return []
        if ask["tool"] not in self._app.tools:
            return [self._reject(ask, f"there is no tool {ask['tool']!r} in this app")]
        meta = self._meta()
        if meta["open"] < self._concurrency(ask):
            return [self._fire(meta, ask, restarts=0)]
        if meta["tail"] - meta["head"] >= self._max:
            return [self._reject(ask, f"{self._max} calls wait for {ask['quota_key']!r} already")]
        self._slots.put(f"q:{meta['tail']}", ask)
        self._slots.put(f"w:{call_id}", meta["tail"])
        self._slots.put("meta", {**meta, "tail": meta["tail"] + 1})
        return []

    def finished(self, call_id: str) -> list[Action]:
        """Our own result has come back: free the slot and fire what waits. Unknown calls are late news, and ignored."""
        if self._slots.get(f"p:{call_id}") is None:
            return []
        self._slots.remove(f"p:{call_id}")
        meta = self._meta()
        meta["open"] -= 1
        self._slots.put("meta", meta)
        return self._next()

    def recover(self, live: frozenset[str] | set[str]) -> list[Action]:
        """Fire again what is pending and not live in this process; give up on what was in flight at every restart."""
        actions: list[Action] = []
        for key in sorted(self._slots.keys("p:")):
            if key[2:] in live:
                continue
            pending = self._slots.get(key)
            restarts = pending["restarts"] + 1
            self._slots.put(key, {**pending, "restarts": restarts})
            if restarts > RESTARTS_MAX:
                status = "failed" if pending["ask"]["effect"] == "read" else "in_doubt"
                actions.append(Action("answer", pending["ask"], status, f"in flight at {restarts} restarts in a row"))
            else:
                actions.append(self._begin(pending["ask"], again=True))
        return actions + self._next()

    def busy(self) -> bool:
        """Whether anything is pending or waits."""
        meta = self._meta()
        return bool(meta["open"] or meta["tail"] > meta["head"])

    def _next(self) -> list[Action]:
        actions: list[Action] = []
        meta = self._meta()
        while meta["head"] < meta["tail"]:
            key = f"q:{meta['head']}"
            ask = self._slots.get(key)
            if meta["open"] >= self._concurrency(ask):
                break
            self._slots.remove(key)
            self._slots.remove(f"w:{ask['call_id']}")
            meta["head"] += 1
            actions.append(self._fire(meta, ask, restarts=0))
        return actions

    def _fire(self, meta: dict[str, int], ask: Ask, restarts: int) -> Action:
        self._slots.put(f"p:{ask['call_id']}", {"ask": ask, "restarts": restarts})
        meta["open"] += 1
        self._slots.put("meta", meta)
        return self._begin(ask, self._maybe_fired(ask))

    def _begin(self, ask: Ask, again: bool) -> Action:
        """Fire, unless the tool went out of the app or changed while its call waited or was in flight."""
        tool = self._app.tools.get(ask["tool"])
        if tool is None or tool.effect != ask["effect"]:
            return self._reject(ask, f"there is no {ask['effect']} tool {ask['tool']!r} in this app any more", again)
        return Action("fire", ask, again=again)

    def _reject(self, ask: Ask, reason: str, again: bool = False) -> Action:
        doubt = ask["effect"] != "read" and (again or self._maybe_fired(ask))
        return Action("answer", ask, "in_doubt" if doubt else "rejected", reason)

    def _maybe_fired(self, ask: Ask) -> bool:
        return bool(ask["clock_ms"] < self._before_ms)

    def _meta(self) -> dict[str, int]:
        return dict(self._slots.get("meta") or {"head": 0, "tail": 0, "open": 0})

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
