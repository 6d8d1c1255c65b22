# SPDX-License-Identifier: Apache-2.0
"""The refund desk's agent, driven by the engine with recorded results; and how its tools sort what the service says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponseError, web

from examples.support_desk import app as desk_app
from tests.threadlog.desk import Desk
from threadlog import Retryable, ToolCall, ToolError

MESSAGE, CONFIRMATION = "support_desk.CustomerMessage", "support_desk.Confirmation"
ORDER = {"order_id": "o-1", "total": 5_000, "sku": "sku-1", "status": "delivered"}
RECEIPT = {"refund_id": "rf-1", "order_id": "o-1", "amount": 5_000}


@pytest.fixture(params=[0, 8], ids=["executed again", "kept alive"])
def desk(request: pytest.FixtureRequest) -> Desk:
    """A thread of the desk, its handler executed again at each step, and kept alive."""
    found = Desk(desk_app.app)
    found.cache.runs_max = request.param
    return found


def ask(desk: Desk, **data: Any) -> None:
    """A customer's message."""
    desk.send(MESSAGE, **{"text": "", "intent": "refund", "order_id": "o-1", "amount": 5_000, "sku": "sku-1", **data})


def look_up(desk: Desk, amount: int = 5_000) -> None:
    """Order and stock are answered."""
    desk.answer({**ORDER, "total": amount})
    desk.answer(7)


def confirm(desk: Desk, approved: bool = True, order_id: str = "o-1") -> None:
    """A customer's answer to whether he means it."""
    desk.send(CONFIRMATION, order_id=order_id, approved=approved, text="")


def asked(desk: Desk) -> list[tuple[str, str, Any]]:
    """The open calls: tool, effect and arguments."""
    return [(call["tool"], call["effect"], json.loads(call["args"])) for call in desk.calls()]


def outcomes(desk: Desk) -> list[Any]:
    return [(json.loads(reply["data"]) or {}).get("outcome") for reply in desk.effects("reply")]


REFUND = ("refund", "keyed", {"order_id": "o-1", "amount": 5_000})


def test_desk_looks_up_before_it_pays(desk: Desk) -> None:
    """Order and stock are read at once, only then the keyed refund is asked; the customer hears of its receipt."""
    ask(desk)
    assert asked(desk) == [
        ("look_up_order", "read", {"order_id": "o-1"}),
        ("check_stock", "read", {"sku": "sku-1"}),
    ]
    look_up(desk)
    assert asked(desk) == [REFUND]
    desk.answer(RECEIPT)
    assert desk.replies() == ["Refunded 50.00 for o-1; 7 of sku-1 are left if you want another."]
    assert outcomes(desk) == ["refunded"]
    assert desk.ends() == ["finished"]
    assert desk.rebuilt().small == desk.state.small


def test_desk_answers_plain_words(desk: Desk) -> None:
    """Whoever tries it with `threadlog send THREAD TEXT` hears what it reads; nothing is asked for."""
    desk.send("threadlog.Message", text="hello", data="{}")
    assert [MESSAGE in reply for reply in desk.replies()] == [True]
    assert (asked(desk), desk.ends()) == ([], ["finished"])


def test_desk_asks_before_a_large_refund(desk: Desk) -> None:
    """From LARGE on nothing is paid until the customer says yes to this very order."""
    ask(desk, amount=desk_app.LARGE)
    look_up(desk, desk_app.LARGE)
    assert asked(desk) == []
    assert "Do you confirm?" in desk.replies()[0]
    confirm(desk)
    assert asked(desk) == [("refund", "keyed", {"order_id": "o-1", "amount": desk_app.LARGE})]


NO: dict[str, Callable[[Desk], Any]] = {
    "no": lambda desk: confirm(desk, approved=False),
    "yes to another order": lambda desk: confirm(desk, order_id="o-2"),
    "silence": Desk.fire,
}


@pytest.mark.parametrize("answer", NO)
def test_desk_pays_nothing_large_without_a_yes(desk: Desk, answer: str) -> None:
    """A no, a yes to something else and silence end the same way: without a refund."""
    ask(desk, amount=desk_app.LARGE)
    look_up(desk, desk_app.LARGE)
    NO[answer](desk)
    assert desk.replies()[1:] == ["I leave o-1 as it is."]
    assert outcomes(desk)[1:] == ["not confirmed"]
    assert [effect["tool"] for effect in desk.effects("call")] == ["look_up_order", "check_stock"]


def test_desk_takes_a_confirmation_that_came_early(desk: Desk) -> None:
    """An answer that overtook the question waits for it."""
    ask(desk, amount=desk_app.LARGE)
    confirm(desk)
    look_up(desk, desk_app.LARGE)
    assert [tool for tool, _, _ in asked(desk)] == ["refund"]


def test_desk_says_no_when_the_service_does(desk: Desk) -> None:
    """A final no is told to the customer with its reason, and the desk is ready for the next message."""
    ask(desk)
    look_up(desk)
    desk.answer(status="failed", error_message="more than was paid for this order")
    assert desk.replies() == ["That cannot be done: more than was paid for this order"]
    assert (outcomes(desk), desk.ends()) == (["refused"], ["finished"])


def test_desk_asks_nothing_again_when_in_doubt(desk: Desk) -> None:
    """A refund of unknown end is never asked under another key: the customer is told that a person looks."""
    ask(desk)
    look_up(desk)
    call_id = desk.calls()[0]["call_id"]
    desk.answer(status="in_doubt")
    assert "I do not know whether that refund went out" in desk.replies()[0]
    assert json.loads(desk.effects("reply")[0]["data"]) == {"call": call_id}
    assert asked(desk) == []


def test_desk_handles_a_second_message_after_the_first(desk: Desk) -> None:
    """What comes while a refund is under way waits, and is answered with that refund in mind."""
    ask(desk)
    look_up(desk)
    ask(desk, intent="status")
    ask(desk, intent="stock", sku="sku-2")
    assert desk.verdicts()[-2:] == ["queued", "queued"]
    assert asked(desk) == [REFUND]
    desk.answer(RECEIPT)
    desk.fire()
    desk.answer(3)
    assert desk.replies()[1:] == ["So far: 1 answers, 50.00 refunded.", "3 pieces."]
    assert desk.ends() == ["finished"] * 3


def test_desk_takes_a_duplicate_for_one(desk: Desk) -> None:
    """The same message twice asks for one refund."""
    for _ in range(2):
        desk.send(MESSAGE, id="m1", text="", intent="refund", order_id="o-1", amount=5_000, sku="sku-1")
    look_up(desk)
    assert desk.verdicts() == ["began", "duplicate", "resumed", "resumed"]
    assert asked(desk) == [REFUND]


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def pay(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> tuple[Any, list[Any]]:
    """Run the tool once against a service that answers so; its value or error, and the keys that the service saw."""
    keys: list[Any] = []

    async def refunds(request: web.Request) -> web.StreamResponse:
        keys.append(request.headers.get("Idempotency-Key"))
        return await answer(request)

    async def once() -> Any:
        app = web.Application()
        app.add_routes([web.post("/refunds", refunds)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        monkeypatch.setattr(desk_app, "PAYMENTS_URL", site.name)
        call = ToolCall("k1", "t", "refund", 1, "", 0)
        try:
            return await desk_app.refund.invoke(call, {"order_id": "o-1", "amount": 5_000})  # type: ignore[misc]
        except Exception as error:
            return error
        finally:
            await desk_app._session().close()
            await runner.cleanup()

    return asyncio.run(once()), keys


def says(status: int, body: Any = None, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body or {"title": "so it is"}, status=status, headers=headers)

    return answer


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def test_desk_refund_carries_the_key_of_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is given the call's key as a quoted string, and its receipt is the result."""
    assert pay(monkeypatch, says(200, RECEIPT)) == (desk_app.Receipt(**RECEIPT), ['"k1"'])


@pytest.mark.parametrize("status", [409, 429])
def test_desk_refund_that_was_turned_away_did_not_run(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """A conflict or a full service proves that this attempt paid nothing; its pause is kept."""
    error, _ = pay(monkeypatch, says(status, **{"Retry-After": "3"}))
    assert isinstance(error, Retryable) and error.after_s == 3


@pytest.mark.parametrize(("status", "definite"), [(402, True), (400, False), (404, False), (422, False)])
def test_desk_refund_that_was_refused_has_failed(monkeypatch: pytest.MonkeyPatch, status: int, definite: bool) -> None:
    """A final no is an error of the application; only 402 is also about the attempts before it."""
    error, _ = pay(monkeypatch, says(status))
    assert isinstance(error, ToolError) and (str(error), error.definite) == ("so it is", definite)


def test_desk_refund_that_got_no_answer_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server error and a lost connection are no refusal: the attempt has an unknown end."""
    for answer in (says(500), says(503), hang_up):
        error, _ = pay(monkeypatch, answer)
        assert isinstance(error, Exception) and not isinstance(error, Retryable | ToolError)
    assert isinstance(pay(monkeypatch, says(500))[0], ClientResponseError)


def test_desk_refund_without_a_service_did_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens: nothing was paid."""

    async def once() -> Any:
        monkeypatch.setattr(desk_app, "PAYMENTS_URL", "http://127.0.0.1:9")
        try:
            await desk_app.refund.invoke(ToolCall("k1", "t", "refund", 1, "", 0), {"order_id": "o-1", "amount": 1})  # type: ignore[misc]
        except Exception as error:
            return error
        finally:
            await desk_app._session().close()

    assert isinstance(asyncio.run(once()), Retryable)
