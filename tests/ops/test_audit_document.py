# SPDX-License-Identifier: Apache-2.0
"""docs/audit.md: the map from fields to what regulations ask for names fields that there are, and whom it quotes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest

from ops.audit.words import VERDICTS
from ops.cli import main
from ops.stack.layout import ROOT
from schemas.topics import TOPICS

MAP = (ROOT / "docs" / "audit.md").read_text("utf-8").partition("## Which field answers which demand")[2]
NAMED = sorted(set(re.findall(r"`([^`]+)`", MAP)))
ROWS = [line for line in MAP.splitlines() if line.startswith("|")]


def fields(schema: Any, of: str = "") -> set[str]:
    """The names of a schema's fields, those of a record within it behind a dot."""
    found = set[str]()
    for field in schema["fields"]:
        found.add(of + field["name"])
        if isinstance(field["type"], dict) and "fields" in field["type"]:
            found |= fields(field["type"], f"{field['name']}.")
    return found


def code(pattern: str, *files: Path) -> set[str]:
    """What a pattern finds in files."""
    return {one for file in files for one in re.findall(pattern, file.read_text("utf-8"))}


def known() -> set[str]:
    """All that the map may name: fields of records, topics, effects and how a call ends, verdicts, what `sign` says."""
    records = (json.loads(path.read_text("utf-8")) for path in (ROOT / "schemas" / "avro").glob("*.avsc"))
    engine = [*(ROOT / "threadlog").glob("*.py")]
    return {
        *(name for record in records for name in fields(record)),
        *TOPICS,
        *code(r'"do": "(\w+)"', *engine),
        *code(r'"(in_doubt)"', *engine),
        *VERDICTS,
        *code(r"NOT SIGNED", ROOT / "ops" / "commands" / "audit.py"),
    }


@pytest.mark.parametrize("name", NAMED)
def test_audit_map_names_what_there_is(name: str) -> None:
    """A field, an effect, a verdict or a topic; or a command with its options."""
    if not name.startswith("threadlog "):
        assert name in known()
        return
    command: Any = main
    for word in name.split()[1:]:
        if word.startswith("--"):
            assert word in {option for one in command.params for option in one.opts}
        else:
            command = command.get_command(click.Context(command), word)
            assert command is not None


@pytest.mark.parametrize("row", [row for row in ROWS if re.search(r"\((?:after|in our words)", row)])
def test_audit_map_links_whom_it_quotes(row: str) -> None:
    """Who reads a quotation can look it up; what cannot be looked up is said in our words, without quotation marks."""
    source = re.search(r"\(after ([^)]+)\)", row)
    assert ('"' in row) == (source is not None)
    assert source is None or f"[{source[1]}](https://" in MAP


def test_audit_map_quotes_nobody_unnamed() -> None:
    """Behind the table of the EU AI Act, which is quoted from the Official Journal."""
    standards = MAP.partition("**SOC 2**")[2]
    quoting = [row for row in standards.splitlines() if row.startswith("|") and '"' in row]
    assert quoting and [row for row in quoting if "(after " not in row] == []
