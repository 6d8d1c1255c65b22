# SPDX-License-Identifier: Apache-2.0
"""The leaderboard's package in an environment of its own, pinned by hash: a step of set-up like the others.

A step that was interrupted has no stamp and runs again; pip keeps what it has fetched."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from ops.bootstrap import steps

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
ENVIRONMENT = steps.BUILD / "bfcl"
PYTHON = ENVIRONMENT / "bin" / "python"


class FetchFailed(Exception):
    """The package could not be installed; the message ends with what the failing command printed."""


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise FetchFailed(f"`{' '.join(command[:5])} ...` failed:\n{(done.stdout + done.stderr)[-2000:]}")


def _install(say: steps.Say) -> None:
    pip = [str(PYTHON), "-m", "pip"]
    if not PYTHON.exists() or subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        _run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)])
    quiet = ["--no-input", "--disable-pip-version-check", "--only-binary", ":all:"]
    _run([*pip, "install", *quiet, "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)])
    say(f"    in {ENVIRONMENT.relative_to(steps.ROOT)}")


STEP = steps.Step("bfcl", "bfcl-eval 2026.3.23 and mpmath, 2.5 MB to fetch", (REQUIREMENTS,), PYTHON, _install)


def ensure(say: steps.Say) -> None:
    """Install what is missing; a second time that is one file read. Raises FetchFailed."""
    if steps.is_done(STEP):
        return
    steps.BUILD.mkdir(exist_ok=True)
    with open(steps.BUILD / "bfcl.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not steps.is_done(STEP):
            say(f"Fetching {STEP.size}")
            steps.run(STEP, say)


def package() -> Path:
    """The installed package's folder. Raises FetchFailed when there is none."""
    found = sorted(ENVIRONMENT.glob("lib/python*/site-packages/bfcl_eval"))
    if not found:
        raise FetchFailed(f"there is no bfcl_eval below {ENVIRONMENT}")
    return found[-1]
