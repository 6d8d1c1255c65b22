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
# How a line is set off: what went wrong or is not known must not drown in what went well.
ALARMING = {"forged", "unreadable", "gave_up"}
REFUSALS = {"duplicate", "late", "stale", "refused", "rejected", "too_old", "oversize"}
_INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs"}


def verdict(name: str) -> str:
    """What became of an input."""
    return VERDICTS.get(name, name)


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
