# SPDX-License-Identifier: Apache-2.0
"""A JobManager is not ended while it tidies up behind a job."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ops.stack.layout import Layout
from ops.stack.tidying import is_tidy, wait_tidy


@pytest.mark.parametrize("store", ["job-result-store", "application-result-store"])
def test_what_is_being_tidied_up_is_waited_for(tmp_path: Path, store: str) -> None:
    """Until the file of the result is gone; a result that Flink keeps is none to wait for."""
    layout, folder = Layout(tmp_path), tmp_path / "flink" / "ha" / store / "it"
    assert is_tidy(layout)
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
