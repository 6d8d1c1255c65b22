# SPDX-License-Identifier: Apache-2.0
"""`python -m ops.stack.endings FOLDER`: what a dead JobManager left of jobs that had ended, made readable.

A JobManager writes the result of an ended job into a file, tidies up behind the job, and removes the file. One that
dies in between leaves it to the next one. But Flink 2.3 writes it without the id of the job's application, and a
JobManager that finds such a result ends itself; so does each one after it. This runs before every start of one.

A job that was submitted by itself is an application of its own under the same id, so that is what is added. A file that
was not written to its end is removed: nothing was tidied up yet, and the job goes on as if its JobManager had died a
moment before."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def mend(folder: Path) -> list[str]:
    """Mend the results in the cluster's folders below `folder`; what was done, one sentence a file."""
    return [said for path in sorted(folder.glob("*/*_DIRTY.json")) if (said := _mend(path))]


def _mend(path: Path) -> str:
    try:
        whole = json.loads(path.read_bytes())
        result = whole["result"]
        if "application-id" in result:
            return ""
        result["application-id"] = result["id"]
    except (ValueError, LookupError, TypeError):
        path.unlink()
        return f"{path.name} was not written to its end, and is removed"
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(whole))
    fresh.replace(path)
    return f"{path.name} lacked the id of its application"


if __name__ == "__main__":
    for line in mend(Path(sys.argv[1])):
        print(line)
