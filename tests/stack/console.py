# SPDX-License-Identifier: Apache-2.0
"""A person at a shell with the runbook: its commands as they stand there, `threadlog` being that of a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ops.stack.layout import PYTHON, ROOT
from tests.runbook import DOCUMENT, Block, recipes
from tests.stack.world import World

CODE = ("schemas", "threadlog", "wire", "udfs", "jobs", "ops", "flink-conf", "examples")
WRAPPER = """#!/bin/sh
exec "{python}" -c "from ops.cli import main; main()" "$@"
"""


@dataclass(frozen=True)
class Console:
    """A shell in a folder of its own. `checkout`: whose `threadlog` is on the path; `namespace`, `app`: other ones."""

    world: World
    folder: Path
    checkout: Path = ROOT
    namespace: str = ""
    app: str = ""

    def run(self, recipe: str, number: int, **variables: str) -> str:
        """Execute the commands of a block and compare what they print; what the last printed."""
        said = ""
        for step in block(recipe, number).steps:
            said, code = self.shell(step.command, variables)
            assert step.differences(said, code) == [], f"{recipe}: {step.command}\n{said}"
        return said

    def shell(self, command: str, variables: Mapping[str, str]) -> tuple[str, int]:
        """What bash prints for a line, both streams, and the exit code."""
        programs = self.folder / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        (programs / "threadlog").write_text(WRAPPER.format(python=PYTHON))
        (programs / "threadlog").chmod(0o755)
        environment = {
            **os.environ,
            **variables,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self.checkout}:{self.world.app.parent}",
            "THREADLOG_STATE_DIR": str(self.world.settings.state_dir),
            "THREADLOG_NAMESPACE": self.namespace or self.world.settings.namespace,
            "THREADLOG_PORT_BASE": str(self.world.settings.port_base),
        }
        if self.app:
            environment["THREADLOG_APP"] = self.app
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=environment, text=True, timeout=240, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout, done.returncode

    def of(self, checkout: Path) -> Console:
        """The same shell with the `threadlog` of another checkout."""
        return replace(self, checkout=checkout)


def block(recipe: str, number: int) -> Block:
    """A block of the runbook."""
    return recipes(DOCUMENT.read_text("utf-8"))[recipe][number]


def another_checkout(folder: Path) -> Path:
    """A copy of this checkout's code, over the same programs: to be changed, as a later release."""
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".venv", ".build"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def edit(checkout: Path, file: str, *changes: tuple[str, str]) -> None:
    """Change the code of a copy: each text, which must be there once, into another."""
    path = checkout / file
    text = path.read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, (file, old)
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
