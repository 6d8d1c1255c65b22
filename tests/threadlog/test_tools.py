# SPDX-License-Identifier: Apache-2.0
"""Declared tools: what is refused when the app is loaded, and what is taken for granted."""

from __future__ import annotations

from typing import Any

import pytest

from threadlog import App, Event, Retry, Thread, ToolCall
from threadlog.errors import AppError


async def waits(call: ToolCall) -> int:
    return 1


def blocks(call: ToolCall) -> int:
    return 1


def declared(fn: Any, effect: Any = "keyed", **options: Any) -> Any:
    return App("test").tool(effect, **options)(fn)


@pytest.mark.parametrize("key_ttl_s", [0, 1, 60])
def test_tool_whose_key_dies_before_an_attempt_is_refused(key_ttl_s: float) -> None:
    """It would never be tried and always be in doubt; a read has no key to honour."""
    with pytest.raises(AppError, match="key_ttl_s"):
        declared(waits, key_ttl_s=key_ttl_s)
    assert declared(waits, key_ttl_s=60.1).key_ttl_s == 60.1
    if key_ttl_s:
        assert declared(waits, "read", key_ttl_s=key_ttl_s).key_ttl_s == key_ttl_s


def test_tool_that_is_no_async_function_blocks_unless_it_says_otherwise() -> None:
    """A plain function on the loop would stall every other call of its process."""
    assert [declared(waits).blocking, declared(blocks).blocking] == [False, True]
    assert declared(blocks, blocking=False).blocking is False


def test_tool_that_is_async_and_blocking_is_refused() -> None:
    """Its body would run on the loop, whatever its author believes."""
    with pytest.raises(AppError, match="plain 'def'"):
        declared(waits, blocking=True)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e17, -1.0])
@pytest.mark.parametrize("name", ["key_ttl_s", "timeout_s", "max_s"])
def test_tool_with_a_time_that_no_timer_can_have_is_refused(name: str, value: float) -> None:
    """When the app is loaded, and not at the first call, again and again."""
    with pytest.raises(AppError, match=name):
        declared(waits, retry=Retry(max_s=value)) if name == "max_s" else declared(waits, **{name: value})


def test_agent_version_must_fit_its_field() -> None:
    """The journal holds it in 32 bits."""

    async def handler(thread: Thread, event: Event) -> None: ...

    with pytest.raises(AppError, match="version"):
        App("test").agent(on="t.Go", version=2**31)(handler)
