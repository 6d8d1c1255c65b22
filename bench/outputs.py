# SPDX-License-Identifier: Apache-2.0
"""What a round of the conversation must have written besides its journal, and whether it has.

    effects of the journal's entries ─► records by topic ─┐
    records that came to these topics meanwhile ──────────┴─► equal, or Trouble

A job that dropped what its decisions ask for would be faster, and its journal would not show it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable

from bench.readings import Places, places, read_between
from bench.session import Session
from ops.context import Trouble
from schemas.topics import topic_of
from threadlog.entry import Entry
from udfs.outputs import DEAD_LETTERS, OUTBOX, READS, REPLIES, SIGNALS

TOPICS = (OUTBOX, READS, REPLIES, SIGNALS, DEAD_LETTERS)
# A transaction's records can be read topic after topic: the marks of its end are not written all at once.
STILL_S, BOUND_S = 0.5, 60


def asked(entries: Iterable[Entry]) -> Counter[str]:
    """Records by topic that these entries ask for; a timer has no record that a letter could hold."""
    found = Counter[str]()
    for entry in entries:
        for effect in json.loads(entry.effects):
            match effect["do"]:
                case "call":
                    found[READS if effect["effect"] == "read" else OUTBOX] += 1
                case "reply":
                    found[REPLIES] += 1
                case "signal":
                    found[SIGNALS] += 1
                case "dead_letter" if entry.kind != "timer":
                    found[DEAD_LETTERS] += 1
    return found


def amiss(wanted: Counter[str], came: Counter[str]) -> str:
    """Where other records came than were asked for; empty when there are none. Reads come at least once."""
    wrong = [
        topic for topic in TOPICS
        if came[topic] < wanted[topic] or (came[topic] > wanted[topic] and topic != READS)
    ]  # fmt: skip
    return "; ".join(f"{topic} has {came[topic]:,} records of {wanted[topic]:,}" for topic in wrong)


def begin(run: Session) -> Places:
    """Where the topics end before a round."""
    return places(run, TOPICS)


def check(run: Session, before: Places, wanted: Counter[str]) -> None:
    """Raise Trouble unless what came to the topics since then is what was asked for. Once the journal can be read."""
    until, after = time.monotonic() + BOUND_S, begin(run)
    while True:
        time.sleep(STILL_S)
        if (now := begin(run)) == after:
            break
        if time.monotonic() > until:
            raise Trouble(f"Records still come {BOUND_S} s after a round.")
        after = now
    read = read_between(run, before, after, BOUND_S)
    if read is None:
        raise Trouble(f"The records of a round could not be read within {BOUND_S} s.")
    came = Counter({topic_of(run.settings.namespace, name): count for name, count in read[0].items()})
    if wrong := amiss(wanted, came):
        raise Trouble(f"The journal asks for other records than were written: {wrong}.")
