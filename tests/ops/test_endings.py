# SPDX-License-Identifier: Apache-2.0
"""A JobManager is not ended while it tidies up behind a job, and what a dead one left there is finished."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from kazoo.handlers.threading import KazooTimeoutError

from ops.stack import endings
from ops.stack.endings import finish, wait_tidy
from ops.stack.layout import Layout


@pytest.mark.parametrize("store", ["job-result-store", "application-result-store"])
def test_what_is_being_tidied_up_is_waited_for(tmp_path: Path, store: str) -> None:
    """Until the file of the result is gone; a result that Flink keeps is none to wait for."""
    layout, folder = Layout(tmp_path), tmp_path / "flink" / "ha" / store / "it"
    assert wait_tidy(layout, within_s=0)
    folder.mkdir(parents=True)
    (folder / f"{'a' * 32}.json").write_text("{}")
    assert wait_tidy(layout)
    left = folder / f"{'b' * 32}_DIRTY.json"
    left.write_text("{}")
    assert not wait_tidy(layout, within_s=0)
    gone = threading.Timer(0.1, left.unlink)
    gone.start()
    assert wait_tidy(layout)
    gone.join()


def left_behind(folder: Path, cluster: str) -> Path:
    """The folder of a configuration is `folder`, of a cluster "mine"; a result that some cluster's JobManager left."""
    lines = {
        "high-availability.storageDir": f"file://{folder}/ha",
        "high-availability.cluster-id": "/mine",
        "high-availability.zookeeper.quorum": "127.0.0.1:1",
    }
    (folder / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    left = folder / "ha" / "job-result-store" / cluster / f"{'a' * 32}_DIRTY.json"
    left.parent.mkdir(parents=True)
    left.write_text("{}")
    return left


def test_what_another_cluster_left_is_not_touched(tmp_path: Path) -> None:
    """And where there is nothing to do, nothing is asked of ZooKeeper."""
    left = left_behind(tmp_path, "theirs")
    assert finish(tmp_path) == []
    assert left.exists()


def test_a_result_stays_as_long_as_zookeeper_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the job would be recovered."""
    monkeypatch.setattr(endings, "ZOOKEEPER_S", 0.2)
    left = left_behind(tmp_path, "mine")
    with pytest.raises(KazooTimeoutError):
        finish(tmp_path)
    assert left.exists()


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    """To find nothing in it would let the next JobManager end itself, again and again."""
    left_behind(tmp_path, "mine")
    conf = tmp_path / "config.yaml"
    conf.write_text(conf.read_text().replace(f"file://{tmp_path}/ha", "s3://bucket/ha"))
    with pytest.raises(ValueError, match="s3://bucket/ha, which is no folder of this machine"):
        finish(tmp_path)
    conf.write_text("high-availability.storageDir: file:///ha\n")
    with pytest.raises(ValueError, match="no line for high-availability"):
        finish(tmp_path)
