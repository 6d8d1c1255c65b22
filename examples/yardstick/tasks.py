# SPDX-License-Identifier: Apache-2.0
"""The tasks as the leaderboard's package holds them. Their calls are Python source: read, never evaluated.

Standard library only: this module also runs in the leaderboard's own environment."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASKS = Path("data") / "BFCL_v4_multi_turn_base.json"
TRUTH = Path("data") / "possible_answer" / "BFCL_v4_multi_turn_base.json"


class BadCall(ValueError):
    """A call that is no plain name with literal arguments, or whose arguments would not survive JSON."""


@dataclass(frozen=True)
class Call:
    """One call of a simulator's function."""

    function: str
    args: list[Any]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What the user says and what is to be called for it."""

    text: str
    calls: list[Call]


@dataclass(frozen=True)
class Task:
    """One task: `classes` names the simulators it uses, `config` is what each of them begins with."""

    id: str
    classes: list[str]
    config: dict[str, Any]
    turns: list[Turn]

    @property
    def calls(self) -> list[Call]:
        """The calls of all turns, in order."""
        return [call for turn in self.turns for call in turn.calls]


def parse(source: str) -> Call:
    """`mv(source='a', destination='b')` as a Call. Raises BadCall."""
    try:
        node = ast.parse(source, mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise BadCall(f"{source!r} is no call of a plain name")
        if any(keyword.arg is None for keyword in node.keywords):
            raise BadCall(f"{source!r} unpacks its arguments")
        args = [ast.literal_eval(arg) for arg in node.args]
        kwargs = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    except (SyntaxError, ValueError) as error:
        raise BadCall(f"{source!r}: {error}") from error
    if repr(json.loads(json.dumps([args, kwargs]))) != repr([args, kwargs]):
        raise BadCall(f"{source!r} has arguments that JSON would change")
    return Call(node.func.id, args, kwargs)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def load(package: Path) -> list[Task]:
    """Every task with its ground truth, in the package's order. Raises BadCall."""
    truth = {one["id"]: one["ground_truth"] for one in _lines(package / TRUTH)}
    found = []
    for one in _lines(package / TASKS):
        texts = ["\n".join(message["content"] for message in turn) for turn in one["question"]]
        calls = [[parse(source) for source in turn] for turn in truth[one["id"]]]
        turns = [Turn(text, made) for text, made in zip(texts, calls, strict=True)]
        found.append(Task(one["id"], one["involved_classes"], one["initial_config"], turns))
    return found
