# SPDX-License-Identifier: Apache-2.0
"""The house rules, checked: imports point down, pure floors stay pure, sizes stay small, settings have reasons, and
documents name what exists."""

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
BESIDE = ("examples", "tests", "bench")
# A line that imports one of these into a pure floor says on itself why that is pure: `# pure: reason`.
IMPURE = {
    "time",
    "datetime",
    "pathlib",
    "subprocess",
    "importlib",
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


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(text: str) -> Iterator[tuple[str, str]]:
    """The modules that a source names, wherever in it and be it in a string, each with the line that does."""
    tree, lines = ast.parse(text), text.splitlines()
    documents = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    for node in ast.walk(tree):
        if id(node) not in documents:
            yield from ((name, lines[node.lineno - 1]) for name in named_by(node))


def named_by(node: ast.AST) -> Iterator[str]:
    """The modules that a node imports, or that a string of it names: in a call that imports, or with a dot."""
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in IMPORTING:
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        yield from (a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (found := MODULE.match(node.value)):
        folder, name = found.groups()
        if (ROOT / folder / name).is_dir() or (ROOT / folder / f"{name}.py").exists():
            yield node.value


IMPORTING = ("__import__", "import_module", "find_spec", "walk_packages", "run_module")
MODULE = re.compile(r"([a-z_]+)\.([a-z_]+)(?![^.:])")


def top(module: str) -> str:
    return module.split(".")[0]


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources(*FLOORS), ids=ids)
def test_tidy_imports_point_down(path: Path) -> None:
    """A floor knows only what is below it, strings included."""
    floor = path.relative_to(ROOT).parts[0]
    named = {top(name) for name, _ in imports(path.read_text("utf-8"))}
    assert named & FLOORS.keys() - FLOORS[floor] - {floor} == set()


@pytest.mark.parametrize("path", sources("schemas", "threadlog"), ids=ids)
def test_tidy_pure_floors_have_no_clock_chance_or_io(path: Path) -> None:
    """Time, chance and ids come in as arguments."""
    named = imports(path.read_text("utf-8"))
    assert [name for name, line in named if top(name) in IMPURE and "  # pure: " not in line] == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import jobs.tools, os", ["jobs.tools", "os"]),
        ("def f():\n    from jobs import tools", ["jobs"]),
        ("if TYPE_CHECKING:\n    import jobs", ["jobs"]),
        ("import_module('jobs')", ["jobs"]),
        ("importlib.import_module(name='time')", ["time"]),
        ("__import__('time')", ["time"]),
        ("NAME = 'jobs.tools'", ["jobs.tools"]),
        ("NAME = 'jobs.tools:main'", ["jobs.tools:main"]),
        ("NAME = f'ops.commands.{command}'", ["ops.commands."]),
        ("NAME = 'threadlog.Message'", []),
        ("NAME = 'threadlog.toml'", []),
        ("'jobs.tools is told about in a docstring'", []),
    ],
)
def test_tidy_finds_what_a_source_names(text: str, names: list[str]) -> None:
    """The rules above see imports that are not written as such."""
    assert [name for name, _ in imports(text)] == names


@pytest.mark.parametrize("path", sources(*FLOORS, *BESIDE), ids=ids)
def test_tidy_sizes(path: Path) -> None:
    """A function fits on a screen, a module in a head."""
    text = path.read_text("utf-8")
    assert text == "" or text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert len(text.splitlines()) <= (JOB_LINES if path.parent == ROOT / "jobs" else MODULE_LINES)
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > FUNCTION_LINES] == []


def without_reason(text: str) -> list[str]:
    """The settings of a configuration that do not stand right below a comment; a heading is none."""
    lines = [line.strip() for line in text.splitlines()]
    pairs = zip(["", *lines], lines, strict=False)
    return [line for above, line in pairs if line and line[0] != "#" and (above[:1] != "#" or above[:5] == "# ---")]


def test_tidy_flink_settings_have_a_reason_each() -> None:
    """Somebody who takes a line over to a cluster must know what it is for."""
    assert without_reason((ROOT / "flink-conf" / "config.yaml").read_text("utf-8")) == []


def test_tidy_sees_a_setting_without_a_reason() -> None:
    """A line below another setting, an empty line or a heading has none."""
    text = "# --- Java ---\na: 1\n# Because.\nb: 2\nc: 3\n\nd: 4\n"
    assert without_reason(text) == ["a: 1", "c: 3", "d: 4"]


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
