# SPDX-License-Identifier: Apache-2.0
"""What must hold between the sender's file, the payment ledger, the topics and the kills: each rule gives rows of the
checker's table.

Pure, and without a line of the product: records come in as decoded fields, in the order of their log."""

from __future__ import annotations

import hashlib
import itertools
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

MESSAGE = "support_desk.CustomerMessage"
DID_NOT_RUN = ("refused", "rejected")  # what a call is called of which each attempt, if any, was turned away
# What a SIGKILL silences: a job's own topic; the payment service's own lines of the ledger.
WRITES = {"tools": "tool-results", "conversation": "agent-decisions", "payments": "ledger"}

Line = dict[str, Any]
Topics = dict[str, list[Line]]


def told(decisions: list[Line]) -> dict[str, str]:
    """How each refund ended for its agent, by key: the journal's first word on it, whoever gave the call its end."""
    ends: dict[str, str] = {}
    for decision in decisions:
        for effect in json.loads(decision["effects"]):
            if effect["do"] == "close_call" and effect["tool"] == "refund":
                ends.setdefault(effect["call_id"], effect["status"])
    return ends


def money(ledger: list[Line], asked: set[str], ends: dict[str, str]) -> dict[str, int]:
    """What the ledger says about the refunds that were asked, beside what their agents were told."""
    paid = {line["key"] for line in ledger if line["kind"] == "paid"}
    orders = Counter(line["order"] for line in ledger if line["kind"] == "paid")
    unpaid = Counter(ends[key] for key in set(ends) - paid)
    ended = Counter(ends[key] for key in paid & set(ends))
    return {
        "refunds_asked": len(asked),
        "refunds_paid": len(paid),
        "refunds_refused": sum(unpaid[status] for status in DID_NOT_RUN),
        "refunds_failed": unpaid["failed"],
        "refunds_in_doubt": unpaid["in_doubt"],
        "refunds_told_done": unpaid["done"] + ended["done"],
        "paid_but_in_doubt": ended["in_doubt"],
        "paid_but_told_failed": sum(ended[status] for status in ("failed", *DID_NOT_RUN)),
        "paid_twice": sum(count > 1 for count in orders.values()),
        "lost": unpaid["done"] + len(paid - asked) + len(asked - set(ends)),
    }


def repeats(ledger: list[Line]) -> int:
    """Requests that came again although the service had not asked for it by its answer to the one before.

    Those after a 429, 500, 409 or a dropped connection are the service's doing, not the crashes'."""
    ended: dict[str, Any] = {}
    repeated = 0
    for line in ledger:
        key = str(line.get("key"))
        if line["kind"] == "arrived":
            repeated += key in ended and ended[key] not in (429, 500, 409, "dropped")
            ended[key] = "open"
        elif line["kind"] in ("answered", "dropped"):
            ended[key] = line.get("status", "dropped")
    return repeated


def hash_of(entry: Line) -> str:
    """The hash that an entry must carry, 64 hex digits: SHA-256 over the hash before it and every other field.

    The fields are in the order of the schema, those of `input` where it stands, each preceded by its length in bytes
    and a colon. `log_ms` is the broker's, and no field."""
    fields: list[Any] = []
    for name, value in entry.items():
        if name not in ("prev", "hash", "log_ms"):
            fields += value.values() if name == "input" else [value]
    hashed = hashlib.sha256(entry["prev"].encode())
    for value in fields:
        raw = value if isinstance(value, bytes) else b"" if value is None else str(value).encode()
        hashed.update(b"%d:%b" % (len(raw), raw))
    return hashed.hexdigest()


def journal(decisions: list[Line]) -> dict[str, list[str]]:
    """Chains and order of the journal, thread by thread; one line for each gap and for each entry out of order.

    An entry that does not carry its own hash is a gap too."""
    threads: dict[str, list[Line]] = defaultdict(list)
    for decision in decisions:
        threads[decision["thread"]].append(decision)
    gaps, disorder = [], []
    for thread, chain in threads.items():
        previous = ""
        last: dict[tuple[str, int], int] = {}
        for expected, entry in enumerate(chain, 1):
            if entry["seq"] != expected or entry["prev"] != previous:
                gaps.append(f"{thread}: entry {entry['seq']} stands where {expected} belongs, or chains to another")
            if hash_of(entry) != entry["hash"]:
                gaps.append(f"{thread}: entry {entry['seq']} was changed after it was written")
            previous = entry["hash"]
            place = (entry["input"]["topic"], entry["input"]["partition"])
            if not place[0] or entry.get("kind") == "timer":
                continue  # made of the clock, not of a record
            if entry["input"]["offset"] <= last.get(place, -1):
                disorder.append(
                    f"{thread}: entry {entry['seq']} is of offset {entry['input']['offset']}, not a later one"
                )
            last[place] = entry["input"]["offset"]
    return {"journal_gaps": gaps, "order_violations": disorder}


def descents(what: str, events: Iterable[Line]) -> list[str]:
    """Within a thread, what came of an event although what came of a later one was there before; one line each."""
    last: dict[str, Line] = {}
    found = []
    for event in events:
        before = last.get(event["thread"], event)
        if event["n"] < before["n"]:
            found.append(f"{event['thread']}: what was {what} for {event['id']} follows that for {before['id']}")
        last[event["thread"]] = event
    return found


def strangers(what: str, pairs: list[tuple[Line, Line | None]]) -> list[str]:
    """What belongs to no event that was sent in its thread."""
    return [
        f"{made['thread']}: what was {what} belongs to nothing that was sent there: {made.get('input', made)}"
        for made, event in pairs
        if event is None
        or made["thread"] != event["thread"]
        or not (event["bad"] or made.get("input", event)["id"] == event["id"])  # a bad one's entry knows no id
    ]


def misplaced(sent: list[Line], topics: Topics, ledger: list[Line], ends: dict[str, str]) -> list[str]:
    """Decisions, replies and payments of a thread that do not follow the order in which its customer wrote, or that
    belong to nothing he wrote there; one line each.

    A message that was sent again counts where it was sent first: all that comes of it comes of that one."""
    at = {place(event): event for event in sent}
    first = {event["id"]: event for event in reversed(sent)}
    asked = {
        event["data"].get("order_id"): event for event in first.values() if event["data"].get("intent") == "refund"
    }
    decided = [(entry, at.get(place(entry["input"]))) for entry in topics["agent-decisions"] if is_event(entry)]
    replied = [(reply, first.get(reply["event_id"])) for reply in topics["agent-replies"]]
    # A payment in doubt may still be made while the next message is handled.
    payments = [line for line in ledger if line["kind"] == "paid" and ends.get(line["key"]) != "in_doubt"]
    paid = {line["order"]: asked[line["order"]] for line in payments if line["order"] in asked}
    return [
        *strangers("decided", decided),
        *strangers("replied", replied),
        *descents("decided", (event for _, event in decided if event)),
        *descents("replied", (event for _, event in replied if event)),
        *descents("paid", paid.values()),
    ]


def place(where: Line) -> tuple[int, int]:
    """A record's place in its topic."""
    return where["partition"], where["offset"]


def is_event(entry: Line) -> bool:
    """Whether an entry was made of a record of agent-events."""
    return bool(entry["input"]["topic"].endswith("agent-events"))


def said(replies: Iterable[Line]) -> Counter[tuple[str, ...]]:
    """Replies by what a customer sees of them, each as often as it was said."""
    return Counter(tuple(str(reply[name]) for name in ("thread", "event_id", "text", "data")) for reply in replies)


def answers(sent: list[Line], topics: Topics) -> dict[str, int]:
    """Every message has one answer, and customers are told what the journal says they are.

    A question back, which says what it asks about, is no answer."""
    replies = topics["agent-replies"]
    effects = [effect for decision in topics["agent-decisions"] for effect in json.loads(decision["effects"])]
    decided = said(effect for effect in effects if effect["do"] == "reply")
    differ = (decided - said(replies)) + (said(replies) - decided)
    wanted = {event["id"] for event in sent if event["type"] == MESSAGE and not event["bad"]}
    last = {reply["reply_id"]: reply["event_id"] for reply in replies if "ask" not in (json.loads(reply["data"]) or {})}
    doubled = len(replies) - len({reply["reply_id"] for reply in replies})
    return {
        "replies": len(replies),
        "replies_doubled": doubled + len(last) - len(set(last.values())),
        "replies_differ": differ.total(),
        "unanswered": len(wanted - set(last.values())),
    }


def accounts(sent: list[Line], topics: Topics, killed: bool) -> dict[str, int]:
    """Every event has its entry, every unreadable record its dead letter, every message its answer.

    Who is killed behind an answer to a call asks again: the second answer is refused, and a dead letter too."""
    decided = {place(entry["input"]) for entry in topics["agent-decisions"] if is_event(entry)}
    dead = {place(letter) for letter in topics["dead-letters"] if letter["topic"].endswith("agent-events")}
    return {
        "events_sent": len(sent),
        "bad_records": sum(bool(event["bad"]) for event in sent),
        "accounted_for": sum(place(event) in (dead if event["bad"] else decided - dead) for event in sent),
        "dead_letters": sum(not (killed and letter["code"] == "late") for letter in topics["dead-letters"]),
        "decisions": len(topics["agent-decisions"]),
        **answers(sent, topics),
    }


def silences(kills: list[Line], topics: Topics, ledger: list[Line]) -> list[float | None]:
    """For each kill, the seconds for which what was killed wrote nothing; None where it never wrote again.

    It is the longest stretch that began between the kill and the moment at which all was seen to run again: a process
    that is being killed may still have a record under way, and later the traffic itself falls silent."""
    written = {topic: sorted(record["log_ms"] for record in records) for topic, records in topics.items()}
    written["ledger"] = sorted(line["time_ms"] for line in ledger if line["kind"] in ("paid", "answered"))
    found: list[float | None] = []
    for kill in kills:
        moments = [kill["at_ms"], *(ms for ms in written[WRITES[kill["job"]]] if ms > kill["at_ms"])]
        spans = [later - began for began, later in itertools.pairwise(moments) if began <= kill["running_ms"]]
        found.append(max(spans) / 1000 if moments[-1] > kill["noticed_ms"] else None)
    return found


def recovery(kills: list[Line], silent_s: list[float | None]) -> dict[str, float]:
    """How long the jobs were silent after their kills; the payment service, which just starts again, is left out."""
    gaps = [gap for kill, gap in zip(kills, silent_s, strict=True) if gap is not None and kill["job"] != "payments"]
    return {
        "kills": len(kills),
        "never_recovered": silent_s.count(None),
        "recovery_gap_median_s": round(statistics.median(gaps), 1) if gaps else 0.0,
        "recovery_gap_max_s": round(max(gaps), 1) if gaps else 0.0,
    }
