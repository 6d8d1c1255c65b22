# SPDX-License-Identifier: Apache-2.0
"""Keyed state as the operators have written it, in tests/golden/states: VERSION.json, by the version of the state, and
VERSION-FORM.json where operators keep a state of that version in another form.

`python -m tests.udfs.golden` prints what this code writes. A savepoint keeps what was once written: a file is made with
the first release that writes so, and never again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.threadlog.desk import app_of, look, pay
from tests.udfs.kafka import Log
from tests.udfs.keyed import Stored
from tests.udfs.test_thread_function import Operator
from tests.udfs.test_tool_queue import Operator as Tools
from threadlog import App, Event, Thread, gather, sleep
from udfs import backlog

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "states"
NEWEST = "1-pages"
THREAD, LONG = "t-1", "t-long"
LONG_RUNS = 30  # so many that sections go far


async def every_wait(thread: Thread, event: Event) -> None:
    """Looks, then waits for an effect and for a timer. It is never changed: the open runs go on with it."""
    order = await look(event["order"])
    thread.vars["last"] = {"order": event["order"], "total": order["total"]}
    await thread.reply(f"looked at {event['order']}", {"order": event["order"]})
    receipt, _ = await gather(pay(order["total"]), sleep(1))
    await thread.reply(f"paid {receipt}")


def app() -> App:
    """The app of the golden states."""
    return app_of(every_wait)


def long_ago(operator: Operator) -> None:
    """A run that waits for an effect and a timer, with a message behind it; and a long conversation."""
    for number in range(LONG_RUNS):
        ended(operator, f"l-{number}")
    _, [read] = operator.give(operator.log.go(THREAD, "e-1"))
    operator.answer(read, {"total": 7})
    operator.give(operator.log.go(THREAD, "e-2", order="o-2"))


def ended(operator: Operator, id: str) -> None:
    """A whole run of the long thread."""
    _, [read] = operator.give(operator.log.go(LONG, id), LONG)
    main, _ = operator.give(operator.log.result(operator.data(read), {"total": 7}), LONG)
    [call] = [record for record in main if record.topic == "ns.tool-invocations"]
    operator.give(operator.log.result(operator.data(call), 1), LONG)
    operator.flink.fire(operator.flink.now_ms + 1_001)


def asked(tools: Tools) -> None:
    """One call that is pending, and one that waits for its turn."""
    for number in (1, 2):
        tools.ask(number)


def made() -> dict[str, Any]:
    """What a file holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "HELD_MS", 0)  # no file knows of timers that wait for what lies in the log
        patch.setattr(backlog, "LATE_MS", 10**12)
        operator = Operator(app(), patch)
        long_ago(operator)
        stored: Stored = {name: dict(keys) for name, keys in operator.flink.stored.items()}
        tools = Tools(patch)
        asked(tools)
        queue = {name: state.stored for name, state in tools.context.maps.items()}
    log: Log = operator.log
    return {
        "conversation": {
            "stored": stored, "timers": sorted(operator.flink.timers), "now_ms": operator.flink.now_ms,
            "offsets": log.offsets,
        },
        "tools": {"stored": queue, "now_ms": tools.now},
    }  # fmt: skip


def golden(form: str) -> dict[str, Any]:
    """The file of a form."""
    found: dict[str, Any] = json.loads((FOLDER / f"{form}.json").read_text("utf-8"))
    return found


def forms() -> list[str]:
    """Those that were released, or are about to be."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


if __name__ == "__main__":
    print(json.dumps(made(), indent=1, sort_keys=True))
