# SPDX-License-Identifier: Apache-2.0
"""What several tests of operators and of their starts share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NoReturn

import pytest

from tests.udfs.around import Around, Ended
from udfs import start_guard
from wire.inputs import Looked
from wire.leases import Found


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Around:
    made = Around()

    def refuse(reason: str, job: str = "conversation") -> NoReturn:
        made.why = f"{job}: {reason}"
        raise Ended

    monkeypatch.setattr(start_guard, "refuse", refuse)
    monkeypatch.setattr(start_guard, "StreamExecutionEnvironment", SimpleNamespace(get_execution_environment=str))
    monkeypatch.setattr(start_guard, "restored_from", lambda env: made.point)
    monkeypatch.setattr(start_guard, "read_marks", lambda *given: made.read())
    monkeypatch.setattr(start_guard, "journal_ends", lambda *given: made.tell(made.journal, "journal"))
    monkeypatch.setattr(start_guard, "living", lambda *given: made.tell(Found(made.place, {0: 9}), "lease"))
    monkeypatch.setattr(
        start_guard, "joined", lambda *given: made.tell(made.joined if given[-1] == {0: 9} else "", "joined")
    )
    monkeypatch.setattr(start_guard, "branch_of", lambda *given: made.tell(made.branch))
    monkeypatch.setattr(start_guard, "write_mark", lambda b, ns, codec, mark: made.written.append(mark))
    monkeypatch.setattr(start_guard, "under_way", lambda bootstrap, namespace, codec, marks: made.under_way(marks))
    monkeypatch.setattr(start_guard, "look", lambda *given: Looked({"agent-events/0": 4}, made.gaps))
    monkeypatch.setattr(start_guard, "without_thread", lambda *given: frozenset({("agent-events", 0, 3)}))
    monkeypatch.setattr(start_guard, "take", made.take)
    return made
