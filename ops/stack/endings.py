# SPDX-License-Identifier: Apache-2.0
"""`python -m ops.stack.endings FOLDER`: what a dead JobManager left of jobs that had ended, made readable.

A JobManager writes the result of an ended job into a file, tidies up behind the job, and removes the file. One that
dies in between leaves it to the next one. But Flink 2.3 writes it without the id of the job's application, and a
JobManager that finds such a result ends itself; so does each one after it. This runs before every start of one.

A job that was submitted by itself is an application of its own under the same id, so that is what is added. A file that
was not written to its end still says by its name that the job has ended, so its job must not be recovered: what it told
is lost, and it is written anew. A file of another form is left alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

DIRTY = "_DIRTY.json"
UNTOLD = {"name": "", "application-status": "SUCCEEDED", "accumulator-results": {}, "net-runtime": 0}


def mend(folder: Path) -> list[str]:
    """Mend the results in the cluster's folders below `folder`; what was done, one sentence a file."""
    return [said for path in sorted(folder.glob(f"*/*{DIRTY}")) if (said := _mend(path))]


def _mend(path: Path) -> str:
    try:
        whole = json.loads(path.read_bytes())
    except ValueError:
        job = path.name.removesuffix(DIRTY)
        _write(path, {"result": {**UNTOLD, "id": job, "application-id": job}, "version": 1})
        return f"{path.name} was not written to its end, and is written anew"
    try:
        result = whole["result"]
        if "application-id" in result:
            return ""
        result["application-id"] = result["id"]
    except (LookupError, TypeError):
        return f"{path.name} is of a form that is not known here, and is left alone"
    _write(path, whole)
    return f"{path.name} lacked the id of its application"


def _write(path: Path, whole: dict[str, Any]) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(whole))
    fresh.replace(path)


if __name__ == "__main__":
    for line in mend(Path(sys.argv[1])):
        print(line)
