# SPDX-License-Identifier: Apache-2.0
"""Laws over arbitrary histories; see `laws` for what each says and `histories` for what may happen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.threadlog.histories import MODES, MOVES, NUMBERS, History, play, some
from tests.threadlog.laws import LAWS
from threadlog.state import dump, new_state

moves = st.lists(st.tuples(st.integers(0, MOVES - 1), st.integers(0, NUMBERS - 1)), max_size=30)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@settings(deadline=None, max_examples=40)
@given(history=moves, mode=st.sampled_from(MODES))
def test_law(law: Any, history: History, mode: str) -> None:
    """It holds for whatever hypothesis comes up with."""
    law(history, mode)


def test_laws_are_tried_on_everything_that_can_happen() -> None:
    """The histories reach every verdict and every end; a law that is never put to the test says nothing."""
    threads = [play(history, mode) for history, mode in some(60)]
    verdicts = {verdict for thread in threads for verdict in thread.verdicts()}
    assert verdicts >= {
        "began", "resumed", "duplicate", "refused", "rejected", "queued", "interrupts", "buffered", "retried",
        "abandoned", "forged", "late", "late_success", "recorded", "asked_again", "gave_up", "stale", "unreadable",
        "chained",
    }  # fmt: skip
    assert {end for thread in threads for end in thread.ends()} == {"finished", "failed", "interrupted", "abandoned"}
    assert {why for thread in threads for why in thread.parked()} == {"LimitError"}
    assert any(entry.snapshot for thread in threads for entry in thread.journal)


def test_new_state_is_empty() -> None:
    """A thread that decided nothing holds nothing."""
    assert {name: value for name, value in dump(new_state("t")).items() if name != "core" and value} == {}
