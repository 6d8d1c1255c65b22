# SPDX-License-Identifier: Apache-2.0
"""What the jobs are told on the `flink run` line, here and on a cluster of one's own; the line of the local stack."""

from __future__ import annotations

from pathlib import Path

from ops.settings import Settings, check_jobs
from ops.stack import flink
from ops.stack.code import app_digest
from ops.stack.layout import FLINK, Layout
from wire.control import TOOLS

# Nothing waits for a checkpoint of the tools job, whose results are out at once: one it has less often costs a crash
# some more to read, and each costs the JobManager, ZooKeeper and the disk as much as one of the conversation.
TOOLS_INTERVAL_MS = 1_000


def checkpoint_interval_ms(settings: Settings, kind: str) -> int:
    """How far apart the checkpoints of the job of that kind are begun, at least."""
    asked_ms = settings.checkpoint_interval_ms
    return max(asked_ms, TOOLS_INTERVAL_MS) if kind == TOOLS else asked_ms


def arguments(settings: Settings, kind: str, spec: str, folder: Path, checkpoints: str) -> list[str]:
    """What `main()` of the job of that kind is told, which reads no settings. `checkpoints` is a URI.

    Raises SettingsError."""
    check_jobs(settings)
    return [
        *("--app", spec),
        *("--namespace", settings.namespace),
        *("--bootstrap", settings.bootstrap),
        *("--registry", settings.registry_url),
        *("--parallelism", str(settings.parallelism)),
        *("--checkpoint-interval-ms", str(checkpoint_interval_ms(settings, kind))),
        *("--transaction-timeout-ms", str(settings.transaction_timeout_ms)),
        *("--checkpoint-dir", checkpoints),
        *("--app-digest", app_digest(spec, folder)),
    ]


def run_command(settings: Settings, layout: Layout, spec: str, kind: str, folder: Path, point: str) -> list[str]:
    """The `flink run` command line."""
    start = ["-s", point] if point else []
    if point and kind == flink.CATCH_UP:  # it has other sources than the job that left the savepoint
        start.append("-n")
    script = str(folder / "jobs" / f"{kind}.py")
    flink_run = [str(FLINK / "bin" / "flink"), "run", "-d", *start, "-pyfs", str(folder), "-py", script]
    return flink_run + arguments(settings, kind, spec, folder, f"file://{layout.checkpoints}")
