# SPDX-License-Identifier: Apache-2.0
"""A tail that nobody has signed yet is as long as the manifest says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ops.audits import change, check, exported, paid, signed
from tests.ops.fakes import FakeKafka


@pytest.fixture
def key(kafka: FakeKafka, alone: Path) -> Path:
    """The key that has signed all of thread t, and thread u but for its entries 4 and 5."""
    paid(kafka)
    made = paid(kafka, "u")
    key = signed(alone)
    made.send(order="o2")
    made.answer({"total": 9})
    return key


def cut(bundle: Path, thread: str, seq: int) -> None:
    """Take the entries of a thread behind a seq, and list the file as it is then."""
    change(bundle, "records.jsonl", lambda all: [one for one in all if one["thread"] != thread or one["seq"] <= seq])


def relisted(bundle: Path, **listed: Any) -> None:
    """Change what the manifest says of thread u."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    [one] = [one for one in manifest["threads"] if one["thread"] == "u"]
    one |= listed
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("seq", [3, 4])
def test_verify_sees_an_unsigned_tail_cut(key: Path, alone: Path, seq: int) -> None:
    """No head covers it, but the manifest tells where the thread ended; of the other thread nothing is amiss."""
    bundle = exported(alone)
    assert check(bundle, key)[1] == []
    cut(bundle, "u", seq)
    said, faults = check(bundle, key)
    assert faults == [f"thread 'u': seq 1 to {seq} is not what the manifest lists: it was cut or written anew"]
    assert said[-1].startswith("thread 't': seq 1 to 3 whole")


def test_verify_sees_an_unsigned_tail_cut_in_a_bundle_with_a_key(key: Path, alone: Path) -> None:
    """Its signature is of another manifest; where that was taken too, the manifest still tells where the thread ended.
    Who has changed that as well has made an unsigned bundle of another moment."""
    bundle = exported(alone, "--key", str(key))
    cut(bundle, "u", 4)
    assert "forged: the signature is not of the key" in check(bundle, key)[1][0]
    (bundle / "manifest.sig").unlink()
    fault = "thread 'u': seq 1 to 4 is not what the manifest lists: it was cut or written anew"
    assert check(bundle, key)[1] == [fault]
    relisted(bundle, last_seq=4)  # its hash is still the other one
    assert check(bundle, key)[1] == [fault]


@pytest.mark.parametrize("listed", [{"first_seq": 2}, {"last_seq": 2}, {"last_seq": 4}, {"last_hash": "0" * 64}])
def test_verify_sees_a_manifest_that_lists_other_entries(key: Path, alone: Path, listed: dict[str, Any]) -> None:
    """Though every entry is there."""
    bundle = exported(alone)
    relisted(bundle, **listed)
    [fault] = check(bundle, key)[1]
    assert fault.startswith("thread 'u': seq 1 to 5 is not what the manifest lists")
