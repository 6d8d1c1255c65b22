# SPDX-License-Identifier: Apache-2.0
"""The app of the benches that need the tools job as well: tools that wait, agents that do as they are told."""

from __future__ import annotations

import asyncio

from threadlog import App, Event, Quota, Retry, Thread, ToolCall

ASK, MORE = "threadlog.Message", "threadlog.Note"

app = App("bench-live")
_MANY, _ONCE = Quota(concurrency=50_000), Retry(attempts=1)


@app.tool(effect="read", quota=_MANY, timeout_s=300, retry=_ONCE)
async def look(call: ToolCall, seconds: float) -> str:
    """A look-up that takes so long."""
    await asyncio.sleep(seconds)
    return "found"


@app.tool(effect="keyed", quota=_MANY, timeout_s=60, retry=_ONCE)
async def act(call: ToolCall, seconds: float) -> str:
    """An effect that takes so long."""
    await asyncio.sleep(seconds)
    return "done"


@app.agent(on=ASK, awaits=(MORE,))
async def agent(thread: Thread, event: Event) -> None:
    """`say`; `look:SECONDS`; `act:SECONDS`; `listen`, which takes every further note in one endless run."""
    what, _, rest = event["text"].partition(":")
    if what == "look":
        await look(seconds=float(rest))
    elif what == "act":
        await act(seconds=float(rest))
    while what == "listen":
        await thread.wait_for(MORE)
        await thread.reply("Noted.")
    await thread.reply("Done.")
