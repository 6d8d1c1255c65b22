# SPDX-License-Identifier: Apache-2.0
"""Results of ended jobs that a dead JobManager left: the next one can read them."""

from __future__ import annotations

import json
from pathlib import Path

from ops.stack.endings import mend

JOB = "3a73f7a64f7855ad2e6650e1f2a7b9be"
LEFT = {"result": {"id": JOB, "name": "it.conversation", "application-status": "SUCCEEDED"}, "version": 1}


def left(folder: Path, text: str) -> Path:
    """A result in a cluster's folder."""
    path = folder / "it" / f"{JOB}_DIRTY.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_result_is_given_the_id_of_its_application(tmp_path: Path) -> None:
    """That of the job, as it was submitted by itself; a second time there is nothing to do."""
    path = left(tmp_path, json.dumps(LEFT))
    assert mend(tmp_path) == [f"{path.name} lacked the id of its application"]
    whole = {"result": {**LEFT["result"], "application-id": JOB}, "version": 1}  # type: ignore[dict-item]
    assert json.loads(path.read_text()) == whole
    assert mend(tmp_path) == []
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_result_that_was_not_written_to_its_end_still_says_that_its_job_has_ended(tmp_path: Path) -> None:
    """Without it the job would be recovered, and decide again what it had decided before it was stopped."""
    for text in ("", '{"result": {"id": "3a'):
        path = left(tmp_path, text)
        assert mend(tmp_path) == [f"{path.name} was not written to its end, and is written anew"]
        result = json.loads(path.read_text())["result"]
        assert (result["id"], result["application-id"], result["application-status"]) == (JOB, JOB, "SUCCEEDED")


def test_result_of_another_form_is_left_alone(tmp_path: Path) -> None:
    """A later Flink's, perhaps."""
    for text in ("[]", '{"result": {}}'):
        path = left(tmp_path, text)
        assert mend(tmp_path) == [f"{path.name} is of a form that is not known here, and is left alone"]
        assert path.read_text() == text


def test_nothing_is_done_where_no_job_has_ended(tmp_path: Path) -> None:
    """Before the first start there is not even a folder, and a result of Flink's that is whole stays as it is."""
    assert mend(tmp_path / "none") == []
    whole = json.dumps({"result": {**LEFT["result"], "application-id": JOB}})  # type: ignore[dict-item]
    path = left(tmp_path, whole)
    assert mend(tmp_path) == []
    assert path.read_text() == whole
