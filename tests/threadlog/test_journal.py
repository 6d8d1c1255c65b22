# SPDX-License-Identifier: Apache-2.0
"""What lasts: keys, and the chain that a reader of the journal sees."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from tests.threadlog.desk import app_of, desk, refund
from threadlog.engine import apply
from threadlog.following import Head, judge
from threadlog.inputs import Input
from threadlog.state import new_state


@pytest.mark.parametrize("tenant", ["a\nb", "ü" * 9, "x" * 300, "\ud800", ""])
def test_quota_key_fits_header_and_key_whatever_the_tenant(tenant: str) -> None:
    """An ask that its own header made unreadable would never be answered."""
    thread = desk(refund)
    tool = dataclasses.replace(thread.app.tools["look"], tenant=lambda args: tenant)
    thread.app.tools["look"] = tool
    thread.send(order="o")
    [key] = [call["quota_key"] for call in thread.calls()]
    assert key.startswith("look") and key.isascii() and key.isprintable() and len(key) <= 300


def test_journal_reader_sees_repeats_forks_and_flipped_bits() -> None:
    """An equal head is a repeat; anything that does not continue it, or does not carry its own hash, is void."""
    thread = desk(refund)
    thread.send(order="o")
    thread.answer({"total": 1})
    first, second = thread.journal
    limits = thread.limits
    _, state = apply(new_state("t"), first, limits)
    assert apply(state, first, limits)[0] == "repeat"
    assert apply(new_state("t"), second, limits)[0] == "void"
    assert apply(state, msgspec.structs.replace(second, effects="[]"), limits)[0] == "void"
    assert apply(state, second, limits)[0] == "applied"


@pytest.mark.parametrize("changed", [{"effects": "[]"}, {"reason": "because"}, {"snapshot": "{}"}, {"time_ms": 9}])
def test_journal_reader_takes_no_changed_entry_for_a_repeat(changed: dict[str, Any]) -> None:
    """What has the head's number and hash, and another content, is damage, and is told as such."""
    thread = desk(refund)
    thread.send(order="o")
    [first] = thread.journal
    damaged = msgspec.structs.replace(first, **changed)
    head = Head(first.seq, first.hash)
    assert judge(first, "t", head) == ("repeat", "")
    assert judge(damaged, "t", head) == ("void", "wrong hash: seq 1 was changed after it was written")


GOLDEN = ("cb5d7d39a6f297aeb32c4bbbcb178d9a", "a114cda02cfc0c2442d6f52fec4d5bb86e9221eb")


def test_keys_are_stable_for_ever() -> None:
    """Golden: a change here would ask for every open call again under a new key."""
    thread = desk(refund)
    thread.take(Input("event", "t", "agent-events", 0, 0, 5, 5, "/s", "e", "t.Go", {"order": "o"}, 1, b"v"))
    call = thread.calls()[0]
    assert (call["run_id"], call["call_id"]) == GOLDEN


def test_app_refuses_two_agents_on_one_type() -> None:
    """An event has one handler; the mistake is told when the app is loaded."""
    app = app_of(refund)
    with pytest.raises(Exception, match="an event has one handler"):
        app.agent(on="t.Go", name="other")(refund)
