# SPDX-License-Identifier: Apache-2.0
"""The app under test. An event says what its run shall do, word by word: `"look pay:after.g1 nap:2 wait"`.

It is copied to a folder of its own before it is submitted, so that a test can change the code of a running stack."""

from __future__ import annotations

import asyncio
import os
import uuid
import weakref
from typing import Any

import aiohttp

from threadlog import (
    App,
    CallError,
    Event,
    Quota,
    Retry,
    Retryable,
    Thread,
    ToolCall,
    ToolError,
    ToolFailed,
    ToolRefused,
    gather,
    sleep,
)

SERVICE_URL = os.environ.get("IT_SERVICE_URL", "http://127.0.0.1:22000")
PATIENT = Retry(attempts=200, base_s=0.1, max_s=0.5)

SHELF = "now"  # where `drift` looks; tests change it

app = App("it")
_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = weakref.WeakKeyDictionary()
# Names a reactor: within its life no call has a second attempt but for what the service or a time-out has done.
_lives: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, str] = weakref.WeakKeyDictionary()


async def _ask(call: ToolCall, item: str) -> str:
    """One request. 503: turned away. 404: a final no, but no proof about an attempt before. A cut line: unknown."""
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        _sessions[loop] = aiohttp.ClientSession(SERVICE_URL, connector=aiohttp.TCPConnector(limit=0))
    life = _lives.setdefault(loop, uuid.uuid4().hex)
    body = {"item": item, "thread": call.thread, "life": life}
    async with _sessions[loop].post(
        f"/{call.tool}", json=body, headers={"Idempotency-Key": call.idempotency_key}
    ) as said:
        if said.status == 503:
            raise Retryable("busy")
        if said.status == 404:
            raise ToolError("no")
        said.raise_for_status()
        return await said.text()


@app.tool(effect="read", timeout_s=60, retry=PATIENT)
async def look(call: ToolCall, item: str) -> str:
    """Changes nothing."""
    return await _ask(call, item)


@app.tool(effect="keyed", timeout_s=60, retry=PATIENT, quota=Quota(concurrency=64))
async def pay(call: ToolCall, item: str) -> str:
    """Has an effect, once per key."""
    return await _ask(call, item)


@app.tool(effect="keyed", timeout_s=60, retry=PATIENT, quota=Quota(concurrency=1))
async def queue(call: ToolCall, item: str) -> str:
    """Has an effect, one call at a time."""
    return await _ask(call, item)


@app.tool(effect="keyed", timeout_s=60, retry=Retry(attempts=8, base_s=0.5, max_s=1.0), quota=Quota(concurrency=1))
async def hasty(call: ToolCall, item: str) -> str:
    """Has an effect; gives up after a while where it is turned away."""
    return await _ask(call, item)


async def _call(thread: Thread, tool: Any, item: str) -> str:
    try:
        return f"paid {await tool(item=item)}"
    except ToolFailed:  # believes that nothing happened, and asks again: paid twice wherever that is wrong
        return f"paid again {await tool(item=item)}"
    except CallError as error:
        return type(error).__name__


async def _word(thread: Thread, event: Event, number: int, word: str) -> str:
    verb, _, rest = word.partition(":")
    item = f"{rest or 'now'}/{event.id}/{number}"
    match verb:
        case "look":
            return f"saw {await look(item=item)}"
        case "drift":
            return f"saw {await look(item=f'{SHELF}/{event.id}')}"
        case "pay" | "queue":
            return await _call(thread, pay if verb == "pay" else queue, item)
        case "hasty":  # believes that nothing happened, and asks under a new key
            try:
                return f"paid {await hasty(item=item)}"
            except ToolRefused:
                return f"paid again {await pay(item=f'now/{event.id}/{number}')}"
        case "stamp":  # decided again at another time, it asks for something else
            return await _call(thread, pay, f"{item}@{thread.now_ms}")
        case "both":
            left, right = await gather(pay(item=f"{item}l"), pay(item=f"{item}r"))
            return f"paid {left} and {right}"
        case "spawn":  # the same child for all runs of a thread
            await thread.spawn(f"{thread.id}-child", "it.Go", {"plan": rest or "pay"})
            return "began another"
        case "nap":
            await sleep(float(rest))
            return "slept"
        case "wait":
            return f"heard {(await thread.wait_for('it.More', timeout_s=600))['text']}"
        case _:
            return f"does not know {verb}"


@app.agent(on="it.Ticket")
async def ticket(thread: Thread, event: Event) -> None:
    """Tell a field that not every event has."""
    await thread.reply(f"urgent: {event.get('urgent', 'not said')}")


@app.agent(on="it.Go", awaits=("it.More",))
async def go(thread: Thread, event: Event) -> None:
    """Do what the event says, and tell what came of it."""
    told = []
    for number, word in enumerate(event["plan"].split()):
        told.append(await _word(thread, event, number, word))
    await thread.reply("; ".join(told), {"event": event.id})
