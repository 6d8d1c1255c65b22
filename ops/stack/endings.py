# SPDX-License-Identifier: Apache-2.0
"""The moment behind the end of a job, in which a JobManager must not die, and what is done where it did.

A JobManager writes the result of a job that has ended into a file, removes what ZooKeeper holds of the job, and removes
the file, all within some tenths of a second. Of what lies there in between Flink 2.3 makes nothing: the next JobManager
finds a result without what belongs to it and ends itself, as does each one after it.

So whoever stops a JobManager waits first (`wait_tidy`), and before one starts, `python -m ops.stack.endings CONF`, with
the folder of Flink's config.yaml, finishes what a dead one had begun: what ZooKeeper holds of the job is removed, then
the file. Never the file alone: the job would be recovered from a checkpoint before its last savepoint, and decide again
what was decided in between. And never while another JobManager of the cluster lives, which may be about to do the same.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from ops.stack.layout import Layout
from ops.stack.parts import RESULTS, flat_yaml
from wire.control import plain_path

WITHIN_S = 10.0
# A stack's parts start side by side, and ZooKeeper takes seconds.
ZOOKEEPER_S = 60.0
# What ZooKeeper holds of a job, below a cluster's node: the job's checkpoints, its graph, its application.
_HELD = ("jobs", "execution-plans", "applications")
_ROOT = "/flink"
_STORAGE, _CLUSTER, _QUORUM = (f"high-availability.{key}" for key in ("storageDir", "cluster-id", "zookeeper.quorum"))


def dirty(folder: Path) -> list[Path]:
    """The results of jobs behind which nobody has tidied up yet; `folder` is `high-availability.storageDir`."""
    return sorted(folder.glob(RESULTS))


def wait_tidy(layout: Layout, within_s: float = WITHIN_S) -> bool:
    """Wait until the JobManager has nothing left to do for jobs that have ended; False where it takes longer."""
    until = time.monotonic() + within_s
    while dirty(layout.ha):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def finish(conf: Path) -> list[str]:
    """Finish what a dead JobManager had begun; the ids of the jobs that had ended.

    `conf`: the folder of Flink's config.yaml, one `key: value` a line. Raises ValueError where that names no
    folder that can be looked into; KazooException, KazooTimeoutError, OSError."""
    told = flat_yaml((conf / "config.yaml").read_text("utf-8"))
    if absent := [key for key in (_STORAGE, _CLUSTER, _QUORUM) if key not in told]:
        raise ValueError(f"{conf / 'config.yaml'} has no line for {' and '.join(absent)}")
    folder, cluster = Path(plain_path(told[_STORAGE])), told[_CLUSTER].strip("/")
    if not folder.is_absolute():
        raise ValueError(f"{_STORAGE} is {told[_STORAGE]}, which is no folder of this machine (file:///...)")
    left = [path for path in dirty(folder) if path.parent.name == cluster]
    if not left:
        return []
    # A job that was submitted by itself is an application under the same id.
    jobs = sorted({path.name.partition("_")[0] for path in left})
    client = KazooClient(told[_QUORUM])
    client.start(ZOOKEEPER_S)
    try:
        for node in [f"{_ROOT}/{cluster}/{held}/{job}" for job in jobs for held in _HELD]:
            client.delete(node, recursive=True)  # one that is gone already is none to complain of
    finally:
        client.stop()
        client.close()
    for path in left:
        path.unlink()
    return jobs


if __name__ == "__main__":
    try:
        for job in finish(Path(sys.argv[1])):
            print(f"job {job} had ended, and the JobManager that was to tidy up behind it died: done now", flush=True)
    except (KazooException, KazooTimeoutError, OSError, ValueError) as error:
        raise SystemExit(f"what a dead JobManager left cannot be tidied up; tried again soon: {error}") from error
