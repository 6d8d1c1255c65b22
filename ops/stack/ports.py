# SPDX-License-Identifier: Apache-2.0
"""Are the ports free, and if not, who has them."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from ops.stack.parts import Part

LISTEN = "0A"


def is_free(port: int) -> bool:
    """True when a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _listening_inode(port: int) -> str | None:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
            columns = line.split()
            if columns[3] == LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                return columns[9]
    return None


def owner(port: int) -> str:
    """The process that listens on the port, as `name (pid 123)`, as far as this user may see it."""
    inode = _listening_inode(port)
    if inode is None:
        return "another program"
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(link) == f"socket:[{inode}]" for link in (folder / "fd").iterdir()):
                return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
    return "a program of another user"


def taken(parts: list[Part]) -> list[str]:
    """A sentence for each port that a part wants and does not get."""
    wanted = [(port, part.name, use) for part in parts for use, port in part.ports.items()]
    return [
        f"{name} wants port {port} for {use}, but {owner(port)} has it."
        for port, name, use in wanted
        if not is_free(port)
    ]
