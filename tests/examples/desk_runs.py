# SPDX-License-Identifier: Apache-2.0
"""What a sound run of the refund desk leaves behind, and how it is spoilt."""

from __future__ import annotations

import json
from typing import Any

from examples.support_desk import rules

Run = dict[str, Any]


def event(n: int, thread: str, order: str, **changed: Any) -> Run:
    data = {"intent": "refund", "order_id": order}
    about = {"n": n, "id": f"e{n}", "thread": thread, "type": rules.MESSAGE, "data": data, "bad": ""}
    return {**about, "partition": 0, "offset": n, **changed}


def reply(n: int, data: str = '{"outcome":"refunded"}') -> Run:
    """What the customer of thread a is told of his event n."""
    return {
        "reply_id": f"r{n}",
        "event_id": f"e{n}",
        "thread": "a",
        "text": f"Refunded {n}.",
        "data": data,
        "log_ms": 1,
    }


def entry(seq: int, topic: str, offset: int, *closed: tuple[str, str], replies: tuple[Run, ...] = ()) -> Run:
    """An entry of thread a; `closed` are the keys whose calls it closes, each with the status told."""
    effects = [{"do": "close_call", "call_id": key, "tool": "refund", "status": status} for key, status in closed]
    effects += [{"do": "reply", **one} for one in replies]
    place = {"topic": topic, "partition": 0, "offset": offset, "id": f"e{offset}"}
    about = {"thread": "a", "seq": seq, "prev": "", "input": place, "effects": json.dumps(effects), "hash": ""}
    return {**about, "log_ms": 900 + seq}


def seal(run: Run) -> None:
    """Chain the entries of each thread, as its engine would have."""
    heads: dict[str, str] = {}
    for decision in run["topics"]["agent-decisions"]:
        decision["prev"] = heads.get(decision["thread"], "")
        decision["hash"] = heads[decision["thread"]] = rules.hash_of(decision)


def asked(key: str, order: str) -> list[Run]:
    return [{"kind": kind, "key": key, "order": order, "status": 200, "time_ms": 1} for kind in ("arrived", "paid")]


def sound() -> Run:
    """Thread a asks twice for money, the first request comes again after a kill; two records are bad."""
    answers = [{"kind": "answered", "key": key, "status": 200, "time_ms": 1} for key in ("k0", "k1")]
    repeated = asked("k0", "o0")[:1]
    decisions = [entry(1, "agent-events", 0), entry(2, "tool-results", 0, ("k0", "done"), replies=(reply(0),))]
    decisions += [entry(3, "agent-events", 1), entry(4, "tool-results", 1, ("k1", "done"), replies=(reply(1),))]
    unreadable = entry(1, "agent-events", 9)
    unreadable["input"] |= {"partition": 2, "id": ""}
    decisions.append({**unreadable, "thread": "x"})
    unread = {"topic": "t.agent-events", "code": "unreadable", "log_ms": 1}
    letters = [{**unread, "partition": p, "offset": o} for p, o in ((1, 0), (2, 9))]
    bad = [event(2, "x", "", bad="no key", partition=1, offset=0), event(3, "x", "", bad="cut", partition=2, offset=9)]
    run = {
        "sent": [event(0, "a", "o0"), event(1, "a", "o1"), *bad],
        "ledger": [*asked("k0", "o0"), *repeated, answers[0], *asked("k1", "o1"), answers[1]],
        "topics": {
            "agent-decisions": decisions,
            "agent-replies": [reply(0), reply(1)],
            "tool-invocations": [{"tool": "refund", "call_id": f"k{n}", "log_ms": 1} for n in (0, 1)],
            "tool-results": [{"tool": "refund", "log_ms": ms} for ms in (900, 1003, 4100, 9100)],
            "dead-letters": letters,
        },
        "kills": [{"job": "tools", "at_ms": 1000, "noticed_ms": 1500, "running_ms": 3000}],
    }
    seal(run)
    return run


def tell(run: Run, status: str, seq: int = 2, key: str = "k0") -> None:
    """The journal says that the agent was told this of its refund."""
    told = run["topics"]["agent-decisions"][seq - 1]
    replies = tuple(one for one in json.loads(told["effects"]) if one["do"] == "reply")
    told["effects"] = entry(seq, "", 0, (key, status), replies=replies)["effects"]
    seal(run)


def unpay(run: Run, key: str = "k0") -> None:
    run["ledger"] = [line for line in run["ledger"] if (line["kind"], line["key"]) != ("paid", key)]


def swap(items: list[Any], one: int, other: int) -> None:
    items[one], items[other] = items[other], items[one]


def pay_back_to_front(run: Run) -> None:
    run["ledger"] = [*run["ledger"][4:], *run["ledger"][:4]]


def decide_back_to_front(run: Run) -> None:
    """Replies and payments follow the order in which the customer wrote; the decisions do not."""
    run["sent"][0]["n"], run["sent"][1]["n"] = 1, 0
    swap(run["topics"]["agent-replies"], 0, 1)
    pay_back_to_front(run)


def bury(run: Run) -> None:
    """A good event is decided, and among the dead letters as well."""
    run["topics"]["dead-letters"].append({**run["topics"]["dead-letters"][0], "partition": 0})


def doubt_all(run: Run) -> None:
    tell(run, "in_doubt")
    tell(run, "in_doubt", seq=4, key="k1")


def doubt_without_a_kill(run: Run) -> None:
    """Nor anything repeated."""
    run["kills"].clear()
    run["ledger"].pop(2)
    tell(run, "in_doubt")


def answer_again(run: Run) -> None:
    """Journal and topic agree on it."""
    again = {**reply(1), "reply_id": "r9"}
    run["topics"]["agent-replies"].append(again)
    run["topics"]["agent-decisions"][3]["effects"] = entry(4, "", 0, ("k1", "done"), replies=(reply(1), again))[
        "effects"
    ]
    seal(run)


def only_ask(run: Run) -> None:
    """The final answer is neither decided nor told."""
    asked_back = reply(1, '{"ask":"o1"}')
    run["topics"]["agent-replies"][1] = asked_back
    run["topics"]["agent-decisions"][3]["effects"] = entry(4, "", 0, ("k1", "done"), replies=(asked_back,))["effects"]
    seal(run)


def lose_the_answer(run: Run) -> None:
    """The question back is told, the answer is only in the journal: of each event there is a reply."""
    asked_back = reply(1, '{"ask":"o1"}')
    run["topics"]["agent-replies"].append(asked_back)
    del run["topics"]["agent-replies"][1]


def letter(run: Run, **changed: Any) -> None:
    """One more dead letter."""
    run["topics"]["dead-letters"].append({**run["topics"]["dead-letters"][0], **changed})


def answer_late(run: Run) -> None:
    """A call was answered before, and what has come now is refused."""
    letter(run, topic="t.tool-results", offset=7, code="late")


def answer_late_without_a_kill(run: Run) -> None:
    answer_late(run)
    run["kills"].clear()
