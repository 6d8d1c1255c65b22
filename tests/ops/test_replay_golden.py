# SPDX-License-Identifier: Apache-2.0
"""What earlier versions wrote into the journal is decided again by this code, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ops.fakes import run

FOLDER = Path("tests/golden/savepoints")
JOURNALS = sorted(FOLDER.glob("*/journal.jsonl"))
# Its run was parked because the app of that day looked elsewhere; the app that lies beside looks where it began.
MENDED = "g-retry-of-a-person"


@pytest.mark.parametrize("journal", JOURNALS, ids=[path.parent.name for path in JOURNALS])
def test_journal_of_an_earlier_version_is_decided_alike(journal: Path) -> None:
    """Runs of every kind; a decision that is made otherwise now would break whoever upgrades with such a run open."""
    done = run("--json", "replay", "--all", "--file", str(journal), "--app", "tests.golden.savepoints.app:app")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["thread"] for one in told if "thread" in one} == {MENDED}
    summary = told[-1]
    assert summary["standings"] == {"equal": summary["decisions"] - 1, "diverged": 1}
    assert summary["voids"] == 0


def test_there_are_journals_of_earlier_versions() -> None:
    """Or the test above would test nothing."""
    assert JOURNALS
