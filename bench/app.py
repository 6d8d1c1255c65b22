# SPDX-License-Identifier: Apache-2.0
"""The refund desk as the benches run it: the requests of `examples/support_desk`, and tools that never run.

Deadlines are an hour away, because a call that nobody answers in time would be asked again in the middle of a window
that is being measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from threadlog import App, CallError, Event, Retry, Thread, ToolCall, WaitTimeout, gather, sleep

LARGE = 12_000  # cents; from here on the customer is asked first
HOUR_S = 3600
NAP_S = 0.3
MESSAGE, CONFIRMATION = "support_desk.CustomerMessage", "support_desk.Confirmation"

app = App("bench-desk")
_ONCE = Retry(attempts=1)


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


@app.tool(effect="read", timeout_s=HOUR_S, retry=_ONCE)
async def look_up_order(call: ToolCall, order_id: str) -> Order:
    """Answered by the bench."""
    raise NotImplementedError


@app.tool(effect="read", timeout_s=HOUR_S, retry=_ONCE)
async def check_stock(call: ToolCall, sku: str) -> int:
    """Answered by the bench."""
    raise NotImplementedError


@app.tool(effect="keyed", timeout_s=HOUR_S, retry=_ONCE)
async def refund(call: ToolCall, order_id: str, amount: int) -> Receipt:
    """Answered by the bench."""
    raise NotImplementedError


async def _confirmed(thread: Thread, order_id: str, amount: int) -> bool:
    await thread.reply(f"{amount / 100:.2f} for {order_id} is a large refund. Do you confirm?", {"ask": order_id})
    try:
        answer = await thread.wait_for(CONFIRMATION, timeout_s=HOUR_S)
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
    await sleep(NAP_S)
    said = sum(item["role"] == "reply" for item in thread.history(last=20))
    refunded = thread.vars.get("refunded", 0)
    await thread.reply(f"So far: {said} answers, {refunded / 100:.2f} refunded.", {"outcome": "told"})


@app.agent(on=MESSAGE, awaits=(CONFIRMATION,))
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
    except CallError as error:
        await thread.reply(f"That cannot be done: {error.message}", {"outcome": "refused"})
