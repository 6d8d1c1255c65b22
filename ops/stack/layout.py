# SPDX-License-Identifier: Apache-2.0
"""Where things lie: the checkout's programs and one stack's state folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ops.bootstrap.steps import BUILD, FLINK, FLINK_LIB, PYTHON, ROOT, VENV
from ops.settings import Settings, remembered

__all__ = ["BUILD", "FLINK", "FLINK_LIB", "PYTHON", "ROOT", "VENV", "Layout"]

# Linux allows 107 bytes for the path of a unix socket, and the supervisor binds to one with its pid appended first.
SOCKET_PATH_MAX = 90
# What a stack, a demo or a submission leaves in the state folder. By `conf` the folder is known as ours; the lock goes
# last, so that whoever waits for it finds nothing of a stack that is being removed.
OURS = (
    "archives", "code", "demo", "flink", "index", "jobs", "kafka", "kafka-cluster-id", "logs", "registry", "run",
    "settings.json", "tmp", "zookeeper", "conf", "lock",
)  # fmt: skip
# The line in the supervisor's configuration by which that file is known as ours.
SUPERVISOR_NAME = "identifier=threadlog"


@dataclass(frozen=True)
class Layout:
    """The folders of one stack. `other`: a namespace beside the stack's own, whose jobs it runs too; "" for its own."""

    state: Path
    other: str = ""

    @property
    def conf(self) -> Path:
        """Rendered configuration files; also Flink's FLINK_CONF_DIR."""
        return self.state / "conf"

    @property
    def run(self) -> Path:
        """Start scripts, pid files and start counts, one of each per part."""
        return self.state / "run"

    @property
    def logs(self) -> Path:
        """One log per part, rotated."""
        return self.state / "logs"

    @property
    def tmp(self) -> Path:
        """Working files of the TaskManagers."""
        return self.state / "tmp"

    @property
    def jobs(self) -> Path:
        """What was submitted: one JSON file per job."""
        return self.state / "jobs" / self.other

    @property
    def checkpoints(self) -> Path:
        """Flink's checkpoints, a folder per job id."""
        return self.state / "flink" / "checkpoints"

    @property
    def ha(self) -> Path:
        """What JobManagers leave to each other beside ZooKeeper."""
        return self.state / "flink" / "ha"

    @property
    def savepoints(self) -> Path:
        """Savepoints taken by `down` and `submit`."""
        return self.state / "flink" / "savepoints"

    @property
    def supervisor_conf(self) -> Path:
        """The supervisor's configuration; its path on the command line is how a supervisor is told to be ours."""
        return self.conf / "supervisord.conf"

    @property
    def is_ours(self) -> bool:
        """True for the folder of a stack that was started once: only there may anything be ended or removed."""
        try:
            return SUPERVISOR_NAME in self.supervisor_conf.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return False

    @property
    def socket(self) -> Path:
        """The supervisor's socket: in the state folder, or in a private folder of the system's if that is too deep."""
        inside = self.run / "supervisor.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_MAX:
            return inside
        name = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"threadlog-{os.getuid()}" / f"{name}.sock"

    @property
    def archives(self) -> Path:
        """Where the JVMs of a stack that is there to make class archives leave them."""
        return self.state / "archives"

    @property
    def is_training(self) -> bool:
        """True for such a stack."""
        return self.archives.is_dir()

    def remove(self) -> tuple[list[Path], list[Path]]:
        """Remove what a stack leaves in its folder, and the folder when that was all; what is gone, what stays.

        To be done under the lock."""
        removed = [path for name in OURS if os.path.lexists(path := self.state / name)]
        for path in removed:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        left = sorted(self.state.iterdir())
        if not left:
            with contextlib.suppress(OSError):  # whoever waited for the lock begins in it
                self.state.rmdir()
                removed.append(self.state)
        return [path for path in removed if path not in left], left

    def make(self) -> None:
        """Create every folder."""
        for folder in (self.conf, self.run, self.logs, self.tmp, self.jobs, self.checkpoints, self.savepoints):
            folder.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def layout_of(settings: Settings) -> Layout:
    """The folders for the jobs of the settings' namespace, which need not be the one that the stack began with."""
    own = remembered(settings.state_dir).get("namespace", settings.namespace)
    return Layout(settings.state_dir, "" if settings.namespace == own else settings.namespace)
