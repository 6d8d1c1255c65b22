# SPDX-License-Identifier: Apache-2.0
"""The app of the golden savepoints. It is never changed: their open runs were begun by it, and end on it.

Keys live for ten years and waits for ever, so that what was open when a savepoint was taken goes on whenever it is
tried."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import Any

import aiohttp

from threadlog import App, Event, Quota, Retry, Retryable, Thread, ToolCall, gather, sleep

TEN_YEARS_S = 315_360_000.0
PATIENT = Retry(attempts=5_000_000, base_s=0.1, max_s=0.5)
SHELF = "now"  # where `drift` looks; another one parks the run
SERVICE_URL = os.environ.get("IT_SERVICE_URL", "http://127.0.0.1:22000")

app = App("golden")
_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = weakref.WeakKeyDictionary()


async def _ask(call: ToolCall, item: str) -> str:
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        _sessions[loop] = aiohttp.ClientSession(SERVICE_URL)
    body = {"item": item, "thread": call.thread}
    async with _sessions[loop].post(
        f"/{call.tool}", json=body, headers={"Idempotency-Key": call.idempotency_key}
    ) as said:
        if said.status == 503:
            raise Retryable("busy")
        said.raise_for_status()
        return await said.text()


@app.tool(effect="read", timeout_s=60, retry=PATIENT)
async def look(call: ToolCall, item: str) -> str:
    """Changes nothing."""
    return await _ask(call, item)


@app.tool(effect="keyed", timeout_s=60, key_ttl_s=TEN_YEARS_S, retry=PATIENT, quota=Quota(concurrency=1))
async def pay(call: ToolCall, item: str) -> str:
    """Has an effect, one call at a time."""
    return await _ask(call, item)


@app.tool(effect="keyed", timeout_s=60, key_ttl_s=TEN_YEARS_S, retry=PATIENT, quota=Quota(concurrency=64))
async def book(call: ToolCall, item: str) -> str:
    """Has an effect, many calls at a time."""
    return await _ask(call, item)


async def _word(thread: Thread, event: Event, number: int, word: str) -> str:
    verb, _, rest = word.partition(":")
    item = f"{rest or 'now'}/{event.id}/{number}"
    match verb:
        case "look":
            return f"saw {await look(item=item)}"
        case "pay":
            return f"paid {await pay(item=item)}"
        case "book":
            return f"booked {await book(item=item)}"
        case "both":
            left, right = await gather(look(item=f"{item}l"), book(item=f"{item}r"))
            return f"saw {left} and booked {right}"
        case "drift":
            return f"saw {await look(item=f'{SHELF}/{event.id}')}"
        case "spawn":
            await thread.spawn(f"{thread.id}-{rest}", "it.Go", {"plan": "look:before.golden"})
            return f"began {rest}"
        case "nap":
            await sleep(float(rest))
            return "slept"
        case "wait":
            return f"heard {(await thread.wait_for('it.More'))['text']}"
        case _:
            return f"does not know {verb}"


@app.agent(on="it.Go", awaits=("it.More",))
async def go(thread: Thread, event: Event) -> None:
    """Do what the event says, and tell what came of it and how many runs there were before."""
    count: Any = thread.vars.get("runs", 0)
    told = []
    for number, word in enumerate(event["plan"].split()):
        told.append(await _word(thread, event, number, word))
    thread.vars["runs"] = count + 1
    await thread.reply("; ".join([*told, f"run {count}"]), {"event": event.id})
