# SPDX-License-Identifier: Apache-2.0
"""Histories of the bench's refund desk, and changed copies of its code."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import bench.app
from bench.replay import entries, schemas, write
from schemas.codec import FixedSchemas
from threadlog.entry import Entry

APP = "bench.app:app"
_numbers = itertools.count()
_made: dict[int, list[Entry]] = {}


def mix(decisions: int) -> list[Entry]:
    """The first decisions of the mix; made once."""
    if decisions not in _made:
        _made[decisions] = list(entries(schemas(), decisions))
    return _made[decisions]


def file(folder: Path, decisions: int = 120) -> Path:
    """A histories file of the mix."""
    path = folder / "mix.jsonl"
    write(path, decisions)
    return path


def changed(folder: Path, monkeypatch: pytest.MonkeyPatch, *changes: tuple[str, str]) -> str:
    """The desk's code with words replaced, as an app; its module is new, because modules stay loaded."""
    text = Path(str(bench.app.__file__)).read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    name = f"changed_desk_{next(_numbers)}"
    (folder / f"{name}.py").write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(folder))
    return f"{name}:app"


def source(spec: str, folder: Path, words: str) -> int:
    """The line of a changed app in which these words are."""
    lines = (folder / f"{spec.partition(':')[0]}.py").read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if words in line)


def registered() -> FixedSchemas:
    """A registry that holds what the mix was written by."""
    return schemas()
