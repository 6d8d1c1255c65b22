# SPDX-License-Identifier: Apache-2.0
"""The refund desk: an agent that looks orders up, refunds them, asks before large refunds, and never pays twice.

What makes the last point true is the pair of `effect="keyed"` here and the Idempotency-Key there: a call keeps its key
through every crash and retry, and the payment service pays a key once. A handler holds no I/O; that is the tools' part.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from dataclasses import dataclass
from typing import Any

import aiohttp

from threadlog import (
    App,
    CallError,
    Event,
    InDoubt,
    Quota,
    Retry,
    Retryable,
    Thread,
    ToolCall,
    ToolError,
    WaitTimeout,
    gather,
    sleep,
)

PAYMENTS_URL = os.environ.get("SUPPORT_DESK_PAYMENTS_URL", "http://127.0.0.1:19090")
LARGE = 12_000  # cents; from here on the customer is asked first
CONFIRM_S = 12

app = App("support-desk")
_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = weakref.WeakKeyDictionary()
# Patient enough to outlast a payment service that is being restarted.
PATIENT = Retry(attempts=10, base_s=0.2, max_s=4)


@dataclass(frozen=True)
class Order:
    """An order of the shop; `total` in cents."""

    order_id: str
    total: int
    sku: str
    status: str


@dataclass(frozen=True)
class Receipt:
    """The proof of a refund; `amount` in cents."""

    refund_id: str
    order_id: str
    amount: int


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        _sessions[loop] = aiohttp.ClientSession(PAYMENTS_URL)
    return _sessions[loop]


async def _ask(method: str, path: str, body: Any = None, key: str = "") -> Any:
    """One HTTP request, its outcome sorted by what it proves about the payment.

    Refused or 429 or 409: this attempt did not run. 402, 404, 422: a final no. All else proves nothing and is raised
    as it is, so that the engine asks again under the same key."""
    headers = {"Idempotency-Key": f'"{key}"'} if key else {}
    try:
        async with _session().request(method, path, json=body, headers=headers) as answer:
            if answer.status in (409, 429):
                after_s = _seconds(answer.headers.get("Retry-After", ""))
                raise Retryable(f"{answer.status} from the payment service", after_s=after_s)
            said = await answer.json()
            if answer.status in (400, 402, 404, 422):
                raise ToolError(str(said.get("title", answer.status)), definite=answer.status == 402)
            answer.raise_for_status()
            return said
    except aiohttp.ClientConnectorError as error:
        raise Retryable(f"the payment service cannot be reached: {error}") from error


def _seconds(after: str) -> float | None:
    """What a Retry-After says: seconds, or a date, which is left to the backoff."""
    return float(after) if after.isdecimal() else None


@app.tool(effect="read", timeout_s=5, retry=PATIENT)
async def look_up_order(call: ToolCall, order_id: str) -> Order:
    """The order as the shop knows it."""
    return Order(**await _ask("GET", f"/orders/{order_id}"))


@app.tool(effect="read", timeout_s=5, retry=PATIENT)
async def check_stock(call: ToolCall, sku: str) -> int:
    """How many pieces are left."""
    return int((await _ask("GET", f"/stock/{sku}"))["left"])


@app.tool(effect="keyed", timeout_s=8, retry=PATIENT, quota=Quota(rate_per_s=100, concurrency=24))
async def refund(call: ToolCall, order_id: str, amount: int) -> Receipt:
    """Pay `amount` cents back. The service pays once per idempotency key."""
    body = {"order_id": order_id, "amount": amount}
    return Receipt(**await _ask("POST", "/refunds", body, call.idempotency_key))


async def _confirmed(thread: Thread, order_id: str, amount: int) -> bool:
    await thread.reply(f"{amount / 100:.2f} for {order_id} is a large refund. Do you confirm?", {"ask": order_id})
    try:
        answer = await thread.wait_for("support_desk.Confirmation", timeout_s=CONFIRM_S)
    except WaitTimeout:
        return False
    return bool(answer["approved"]) and answer["order_id"] == order_id


async def _refund(thread: Thread, order_id: str, amount: int, sku: str) -> None:
    order, left = await gather(look_up_order(order_id=order_id), check_stock(sku=sku))
    if amount >= LARGE and not await _confirmed(thread, order_id, amount):
        await thread.reply(f"I leave {order_id} as it is.", {"outcome": "not confirmed"})
        return
    receipt = await refund(order_id=order.order_id, amount=amount)
    thread.vars["refunded"] = thread.vars.get("refunded", 0) + receipt.amount
    await thread.reply(
        f"Refunded {receipt.amount / 100:.2f} for {order_id}; {left} of {sku} are left if you want another.",
        {"outcome": "refunded", "refund_id": receipt.refund_id},
    )


async def _status(thread: Thread) -> None:
    await sleep(0.3)
    said = sum(item["role"] == "reply" for item in thread.history(last=20))
    refunded = thread.vars.get("refunded", 0)
    await thread.reply(f"So far: {said} answers, {refunded / 100:.2f} refunded.", {"outcome": "told"})


@app.agent(on="support_desk.CustomerMessage", awaits=("support_desk.Confirmation",))
async def support(thread: Thread, event: Event) -> None:
    """Handle one message of a customer; further ones wait their turn."""
    thread.vars["messages"] = thread.vars.get("messages", 0) + 1
    try:
        if event["intent"] == "refund":
            await _refund(thread, event["order_id"], event["amount"], event["sku"])
        elif event["intent"] == "stock":
            await thread.reply(f"{await check_stock(sku=event['sku'])} pieces.", {"outcome": "told"})
        else:
            await _status(thread)
    except InDoubt as error:
        await thread.reply("I do not know whether that refund went out; a colleague looks.", {"call": error.call_id})
    except CallError as error:
        await thread.reply(f"That cannot be done: {error.message}", {"outcome": "refused"})


@app.agent(on="threadlog.Message")
async def greet(thread: Thread, event: Event) -> None:
    """Say what the desk reads: plain words (`threadlog send THREAD TEXT`) are not among it."""
    await thread.reply("This is the refund desk. Its messages are support_desk.CustomerMessage, not plain words.")
