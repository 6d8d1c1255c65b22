# SPDX-License-Identifier: Apache-2.0
"""What a thread asked of the world, call by call: asked, attempted, ended, as its own entries say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ops.audit.selection import data_of
from schemas.codec import Codec
from threadlog.decide import RESULT
from threadlog.entry import Entry

OPEN, LEFT, LATE = "open", "no longer awaited: its run ended", "in doubt, then found done"


@dataclass
class Called:
    """One call. Numbers of entries are 0 where there is none; `attempts` as the result told them."""

    call_id: str
    tool: str
    effect: str = ""
    args: str = ""
    agent: str = ""
    run_id: str = ""
    asked_seq: int = 0
    asks: int = 0
    attempts: list[dict[str, Any]] = field(default_factory=list)
    status: str = OPEN
    said: str = ""
    ended_seq: int = 0
    late_seq: int = 0

    @property
    def is_doubtful(self) -> bool:
        """Whether it is not known if it happened."""
        return self.status == "in_doubt"


def calls_of(entries: list[Entry], codec: Codec) -> dict[str, Called]:
    """The calls of a thread by their ids, in the order in which they were asked for. Raises RegistryUnavailable."""
    calls: dict[str, Called] = {}
    for entry in entries:
        result = data_of(entry, codec) if entry.input.type == RESULT else {}
        for effect in json.loads(entry.effects):
            _FOLLOW.get(effect["do"], _ignore)(calls, entry.seq, effect, result)
    return calls


def _asked(calls: dict[str, Called], seq: int, effect: dict[str, Any], result: dict[str, Any]) -> None:
    call = calls.get(effect["call_id"])
    if call is None:
        call = calls[effect["call_id"]] = Called(
            effect["call_id"], effect["tool"], effect["effect"], effect["args"], effect["agent"], effect["run_id"], seq
        )
    call.asks = effect["ask"]


def _closed(calls: dict[str, Called], seq: int, effect: dict[str, Any], result: dict[str, Any]) -> None:
    call = calls.setdefault(effect["call_id"], Called(effect["call_id"], effect["tool"]))
    call.status, call.ended_seq = effect["status"], seq
    _hear(call, result)


def _late(calls: dict[str, Called], seq: int, effect: dict[str, Any], result: dict[str, Any]) -> None:
    call = calls.setdefault(effect["call_id"], Called(effect["call_id"], effect["tool"]))
    call.status, call.late_seq = LATE, seq
    _hear(call, result)


def _hear(call: Called, result: dict[str, Any]) -> None:
    if result.get("call_id") != call.call_id:  # nobody answered, or the answer is in no record
        call.said = call.said or "no answer came, or it is not in the journal"
        return
    call.attempts += result["attempts"]
    call.said = result["value"] if result["status"] == "done" else f"{result['error_type']}: {result['error_message']}"


def _run_over(calls: dict[str, Called], seq: int, effect: dict[str, Any], result: dict[str, Any]) -> None:
    for call in calls.values():  # effects stay with the thread; what a read would have said is of no use any more
        if call.status == OPEN and call.run_id == effect["run_id"] and call.effect == "read":
            call.status, call.ended_seq = LEFT, seq


def _ignore(calls: dict[str, Called], seq: int, effect: dict[str, Any], result: dict[str, Any]) -> None:
    """What is no call's."""


_FOLLOW = {"call": _asked, "close_call": _closed, "late_success": _late, "end_run": _run_over}
