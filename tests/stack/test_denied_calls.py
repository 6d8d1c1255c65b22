# SPDX-License-Identifier: Apache-2.0
"""A call that was refused, and of which the state that a killed tools job goes on from does not know that."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from ops.stack.layout import layout_of
from ops.stack.submit import submit
from tests.stack import chaos
from tests.stack.world import World, fresh, wait_until
from threadlog.queueing import CLOCKS_APART_MS

APART_MS = 10_000  # checkpoints of the tools job: the refusal and the kill lie between two of them


@pytest.mark.chaos
def test_refused_calls_are_not_repeated_after_a_crash(empty: World) -> None:
    """Two agents heard "it did not happen" and have asked under new keys: the old ones, one in flight and one waiting
    by the checkpoint, are not tried again, although the service would take them now."""
    gate, layout = fresh("refused"), layout_of(empty.settings)
    for kind, apart_ms in (("conversation", 200), ("tools", APART_MS)):
        settings = replace(empty.settings, checkpoint_interval_ms=apart_ms)
        submit(settings, layout, settings.app, [kind], print, find=lambda *_: "")
    empty.wait_running()
    time.sleep(2 * CLOCKS_APART_MS / 1000)  # what is asked earlier may be of an earlier process, and is never refused
    events = [empty.go(f"hasty:busy.{gate}") for _ in range(2)]
    wait_until("both have asked anew", lambda: all(empty.lines("arrived", f"now/{e.id}/") for e in events), 120)
    before = empty.attempts()
    empty.kill_host("tools")
    empty.open(gate)
    empty.wait_restarted("tools", before)
    assert all("paid again" in said for said in empty.wait_replied(events))
    empty.wait_replied([empty.go(f"hasty:now.{gate}"), empty.go("pay")])
    paid = [line["item"] for event in events for line in empty.lines("paid", f"/{event.id}/")]
    assert sorted(paid) == sorted(f"now/{event.id}/0" for event in events)
    chaos.check(empty, events)
