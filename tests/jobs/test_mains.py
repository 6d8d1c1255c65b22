# SPDX-License-Identifier: Apache-2.0
"""What the jobs' `main()` do before they submit anything, and what they build of it."""

from __future__ import annotations

from argparse import Namespace
from types import ModuleType
from typing import Any

import pytest

from jobs import catchup, tools

ARGS: Any = Namespace(namespace="ns", bootstrap="b:1", app="a:app")


class Did(list[tuple[Any, ...]]):
    """What a `main()` did, in its order: names of functions, each with what it was given besides the arguments."""

    def patch(self, monkeypatch: pytest.MonkeyPatch, job: ModuleType, answers: dict[str, Any]) -> None:
        for name, answer in answers.items():
            monkeypatch.setattr(job, name, self._noted(name, answer))

    def _noted(self, name: str, answer: Any) -> Any:
        def called(*given: Any, **named: Any) -> Any:
            self.append((name, *[one for one in given if one is not ARGS], *named.values()))
            return answer

        return called

    def execute_async(self, name: str) -> None:
        self.append(("execute", name))


@pytest.fixture
def did() -> Did:
    return Did()


def test_catch_up_begins_only_where_no_copy_runs(did: Did, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the conversation's sinks, and would end the transactions of one that runs: it asks before it is built."""
    questions = ["none_under_way", "alone", "reaches_the_end"]
    did.patch(
        monkeypatch, catchup, {"parse_catch_up": ARGS, "acquaint": None, "build": did, **dict.fromkeys(questions)}
    )
    catchup.main()
    assert [one[0] for one in did] == ["parse_catch_up", "acquaint", *questions, "build", "execute"]
    assert did[-1] == ("execute", "ns.catchup")


@pytest.mark.parametrize("question", ["none_under_way", "alone", "reaches_the_end"])
def test_catch_up_is_not_built_beside_a_copy(question: str, did: Did, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor beside a start that is under way, whose job shows itself a moment later; nor for a part of the journal."""

    def refused(args: Namespace) -> None:
        raise SystemExit(3)

    answers = dict.fromkeys(("acquaint", "none_under_way", "alone", "reaches_the_end"))
    did.patch(monkeypatch, catchup, {"parse_catch_up": ARGS, "build": did, **answers})
    monkeypatch.setattr(catchup, question, refused)
    with pytest.raises(SystemExit):
        catchup.main()
    assert not {"build", "execute"} & {one[0] for one in did}


@pytest.mark.parametrize("allowed", [None, frozenset(), frozenset({"look"})], ids=["no branch", "a branch", "some"])
def test_tools_job_runs_what_the_gate_of_its_namespace_allows(
    allowed: frozenset[str] | None, did: Did, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a branch what was allowed there, elsewhere all: what the marks say is what the graph is built with."""
    answers = {"acquaint": None, "bounds": {0: (0, 7)}, "begun": 5, "gate": allowed, "build": did, "of_start": None}
    did.patch(monkeypatch, tools, {"parse": ARGS, **answers})
    tools.main()
    assert [one for one in did if one[0] == "build"] == [("build", allowed)]
    assert did[-2:] == [("of_start", did, 5), ("execute", "ns.tools")]
