# SPDX-License-Identifier: Apache-2.0
"""The house rules, checked: imports point down, pure floors stay pure, sizes stay small, documents name what exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    "schemas": set[str](),
    "threadlog": {"schemas"},
    "wire": {"schemas", "threadlog"},
    "udfs": {"schemas", "threadlog", "wire"},
    "jobs": {"schemas", "threadlog", "wire", "udfs"},
    "ops": {"schemas", "threadlog", "wire"},
}
IMPURE = {
    "time",
    "random",
    "uuid",
    "os",
    "asyncio",
    "socket",
    "threading",
    "secrets",
    "pyflink",
    "confluent_kafka",
    "aiohttp",
}
FUNCTION_LINES, MODULE_LINES, JOB_LINES = 50, 300, 120


def sources() -> list[Path]:
    return [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """The top-level packages a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources(), ids=ids)
def test_tidy_imports_point_down(path: Path) -> None:
    """A floor knows only what is below it."""
    floor = path.relative_to(ROOT).parts[0]
    assert {name for name in imported(path) if name in FLOORS} - FLOORS[floor] - {floor} == set()


@pytest.mark.parametrize("path", [p for p in sources() if ids(p).startswith(("schemas", "threadlog"))], ids=ids)
def test_tidy_pure_floors_have_no_clock_chance_or_io(path: Path) -> None:
    """Time, chance and ids come in as arguments."""
    assert set(imported(path)) & IMPURE == set()


@pytest.mark.parametrize("path", sources(), ids=ids)
def test_tidy_sizes(path: Path) -> None:
    """A function fits on a screen, a module in a head."""
    text = path.read_text("utf-8")
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert len(text.splitlines()) <= (JOB_LINES if path.parent.name == "jobs" else MODULE_LINES)
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > FUNCTION_LINES] == []


def test_tidy_readme_names_commands_that_exist() -> None:
    """Every `threadlog …` of the documents is a command."""
    commands = {path.stem for path in (ROOT / "ops" / "commands").glob("*.py")} - {"__init__"}
    named = set[str]()
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        named |= set(re.findall(r"`threadlog ([a-z]+)", document.read_text("utf-8")))
    assert named - commands == set()


def test_tidy_documents_link_to_files_that_exist() -> None:
    """No dead link inside the repository."""
    dead = []
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8")):
            if not (document.parent / target).exists():
                dead.append(f"{document.name}: {target}")  # noqa: PERF401 - three nested lines read better than one
    assert dead == []
