# SPDX-License-Identifier: Apache-2.0
"""What a type checker tells somebody who writes an agent, and what `make lint` tells us.

Every line of an agent below that must be refused says so with `# refused: <error code>`; mypy has to refuse exactly
those lines, with exactly those codes, under `--strict`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PREAMBLE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import assert_type
from threadlog import App, Event, Quota, Retry, Thread, ToolCall, gather, sleep

@dataclass
class Receipt:
    id: str
    amount: int

app = App("desk")

@app.tool(effect="keyed", quota=Quota(concurrency=2), retry=Retry(attempts=3))
async def refund(call: ToolCall, order_id: str, amount: int = 1) -> Receipt:
    return Receipt(call.idempotency_key, amount)

@app.tool(effect="read")
async def names(call: ToolCall, order_id: str) -> list[str] | None:
    return [order_id]

@app.tool(effect="read", blocking=True)
def stock(call: ToolCall, item: str) -> int:
    return len(item)

@app.tool(effect="keyed")
async def forget(call: ToolCall) -> None:
    return None

@app.agent(on="shop.Message", awaits=("shop.Confirmation",))
async def agent(thread: Thread, event: Event) -> None:
"""
AGENTS = {
    "a_call_has_the_return_type_of_its_tool": """
    assert_type(await refund(order_id="o-1", amount=5), Receipt)
    assert_type(await refund("o-1"), Receipt)
    assert_type((await refund(order_id="o-1")).amount, int)
    assert_type(await names(order_id="o-1"), list[str] | None)
    assert_type(await forget(), None)
""",
    "a_blocking_tool_is_awaited_like_any_other": """
    assert_type(await stock(item="tea"), int)
    count: str = await stock(item="tea")  # refused: assignment
""",
    "a_wrong_argument_is_refused": """
    await refund(order="o-1")  # refused: call-arg
    await refund(order_id=1)  # refused: arg-type
    await refund(order_id="o-1", amount="5")  # refused: arg-type
    await refund()  # refused: call-arg
    await refund("o-1", 5, 6)  # refused: call-arg
    await refund(call=None, order_id="o-1")  # refused: call-arg
""",
    "a_result_is_not_taken_for_something_else": """
    receipt = await refund(order_id="o-1")
    receipt["id"]  # refused: index
    receipt.order  # refused: attr-defined
    text: str = await refund(order_id="o-1")  # refused: assignment
    len(await names(order_id="o-1"))  # refused: arg-type
""",
    "a_forgotten_await_is_refused": """
    refund(order_id="o-1")  # refused: unused-awaitable
    sleep(5)  # refused: unused-awaitable
    thread.reply("done")  # refused: unused-awaitable
    thread.wait_for("shop.Confirmation")  # refused: unused-awaitable
    gather(refund(order_id="o-1"), sleep(1))  # refused: unused-awaitable
    receipt: Receipt = refund(order_id="o-1")  # refused: assignment
    refund(order_id="o-1").amount  # refused: attr-defined
""",
    "gather_keeps_the_type_of_every_branch": """
    assert_type(await gather(refund("o-1")), tuple[Receipt])
    assert_type(await gather(refund("o-1"), stock("tea")), tuple[Receipt, int])
    assert_type(await gather(refund("o-1"), stock("tea"), sleep(1)), tuple[Receipt, int, None])
    four = await gather(refund("1"), stock("a"), names("1"), forget())
    assert_type(four, tuple[Receipt, int, list[str] | None, None])
    assert_type(await gather(*[refund(order) for order in ("o-1", "o-2")]), tuple[Receipt, ...])
    nested = await gather(gather(stock("a"), names("1")), thread.wait_for("shop.Confirmation"))
    assert_type(nested, tuple[tuple[int, list[str] | None], Event])
    first: str = (await gather(stock("a"), refund("o-1")))[0]  # refused: assignment
    gathered = await gather(stock("a"), 5)  # refused: call-overload
""",
    "gather_says_when_errors_are_results": """
    both = await gather(refund("o-1"), stock("tea"), return_exceptions=True)
    assert_type(both, tuple[Receipt | BaseException, int | BaseException])
    assert_type(await gather(stock("a"), return_exceptions=True), tuple[int | BaseException])
    assert_type(await gather(*[stock("a")], return_exceptions=True), tuple[int | BaseException, ...])
    both[0].amount  # refused: union-attr
""",
    "sleep_reply_and_spawn_give_nothing": """
    assert_type(await sleep(0.5), None)
    assert_type(await thread.reply("done", {"id": 1}), None)
    assert_type(await thread.spawn("t-2", "shop.Message", {}), None)
    await sleep("5")  # refused: arg-type
    await thread.reply(5)  # refused: arg-type
    await thread.spawn("t-2", "shop.Message")  # refused: call-arg
""",
    "wait_for_gives_an_event": """
    confirmed = await thread.wait_for("shop.Confirmation", timeout_s=60)
    assert_type(confirmed, Event)
    assert_type(confirmed.time_ms, int)
    await thread.wait_for("shop.Confirmation", timeout="60")  # refused: call-arg
    await thread.wait_for(5)  # refused: arg-type
""",
    "a_branch_of_our_own_is_a_coroutine": """
    async def pay_twice(order: str) -> int:
        first, second = await gather(refund(order, 1), refund(order, 2))
        return first.amount + second.amount
    assert_type(await gather(pay_twice("o-1"), stock("a")), tuple[int, int])
    pay_twice("o-1")  # refused: unused-coroutine
""",
}
DECLARATIONS = """

@app.tool(effect="write")  # refused: arg-type
async def unknown_effect(call: ToolCall) -> None: ...

@app.tool(effect="keyed")  # refused: arg-type
async def no_call(order_id: str) -> None: ...

@app.agent(on="shop.Order")  # refused: arg-type
async def no_event(thread: Thread) -> None: ...

@app.agent(on="shop.Order", while_running="cancel")  # refused: arg-type
async def unknown_policy(thread: Thread, event: Event) -> None: ...
"""


def mypy(*arguments: str) -> str:
    """What mypy prints; its cache stays between runs."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


TEXTS = {name: PREAMBLE + body for name, body in AGENTS.items()}
TEXTS["declarations"] = PREAMBLE + "    return\n" + DECLARATIONS


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
    """What mypy refuses: file name → line → code. All agents in one run."""
    folder = tmp_path_factory.mktemp("agents")
    for name, text in TEXTS.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    strict = ("--config-file=", "--strict", "--enable-error-code=unused-awaitable")
    said = mypy(*strict, f"--cache-dir={ROOT / '.build' / 'mypy-agents'}", *(str(path) for path in folder.glob("*.py")))
    found: dict[str, dict[int, str]] = {name: {} for name in TEXTS}
    for path, line, code in re.findall(r"^(.+?):(\d+): error: .*\[([a-z-]+)\]$", said, re.MULTILINE):
        found.setdefault(Path(path).stem, {})[int(line)] = code
    return found


@pytest.mark.parametrize("name", TEXTS)
def test_types_of_an_agent(name: str, refused: dict[str, dict[int, str]]) -> None:
    """`--strict` refuses the marked lines of an agent and no other."""
    lines = enumerate(TEXTS[name].split("\n"), 1)
    marked = {n: match[1] for n, line in lines if (match := re.search(r"# refused: ([a-z-]+)$", line))}
    assert refused[name] == marked


def test_types_are_those_of_the_package(refused: dict[str, dict[int, str]]) -> None:
    """Nothing is refused outside the agents: the package's own annotations are what they were held against."""
    assert set(refused) == set(TEXTS)


def test_types_of_the_tree() -> None:
    """mypy, as setup.cfg has it, finds nothing."""
    assert mypy().splitlines() == []


@pytest.mark.parametrize("command", [("check", "--output-format=concise", "--quiet"), ("format", "--check", "--quiet")])
def test_types_ruff_finds_nothing(command: tuple[str, ...]) -> None:
    """The tree follows the rules of pyproject.toml and is formatted."""
    ruff = [sys.executable, "-m", "ruff", *command, "."]
    said = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")
