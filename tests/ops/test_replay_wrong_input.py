# SPDX-License-Identifier: Apache-2.0
"""What cannot be replayed, exported or forked is a sentence with a next step, whichever process finds it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.fakes import FakeKafka, run
from tests.ops.replays import APP, file, mix, registered

WRONG = [
    (("replay",), "Nothing says what to replay."),
    (("replay", "--all", "--what-if", "--check-upgrade"), "Say one of them."),
    (("replay", "--since", "yesterday"), "'yesterday' is no moment."),
    (("replay", "--all", "--app", "nothing:app", "--workers", "0"), "there is no module nothing"),
    (("replay", "--file", "h.jsonl", "--app", "bad_app:app", "--workers", "0"), "KeyError: 'x' (bad_app.py:2)"),
    (("replay", "--file", "h.jsonl", "--app", "bad_app:app", "--workers", "2"), "KeyError: 'x' (bad_app.py:2)"),
    (
        ("replay", "--file", "h.jsonl", "--app", APP, "nobody", "--workers", "0"),
        "The file holds nothing of thread 'nobody'.\nIts lines name its threads",
    ),
    (("replay", "--file", "bad_app.py", "--app", APP, "--workers", "2"), "bad_app.py is no histories file."),
    (
        ("replay", "--file", "h.jsonl", "--app", "tests.golden.savepoints.app:app"),
        "Another app decided this: support version 1. tests.golden.savepoints.app:app has go version 1.\n"
        "Name the app that has support: --app package.module:attribute. What is recorded of it is the digest of",
    ),
    (("replay", "--file", "empty", "--app", APP), "empty holds no *.jsonl."),
    (("replay", "--all", "--app", APP, "--workers", "1"), "No broker listens at"),
    (("histories", "export", "-o", "x"), "Nothing says which threads to export."),
    (("histories", "export", "--all", "--file", "h.jsonl", "-o", "no/x"), "no/x cannot be written"),
    (("histories", "export", "--file", "h.jsonl", "--since", "2100-01-01", "-o", "x"), "No thread decided anything"),
    (("fork", "x", "--at", "1", "--as", "y", "-o", "f", "--app", APP), "No broker listens at"),
    (
        ("fork", "nobody", "--at", "1", "--as", "y", "-o", "f", "--file", "h.jsonl", "--app", APP),
        "`threadlog threads` names",
    ),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_replay_wrong_input_is_a_sentence(alone: Path, arguments: tuple[str, ...], said: str) -> None:
    """No traceback, code 1, nothing written."""
    file(alone).rename(alone / "h.jsonl")
    (alone / "bad_app.py").write_text("# no app\nraise KeyError('x')\n")
    (alone / "empty").mkdir()
    before = sorted(path.name for path in alone.iterdir())
    told = run(*arguments)
    assert (told.exit_code, said in told.stderr) == (1, True), told.stderr
    assert sorted(path.name for path in alone.iterdir() if path.name != "__pycache__") == before


def test_replay_of_an_unknown_thread_of_the_journal_is_a_sentence(kafka: FakeKafka) -> None:
    """And so is an empty journal."""
    assert "The journal holds no decision." in run("replay", "--all", "--app", APP, "--workers", "0").stderr
    kafka.schemas = registered()
    kafka.add_entry(mix(120)[0])
    told = run("replay", "nobody", "--app", APP, "--workers", "0")
    assert (told.exit_code, "holds nothing of thread 'nobody'" in told.stderr) == (1, True)


def test_histories_of_two_registries_are_not_mixed(alone: Path) -> None:
    """One id would stand for two schemas; and a thread that is in two files would be told twice."""
    one = file(alone)
    other = alone / "other.jsonl"
    other.write_bytes(one.read_bytes().replace(b'"thread":"r0-', b'"thread":"q0-'))
    out = ("-o", str(alone / "out.jsonl"), "--force")
    told = run("histories", "export", "--all", "--file", str(one), "--file", str(one), *out)
    assert "is in two of the files" in told.stderr
    assert run("histories", "export", "--all", "--file", str(one), "--file", str(other), *out).exit_code == 0
    other.write_bytes(other.read_bytes().replace(b"What a customer wants", b"What somebody wants"))
    told = run("histories", "export", "--all", "--file", str(one), "--file", str(other), *out)
    assert "they come from two registries" in told.stderr
