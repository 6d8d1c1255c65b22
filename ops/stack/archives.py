# SPDX-License-Identifier: Apache-2.0
"""Class archives: what a JVM loaded once, laid out so that the next one maps it instead of loading it again.

On two cores the start of the stack is class loading more than anything else, and so is a recovery. Set-up therefore
starts a stack once whose JVMs write their archives as they end (`python -m ops.stack.archives`); every later one maps
them. An archive that does not fit the jars or the JDK is ignored by the JVM: nothing but time depends on them."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path

from ops.bootstrap.steps import ARCHIVES
from ops.settings import Settings
from ops.stack.layout import Layout

# Writing an archive is the last thing a JVM does; a supervisor that is less patient would kill it in the middle.
TRAINING_STOP_S = 120
PORTS = 10


def flags(layout: Layout, name: str) -> tuple[str, ...]:
    """JVM flags that use the archive of that name where it exists, or write it in a stack that is there to do so."""
    if layout.is_training:
        return (f"-XX:ArchiveClassesAtExit={layout.archives / f'{name}.jsa'}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
    archive = ARCHIVES / f"{name}.jsa"
    return (f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:cds=off") if archive.is_file() else ()


def _free_ports() -> int:
    """The first of ten free ports in a row.

    Raises OSError when there are none."""
    for base in range(24_000, 32_000, PORTS):
        taken = 0
        for port in range(base, base + PORTS):
            with socket.socket() as probe:
                taken += probe.connect_ex(("127.0.0.1", port)) == 0
        if not taken:
            return base
    raise OSError("no ten free ports in a row between 24000 and 32000")


def train() -> None:
    """Start a small stack with both jobs, stop it, and keep the archives that its JVMs left."""
    from ops.stack import lifecycle  # it imports the parts, and they this module

    # A short path: the supervisor's socket lies in it.
    with tempfile.TemporaryDirectory(prefix="threadlog-archives-") as folder:
        layout = Layout(Path(folder).resolve())
        layout.archives.mkdir()
        settings = Settings(state_dir=layout.state, namespace="archives", port_base=_free_ports(), taskmanagers=2)
        try:
            lifecycle.up(settings, print)
        finally:
            lifecycle.down(settings, print)
        shutil.rmtree(ARCHIVES, ignore_errors=True)
        shutil.copytree(layout.archives, ARCHIVES)
    print(f"  {', '.join(sorted(path.stem for path in ARCHIVES.iterdir()))}")


if __name__ == "__main__":
    try:
        train()
    except Exception as error:  # the stack works without archives, only more slowly
        print(f"  no class archives: {error}")
        ARCHIVES.mkdir(exist_ok=True)
    sys.exit(0)
