# SPDX-License-Identifier: Apache-2.0
"""Declared tools: what is refused when the app is loaded, and what is taken for granted."""

from __future__ import annotations

from typing import Any

import pytest

from threadlog import App, ToolCall
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
