# SPDX-License-Identifier: Apache-2.0
"""The runbook holds nothing that no test executes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.runbook import DOCUMENT, Block, Step, recipes

STACK = Path(__file__).resolve().parents[1] / "stack"
EXECUTING = ("test_runbook.py", "test_golden_savepoints.py", "test_start.py", "test_restore.py")
RECIPES = recipes(DOCUMENT.read_text("utf-8"))
BLOCKS = [(recipe, number, block) for recipe, blocks in RECIPES.items() for number, block in enumerate(blocks)]


def run_calls() -> set[tuple[str, int]]:
    """(recipe, number) of each `….run(RECIPE, number…)` in a test; recipes are named by the constants of its file."""
    found = set()
    for file in EXECUTING:
        text = (STACK / file).read_text("utf-8")
        names = dict(re.findall(r'\b([A-Z]+)(?:, [A-Z]+)? = "([^"]+)"', text))
        for pair in re.findall(r'^([A-Z]+), ([A-Z]+) = "([^"]+)", "([^"]+)"$', text, re.MULTILINE):
            names |= {pair[0]: pair[2], pair[1]: pair[3]}
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        for node in (one for test in functions if test.name.startswith("test_") for one in ast.walk(test)):
            match node:
                case ast.Call(ast.Attribute(attr="run"), [ast.Name(name), ast.Constant(int(number)), *_]):
                    found.add((names[name], number))
    return found


def test_runbook_has_recipes_for_all_that_may_be_done_to_a_running_stack() -> None:
    """One below each heading."""
    headings = re.findall(r"^## (.*)$", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert list(RECIPES) == headings


@pytest.mark.parametrize(("recipe", "number", "block"), BLOCKS, ids=[f"{recipe}-{n}" for recipe, n, _ in BLOCKS])
def test_runbook_recipe_is_executed(recipe: str, number: int, block: Block) -> None:
    """By a test on the stack, as it stands there."""
    assert block.steps and all(step.prints for step in block.steps)
    assert (recipe, number) in run_calls()


def test_runbook_comparison_sees_what_differs() -> None:
    """A line that is not printed, one that is not told, another exit code; `…` alone allows more lines."""
    step = Step("x", ["a … c", "last"], 0)
    assert step.differences("a b c\nlast\n", 0) == []
    assert step.differences("a b\nmore\n", 3) == [
        "not printed: a … c", "not printed: last", "not told: a b", "not told: more", "exit code 3, not 0",
    ]  # fmt: skip
    assert Step("x", ["…", "last"]).differences("more\nlast", 0) == []
