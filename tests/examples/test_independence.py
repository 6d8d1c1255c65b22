# SPDX-License-Identifier: Apache-2.0
"""What judges the product, feeds it or is called by it is no part of it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(path: Path) -> Iterator[str]:
    """The dotted names a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def reached(path: Path, seen: set[Path]) -> Iterator[str]:
    """What a file imports from outside the examples, directly or through other examples."""
    seen.add(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "examples":
            yield parts[0]
            continue
        files = (ROOT.joinpath(*parts[:depth]).with_suffix(".py") for depth in (2, 3, 4))
        yield from (name for file in files if file.exists() and file not in seen for name in reached(file, seen))


@pytest.mark.parametrize(
    "program", ["support_desk/check", "support_desk/traffic", "support_desk/payments", "yardstick/check"]
)
def test_independence_shares_no_code_with_the_product(program: str) -> None:
    """What judges the product, feeds it or is called by it imports libraries, and nothing of ours but its like."""
    path = ROOT / "examples" / f"{program}.py"
    foreign = set(reached(path, set())) - sys.stdlib_module_names
    assert foreign <= {"fastavro", "confluent_kafka", "aiohttp"}
    assert not {"importlib", "runpy", "subprocess"} & set(reached(path, set()))
    assert "__import__" not in path.read_text("utf-8")
