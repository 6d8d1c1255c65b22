# SPDX-License-Identifier: Apache-2.0
"""A scripted agent: its decisions are the ground truth of a leaderboard task, which each user turn brings along.

So nothing is left to chance, and what comes out can be compared with the same calls made without threadlog."""

from __future__ import annotations

import asyncio
import json
import os
import weakref
from typing import Any

import aiohttp

from threadlog import App, CallError, Event, Quota, Retry, Retryable, Thread, ToolCall, ToolError

SERVICE_URL = os.environ.get("YARDSTICK_SERVICE_URL", "http://127.0.0.1:21000")
# Patient enough to outlast a service that is being restarted.
PATIENT = Retry(attempts=12, base_s=0.2, max_s=4)

app = App("yardstick")
_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = weakref.WeakKeyDictionary()


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        _sessions[loop] = aiohttp.ClientSession(SERVICE_URL)
    return _sessions[loop]


@app.tool(effect="keyed", timeout_s=5, retry=PATIENT, quota=Quota(concurrency=64))
async def simulate(call: ToolCall, task: str, function: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    """One call of the thread's simulators, its outcome sorted by what it proves.

    409 or no connection: this attempt did not run. 400 or 422: a final no. All else proves nothing and is raised as it
    is, so that the engine asks again under the same key."""
    body = {"task": task, "function": function, "args": args, "kwargs": kwargs}
    headers = {"Idempotency-Key": f'"{call.idempotency_key}"'}
    try:
        async with _session().post(f"/threads/{call.thread}/calls", json=body, headers=headers) as answer:
            if answer.status == 409:
                raise Retryable("an earlier request with this key is in flight")
            said = await answer.json()
            if answer.status in (400, 422):
                raise ToolError(str(said.get("title", answer.status)))
            answer.raise_for_status()
            return str(said["output"])
    except aiohttp.ClientConnectorError as error:
        raise Retryable(f"the service cannot be reached: {error}") from error


@app.agent(on="yardstick.UserTurn")
async def scripted(thread: Thread, event: Event) -> None:
    """Make the turn's calls one after the other, then reply with what they said."""
    outputs = []
    for one in event["calls"]:
        args, kwargs = json.loads(one["args"]), json.loads(one["kwargs"])
        try:
            outputs.append(await simulate(task=event["task"], function=one["function"], args=args, kwargs=kwargs))
        except CallError as error:
            outputs.append(f"{type(error).__name__}: {error}")
    data = {"task": event["task"], "turn": event["turn"], "outputs": outputs}
    await thread.reply(f"{len(outputs)} calls made", data)
