# SPDX-License-Identifier: Apache-2.0
"""An operator runs the code it was submitted with, or its process ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.codec import OURS
from wire.app_code import files_digest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from udfs import app_guard
code = app_guard.AppCode("guarded_app:app", {digest!r})
code.own_digest = {own!r} or code.own_digest
app_guard.EXIT_PAUSE_S = 0
print("digest", code.load().digest)
"""


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Load the app in a fresh interpreter, as a TaskManager would; the finished process."""
    (tmp_path / "guarded_app.py").write_text('from threadlog import App\n\napp = App("guarded")\n')
    path = os.pathsep.join([str(ROOT), str(tmp_path)])

    def load(digest: str, own: str = "", seed: str = "0") -> subprocess.CompletedProcess[str]:
        program = PROGRAM.format(digest=digest, own=own)
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return load


@pytest.fixture
def digest(run, tmp_path: Path) -> str:  # type: ignore[no-untyped-def]
    """The digest of the app's code as it lies on disk."""
    program = "from wire.app_code import digest; print(digest('guarded_app:app'))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    return subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).strip()


def test_guard_gives_the_app_with_its_digest(run, digest: str) -> None:  # type: ignore[no-untyped-def]
    """The same code on both sides: the app is loaded and knows what it was submitted as."""
    assert run(digest).stdout == f"digest {digest}\n"


def test_guard_ends_the_process_on_other_app_code(run) -> None:  # type: ignore[no-untyped-def]
    """Code that differs from what was submitted never runs, and the log says which is which."""
    ended = run("0" * 64)
    assert ended.returncode == 70
    assert "submitted with 000000000000" in ended.stderr


def test_guard_ends_the_process_on_other_code_of_ours(run, digest: str) -> None:  # type: ignore[no-untyped-def]
    """A TaskManager that holds an older threadlog in its interpreter ends as well."""
    assert run(digest, own="1" * 64).returncode == 70


def test_guard_refuses_a_random_hash_seed(run, digest: str) -> None:  # type: ignore[no-untyped-def]
    """Sets must have one order in every process."""
    refused = run(digest, seed="random")
    assert "PYTHONHASHSEED is not 0" in refused.stderr


OUTLIVES = """
import importlib, shutil, sys
first, second, digest = sys.argv[1:]
sys.path.insert(0, first)
from udfs.app_guard import AppCode
assert __import__("udfs").__file__.startswith(first)
AppCode("kept_app:app", digest).load()
shutil.rmtree(first)
sys.path.insert(0, second)
AppCode("kept_app:app", digest).load()
from schemas.codec import OURS, our_schema
importlib.import_module("udfs.tool_queue")
importlib.import_module("udfs.thread_function")
print(len([our_schema(f"threadlog.{name}") for name in OURS]), importlib.import_module("kept_app.part.later").HERE)
"""


def test_guard_keeps_what_an_interpreter_needs_after_its_code_was_removed(tmp_path: Path) -> None:
    """Flink removes the folder a job came in; the next attempt, or another job, then runs in the same interpreter."""
    copies = [tmp_path / "first", tmp_path / "second"]
    for copy in copies:
        for name in ("schemas", "threadlog", "wire", "udfs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "kept_app" / "part").mkdir(parents=True)
        (copy / "kept_app" / "__init__.py").write_text('from threadlog import App\n\napp = App("kept")\n')
        (copy / "kept_app" / "part" / "__init__.py").write_text("")
        (copy / "kept_app" / "part" / "later.py").write_text("HERE = 'found'\n")
    digest = files_digest([copies[0] / "kept_app"])
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": ""}
    command = [sys.executable, "-c", OUTLIVES, *map(str, copies), digest]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == f"{len(OURS)} found\n", done.stderr


BESIDE = """
import sys
from wire.app_code import digest
print(digest("company.shop.app:app"))
"""


def test_code_beside_the_apps_module_counts(tmp_path: Path) -> None:
    """The app may import any module of its top-level package, which is shipped whole and loaded once and for all."""
    shop = tmp_path / "company" / "shop"
    shop.mkdir(parents=True)
    for package in (shop, shop.parent):
        (package / "__init__.py").touch()
    (shop / "app.py").write_text('from threadlog import App\n\napp = App("shop")\n')
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}

    def digest_now() -> str:
        return subprocess.check_output([sys.executable, "-c", BESIDE], env=environment, text=True, timeout=60)

    before = digest_now()
    (shop.parent / "common.py").write_text("RATE = 2\n")
    assert digest_now() != before
