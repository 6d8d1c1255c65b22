# SPDX-License-Identifier: Apache-2.0
"""What is read out of a savepoint: the offsets of its Kafka sources. Where the golden ones can lie."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from ops.stack.savepoints import source_offsets

ENDLESS = -(2**63)


def split(topic: str, partition: int, offset: int, end: int = ENDLESS) -> bytes:
    """As Flink's connector writes it."""
    return struct.pack(">H", len(topic)) + topic.encode() + struct.pack(">iqq", partition, offset, end)


def test_savepoint_tells_how_far_its_sources_are(tmp_path: Path) -> None:
    """The enumerator has each split as it was given out, a reader as far as it is: the further one counts. What was
    never read says nothing, nor does another namespace, nor what is cut off."""
    assigned = b"".join(split("ns.agent-events", partition, -2) for partition in range(3))
    (tmp_path / "_metadata").write_bytes(b"junk" + assigned + b"ns.agent-events" + split("ns.agent-events", 0, 7))
    more = split("ns.agent-events", 1, 2**40) + split("ns.agent-events", 0, 5) + split("ns.tool-results", 2, 0)
    others = (
        split("other.agent-events", 2, 9) + split("ns.agent-events", 2, 9, end=12) + split("ns.agent-events", -1, 9)
    )
    (tmp_path / "a-file-of-state").write_bytes(more + others + split("ns.agent-events", 2, 9)[:-1])
    wanted = {"agent-events/0": 7, "agent-events/1": 2**40, "tool-results/2": 0}
    for point in (f"file:{tmp_path}", f"file://{tmp_path}/_metadata", str(tmp_path)):
        assert source_offsets(point, "ns", ["agent-events", "tool-results"]) == wanted
    assert source_offsets(f"file:{tmp_path}", "ns", ["human-feedback"]) == {}


def test_savepoint_that_is_elsewhere_tells_nothing(tmp_path: Path) -> None:
    """On another disk, or gone."""
    assert source_offsets("s3://bucket/savepoint", "ns", ["agent-events"]) == {}
    assert source_offsets(f"file:{tmp_path}/gone", "ns", ["agent-events"]) == {}


GOLDEN = sorted(Path("tests/golden/savepoints").glob("*/*/_metadata"))
INLINE, RELATIVE = b"\x01", b"\x06"  # of what kind a piece of state is, in the byte before the length of its name


@pytest.mark.parametrize("metadata", GOLDEN, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_golden_savepoint_can_lie_anywhere(metadata: Path) -> None:
    """The paths in it are of the stack that took it, and nothing opens them: they only name state that lies in
    `_metadata` itself. What lies in a file is told by that file's bare name."""
    data, files = metadata.read_bytes(), {path.name.encode() for path in metadata.parent.iterdir()} - {b"_metadata"}
    named = re.findall(rb"(.)..file:", data, re.DOTALL)
    assert (set(named), len(named)) == ({INLINE}, data.count(b"file:"))
    assert {bytes(name) for name in re.findall(RELATIVE + rb"\x00\x24([0-9a-f-]{36})", data)} == files


@pytest.mark.parametrize("version", sorted({path.parts[-3] for path in GOLDEN}))
def test_golden_savepoint_is_of_a_released_version_or_says_that_it_is_not(version: str) -> None:
    """By the headings of CHANGELOG.md."""
    headings = re.findall(r"^## (\S+)(.*)$", Path("CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    released = {name for name, more in headings if "unreleased" not in more}
    assert version in released or version.endswith(".dev")
