# SPDX-License-Identifier: Apache-2.0
"""What a page of figures says of where they come from: the processor, and the commit of this checkout."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from ops.stack.layout import ROOT


def cpu() -> str:
    """The processor's name as its maker gives it; else what Python knows of it, which may be nothing."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor()


def commit() -> str:
    """The commit, with a plus where the working tree differs from it; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty=+"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
