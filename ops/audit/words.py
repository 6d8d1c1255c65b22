# SPDX-License-Identifier: Apache-2.0
"""An entry in words that need no manual, and text made fit for a page: nothing in it is markup, nothing hides."""

from __future__ import annotations

import html
import unicodedata
from datetime import UTC, datetime
from typing import Any

VERDICTS = {
    "began": "An agent began to deal with it.",
    "resumed": "The run that waited for it went on.",
    "queued": "Another run was under way, so it waits for its turn.",
    "interrupts": "It is to interrupt the run under way, and waits until no effect of that is open.",
    "buffered": "The run under way may come to wait for it, so it is kept.",
    "recorded": "It answers a call of a run that was over; the next run is told.",
    "chained": "What had waited was begun.",
    "asked_again": "No answer came in time: the same call was asked again, under the same key.",
    "gave_up": "No answer came in time, and the call was given up.",
    "late_success": "A call that had ended in doubt has happened after all.",
    "retried": "A person had the stopped run go on.",
    "abandoned": "A person ended the stopped run.",
    "duplicate": "It had been taken before, so it changed nothing.",
    "late": "It answers a call that had ended before, so it changed nothing.",
    "stale": "The timer was no longer armed, so it changed nothing.",
    "refused": "It was refused.",
    "rejected": "It was refused, because a run was under way.",
    "too_old": "It was refused, because a second sending of it could no longer be recognised.",
    "oversize": "It was refused, because it is larger than what a record holds.",
    "forged": "It was refused, because it does not answer what it says it answers.",
    "unreadable": "It could not be read, and was refused.",
}
GLOSSARY = {
    "entry": "one input (a message, a tool's answer, a command, a time that came) and all that was decided on it",
    "agent": "the program that decides, in a version with a number; code: the digest of all of it",
    "run": "one execution of an agent: begun by a message, at rest while it waits for answers, over at its end",
    "call": "one use of a tool, outside this log: a look-up, or an effect on the world such as a payment",
    "idempotency key": "the name of a call, which goes to the other side with every attempt, so that it acts only once",
    "in doubt": "an attempt began, and no answer says whether it took effect: it is called neither done nor failed",
    "signed": "somebody with this key has stated that the log held the thread up to that entry; verify.py checks it",
    "outside the chain": "a record under this thread's name that does not continue it, and counts for nothing",
    "UTC": "all times are in UTC, with milliseconds; those of entries are of the system that decided",
}
# The fields of a tool's answer as people ask for them.
ANSWER = {
    "tool": "tool", "status": "outcome", "value": "answer", "error_type": "error", "error_message": "error message",
    "attempts": "attempts", "asked_ms": "asked for at", "finished_ms": "finished at", "call_id": "idempotency key",
    "quota_key": "counted against the quota", "run_id": "run", "ordinal": "place in the run",
    "args_digest": "digest of the arguments", "thread": "thread",
}  # fmt: skip
_TIMERS = {
    "call": "until which an answer to a call was awaited", "sleep": "until which the agent had chosen to pause",
    "wait": "until which the agent had chosen to wait for a message", "chain": "at which to go on with what was queued",
}  # fmt: skip
# How a line is set off: what went wrong or is not known must not drown in what went well.
ALARMING = {"forged", "unreadable", "gave_up"}
REFUSALS = {"duplicate", "late", "stale", "refused", "rejected", "too_old", "oversize"}
_INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs"}


def verdict(name: str) -> str:
    """What became of an input."""
    return VERDICTS.get(name, name)


def timer(id: str) -> str:
    """Why a time was set, after the timer's id."""
    return _TIMERS.get(id.partition(":")[0], "which the thread had set for itself")


def is_told(effect: dict[str, Any]) -> bool:
    """Whether people ask about an effect: deadlines of calls are book-keeping, as is that a timer is taken back."""
    return effect["do"] != "cancel_timer" and not effect.get("timer", "").startswith(("call:", "chain"))


def counted(count: int, thing: str) -> str:
    """So many things."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def time(ms: int) -> str:
    """A time of the Unix epoch in UTC; as a number where no calendar has it."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms after 1970"


def shown(value: Any) -> str:
    """Text for a page. Characters that cannot be seen are written out: some turn what stands around them."""
    text = "".join(
        c if c in "\n\t" or unicodedata.category(c) not in _INVISIBLE else f"\\u{{{ord(c):x}}}" for c in str(value)
    )
    return html.escape(text, quote=True)
