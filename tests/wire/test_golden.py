# SPDX-License-Identifier: Apache-2.0
"""Golden bytes: what lies in a topic must be readable for ever, and what is written must be what readers know."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyflink
import pytest

from schemas.codec import OURS, Codec, FixedSchemas, encode_note
from schemas.topics import TOPICS
from tests.wire.golden import CAME, LEAVES, frames, golden, topics
from wire.frames import unpack_in, unpack_out

ROOT = Path(__file__).resolve().parents[2]
JARS = ROOT / ".build" / "flink-lib"
RECORDS: dict[str, dict[str, Any]] = golden("records")


@pytest.fixture
def codec() -> Codec:
    return Codec(FixedSchemas())


def test_golden_records_are_all_of_ours() -> None:
    """Each of our schemas has a record."""
    assert set(RECORDS) == {f"threadlog.{name}" for name in (*OURS, "Note")}


@pytest.mark.parametrize("name", RECORDS)
def test_golden_record_is_read(name: str, codec: Codec) -> None:
    """The bytes mean what they meant when they were written."""
    wanted = RECORDS[name]
    assert codec.decode(bytes.fromhex(wanted["bytes"])) == (name, wanted["id"], wanted["data"])


@pytest.mark.parametrize("name", RECORDS)
def test_golden_record_is_written(name: str, codec: Codec) -> None:
    """The data becomes these bytes."""
    data = json.loads(json.dumps(RECORDS[name]["data"]))
    if name == "threadlog.Decision":
        data["input"]["value"] = base64.b64decode(data["input"]["value"])
    if name == "threadlog.AuditHead":
        data["signature"] = base64.b64decode(data["signature"])
    made = encode_note(RECORDS[name]["id"], **data) if name == "threadlog.Note" else codec.encode(name, data)
    assert made.hex() == RECORDS[name]["bytes"]


def test_golden_topics_are_those_that_the_conversation_writes() -> None:
    """Journal, outbox, reads, replies, signals and dead letters."""
    written = {f"ns.{name}" for name, topic in TOPICS.items() if "conversation" in topic.writer}
    assert {record["topic"] for record in golden("topics")} == written


@pytest.mark.parametrize("index", range(len(golden("topics"))), ids=[one["topic"] for one in golden("topics")])
def test_golden_kafka_record_is_written(index: int) -> None:
    """Topic, key, value and headers, for the same decision always the same."""
    assert topics()[index] == golden("topics")[index]


def test_golden_kafka_records_are_all_that_is_written() -> None:
    """In the order in which they are written, and no more."""
    assert [one["topic"] for one in topics()] == [one["topic"] for one in golden("topics")]


def test_golden_frames_are_read_and_made() -> None:
    """Python's side of both frames."""
    wanted = golden("frames")
    assert frames() == wanted
    assert unpack_in(bytes.fromhex(wanted["in"]["frame"])) == CAME
    assert unpack_out(bytes.fromhex(wanted["out"]["pack"])) == LEAVES


@pytest.fixture(scope="module")
def connector() -> dict[str, Any]:
    """What the connector classes make of the golden records."""
    if not (JARS / "threadlog-connector.jar").exists():
        pytest.skip("needs the jars: run `make setup`")
    home = str(Path(pyflink.__file__).parent)  # without it, PyFlink would fall back to its own jars
    environment = {**os.environ, "FLINK_HOME": home, "FLINK_LIB_DIR": str(JARS), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.wire.connector"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_golden_frame_is_what_kafka_input_makes(connector: dict[str, Any]) -> None:
    """Java's side of what comes in; the key of the stream is the thread, or what its partition is given."""
    frame = golden("frames")["in"]["frame"]
    assert connector["came"] == ["grüß", frame]


def test_partitions_lie_evenly_among_the_key_groups(connector: dict[str, Any]) -> None:
    """Any number of subtasks up to theirs has as many of them as any other, give or take one."""
    assert connector["groups"] == [0, 64, 32, 96, 16, 80, 48, 112]


def test_golden_pack_is_what_kafka_output_cuts(connector: dict[str, Any]) -> None:
    """Java's side of what leaves."""
    assert connector["records"] == golden("frames")["out"]["records"]
