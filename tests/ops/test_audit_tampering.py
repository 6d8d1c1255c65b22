# SPDX-License-Identifier: Apache-2.0
"""Whatever was done to a bundle, its verifier sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ops.audit import keys, verify
from ops.audit.heads import AuditHead, read
from schemas.codec import Codec
from tests.ops.audits import (
    Lines,
    change,
    check,
    entries,
    exported,
    key_pair,
    paid,
    public_hex,
    relist,
    rewritten,
    signed,
    value,
    verifier,
)
from tests.ops.fakes import FakeKafka


def test_verify_sees_every_flipped_bit(bundle: Path, key: Path) -> None:
    """Any one bit of a record's bytes, though the manifest lists the file with it."""
    lines = [json.loads(line) for line in (bundle / "records.jsonl").read_bytes().splitlines()[:3]]
    told = [(f"line {number}", verify.DECISION, line) for number, line in enumerate(lines, 1)]
    opened, raw = verify.Bundle(bundle, {public_hex(key)}), verify.b64decode(lines[2]["value"])
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        lines[2]["value"] = value(bytes(flipped))
        thread = verify.Thread("t", opened)
        with pytest.raises(verify.FAULTS) as seen:
            thread.check(told, False)
        assert thread.where == "line 3, thread 't', seq 3", (bit, seen)


def test_verify_sees_a_flipped_bit_in_a_bundle(bundle: Path, key: Path) -> None:
    """The fault names file, line, thread and seq."""

    def flip(lines: Lines) -> None:
        raw = bytearray(verify.b64decode(lines[2]["value"]))
        raw[raw.index(b"finished")] ^= 1
        lines[2]["value"] = value(bytes(raw))

    change(bundle, "records.jsonl", flip)
    fault = "records.jsonl line 3, thread 't', seq 3: the entry was changed after it was written"
    assert check(bundle, key)[1] == [fault]


@pytest.mark.parametrize("file", ["records.jsonl", "heads.jsonl", "narrative.html", "schemas/1.avsc", "verify.py"])
def test_verify_sees_a_flipped_bit_of_any_file(bundle: Path, key: Path, file: str) -> None:
    """What the manifest lists is as it was exported."""
    raw = bytearray((bundle / file).read_bytes())
    raw[len(raw) // 2] ^= 1
    (bundle / file).write_bytes(raw)
    assert check(bundle, key)[1] == [f"manifest: {file} is not the file that the manifest lists"]


def without(index: int) -> Callable[[Lines], Lines]:
    return lambda lines: lines[:index] + lines[index + 1 :]


def exchanged(index: int) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:index], lines[index + 1], lines[index], *lines[index + 2 :]]


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (without(3), "records.jsonl line 4, thread 't', seq 5: does not continue seq 3: an entry was removed"),
        (without(0), "thread 't': begins at seq 2, but the log held seq 1 when it was signed"),
        (exchanged(3), "records.jsonl line 4, thread 't', seq 5: does not continue seq 3: an entry was removed"),
        (lambda lines: [lines[0], *lines], "records.jsonl line 2, thread 't', seq 1: does not continue seq 1"),
        (without(9), "heads.jsonl line 1, thread 't', seq 10: signed, but the bundle ends at seq 9: it was cut"),
        (lambda lines: lines[10:], "heads.jsonl line 1, thread 't', seq 10: signed, but the bundle ends at seq 0"),
    ],
    ids=["removed", "removed first", "reordered", "doubled", "cut", "all removed"],
)
def test_verify_sees_records_moved(bundle: Path, key: Path, edit: Callable[[Lines], Lines], fault: str) -> None:
    """A record that is gone, doubled or elsewhere, and a tail that was cut off; the other thread is whole."""
    change(bundle, "records.jsonl", edit)
    said, faults = check(bundle, key)
    assert len(faults) == 1 and faults[0].startswith(fault)
    assert said[-1].startswith("thread 'u': seq 1 to 3 whole")


def test_verify_sees_a_tail_that_was_written_anew(kafka: FakeKafka, bundle: Path, key: Path) -> None:
    """All its hashes are right, but they are not those that were signed."""
    tail = rewritten(kafka, entries(kafka, "t")[6:], reason="as we would have liked it")

    def edit(lines: Lines) -> None:
        for line, fresh in zip(lines[6:10], tail, strict=True):
            line["value"] = fresh

    change(bundle, "records.jsonl", edit)
    fault = "heads.jsonl line 1, thread 't', seq 10: not the entry that was signed: the chain was written anew"
    assert check(bundle, key)[1] == [fault]


def test_verify_sees_a_record_that_was_replaced(kafka: FakeKafka, bundle: Path, key: Path) -> None:
    """One in the middle, its own hash right; the tail is as it was signed."""
    [fresh, *_] = rewritten(kafka, entries(kafka, "t")[3:], reason="as we would have liked it")

    def edit(lines: Lines) -> None:
        lines[3]["value"] = fresh

    change(bundle, "records.jsonl", edit)
    fault = (
        "records.jsonl line 5, thread 't', seq 5: does not continue seq 4: an entry was removed, reordered or replaced"
    )
    assert check(bundle, key)[1] == [fault]


def test_verify_sees_bytes_after_a_record(bundle: Path, key: Path) -> None:
    """What no field holds is no part of what was hashed, and belongs to nothing."""

    def edit(lines: Lines) -> None:
        lines[1]["value"] = value(verify.b64decode(lines[1]["value"]) + b"\0")

    change(bundle, "records.jsonl", edit)
    [fault] = check(bundle, key)[1]
    assert fault.endswith("seq 2: not a threadlog.Decision in the Confluent wire format")


def exchange(name: str) -> Callable[[Lines], None]:
    def edit(lines: Lines) -> None:
        lines[0][name], lines[1][name] = lines[1][name], lines[0][name]

    return edit


def test_verify_sees_swapped_heads(bundle: Path, key: Path) -> None:
    """The head of one thread says nothing of another, whatever it is labelled."""
    change(bundle, "heads.jsonl", exchange("value"))
    assert [fault.split(": ", 1)[1] for fault in check(bundle, key)[1]] == [
        "a record of thread 'u', seq 3 stands there",
        "a record of thread 't', seq 10 stands there",
    ]


BESIDE = {"partition": 7, "offset": 7, "timestamp_ms": 7, "headers": [["traceparent", value(b"another")]]}


@pytest.mark.parametrize("name", BESIDE)
def test_verify_tells_that_no_hash_covers_what_stands_beside_a_record(
    bundle: Path, key: Path, alone: Path, name: str
) -> None:
    """Headers, place and broker's time of a record are under the bundle's signature alone; without one that is said."""

    def edit(lines: Lines) -> None:
        lines[2][name] = BESIDE[name]

    change(bundle, "records.jsonl", edit)
    said, faults = check(bundle, key)
    assert faults == []
    assert said[0] == (
        "manifest: journal 'threadlog', not signed. What no head covers rests on who gave you this: narrative, "
        "schemas, choice, void records, what is not yet signed, and headers, places and broker's times of records."
    )
    sealed = exported(alone, "--key", str(key), name="sealed")
    change(sealed, "records.jsonl", edit)
    assert check(sealed, key)[1][0].startswith("manifest: forged")


def head_of(kafka: FakeKafka, line: dict[str, Any]) -> AuditHead:
    head = read(Codec(kafka.schemas), verify.b64decode(line["value"]))
    assert head is not None
    return head


def reheaded(kafka: FakeKafka, edit: Callable[[AuditHead], AuditHead]) -> Callable[[Lines], None]:
    def change_it(lines: Lines) -> None:
        head = edit(head_of(kafka, lines[0]))
        lines[0]["value"], lines[0]["seq"] = value(head.encode(Codec(kafka.schemas))), head.seq

    return change_it


@pytest.mark.parametrize("name", ["namespace", "first_seq", "seq", "hash", "time_ms", "signed_ms", "signature"])
def test_verify_sees_a_head_that_was_changed(kafka: FakeKafka, bundle: Path, key: Path, name: str) -> None:
    """The signature is over every field."""
    new = {"namespace": "other", "hash": "0" * 64, "signature": b"\0" * 64}.get(name, 2)
    change(bundle, "heads.jsonl", reheaded(kafka, lambda head: replace(head, **{name: new})))
    [fault] = check(bundle, key)[1]
    assert "forged: the signature is not of the key" in fault


def test_verify_sees_a_head_of_another_key(kafka: FakeKafka, bundle: Path, key: Path, alone: Path) -> None:
    """Somebody who signs a chain of his own has not the key that the reader was given, though the bundle has it."""
    forger = keys.load(key_pair(alone, "forger"))
    change(bundle, "heads.jsonl", reheaded(kafka, lambda head: head.signed(forger)))
    [fault] = check(bundle, key)[1]
    assert "heads.jsonl line 1, thread 't', seq 10: signed by" in fault
    assert "which is none of the keys that you gave" in fault


def test_verify_sees_a_head_of_another_journal(kafka: FakeKafka, bundle: Path, key: Path) -> None:
    """A rehearsal's heads are signed by the same key, and are no evidence."""
    signer = keys.load(key)
    change(bundle, "heads.jsonl", reheaded(kafka, lambda h: replace(h, namespace="rehearsal").signed(signer)))
    assert check(bundle, key)[1][0].endswith("signed for the journal of 'rehearsal'")


def test_verify_bundle_without_heads_is_broken(bundle: Path, key: Path) -> None:
    """A chain that nobody has signed can be anybody's."""
    change(bundle, "heads.jsonl", lambda lines: lines[1:])
    assert check(bundle, key)[1] == [
        "thread 't': no entry of it is signed, and a chain alone proves nothing: sign, then export again"
    ]


def test_verify_tells_what_is_not_signed_yet(kafka: FakeKafka, alone: Path) -> None:
    """It is whole as far as it can be told; who needs more asks for all of it."""
    made = paid(kafka)
    key = signed(alone)
    made.send(order="o2")
    bundle = exported(alone, "--key", str(key))
    said, faults = check(bundle, key)
    assert faults == [] and "signed to seq 3" in said[1] and "seq 4 to 4 not yet signed" in said[1]
    assert check(bundle, key, all_signed=True)[1] == ["thread 't': seq 4 to 4 not yet signed"]
    told = verifier(bundle, str(bundle), "--key", f"{key}.pub", "--all-signed")
    assert (told.returncode, told.stdout.splitlines()[-1]) == (1, "BROKEN")


@pytest.mark.parametrize("one", ["t", "u"])
def test_verify_sees_a_thread_that_is_gone(bundle: Path, key: Path, one: str) -> None:
    """Its records and heads are removed: the manifest lists it."""
    for file in ("records.jsonl", "heads.jsonl"):
        change(bundle, file, lambda lines: [line for line in lines if line["thread"] != one])
    assert check(bundle, key)[1][0].startswith(f"thread {one!r}: no entry of it is signed")


def test_verify_sees_schemas_with_names_exchanged(bundle: Path, key: Path) -> None:
    """The bytes would read the same, as another story."""
    path = bundle / "schemas" / "1.avsc"
    path.write_text(
        path.read_text().replace('"verdict"', '"x"').replace('"reason"', '"verdict"').replace('"x"', '"reason"')
    )
    relist(bundle)
    assert "schema 1 is not the threadlog.Decision that this verifier knows" in check(bundle, key)[1][0]


def test_verify_sees_a_signed_bundle_changed(kafka: FakeKafka, key: Path, alone: Path) -> None:
    """What no head covers, the bundle's own signature does: the narrative, and what is not signed yet."""
    bundle = exported(alone, "--key", str(key))
    said, faults = check(bundle, key)
    assert faults == []
    assert said[0] == f"manifest: journal 'threadlog', signed by {public_hex(key)}. Every file is as it was exported."
    (bundle / "narrative.html").write_text("All is well.")
    relist(bundle)
    [fault] = check(bundle, key)[1]
    assert "forged: the signature is not of the key" in fault


def test_verify_sees_that_the_signature_of_a_bundle_was_taken(key: Path, alone: Path) -> None:
    """Who was told that there is one asks for it; without it the rest of the bundle is as good as its heads."""
    bundle = exported(alone, "--key", str(key))
    (bundle / "manifest.sig").unlink()
    assert check(bundle, key)[1] == []
    [fault] = check(bundle, key, all_signed=True)[1]
    assert fault.startswith("manifest: cannot be read (FileNotFoundError: ")


def test_verify_sees_a_bundle_signed_by_another(key: Path, alone: Path) -> None:
    """A signature that the reader cannot place is no signature."""
    bundle = exported(alone, "--key", str(key_pair(alone, "other")))
    assert "which is none of the keys that you gave" in check(bundle, key)[1][0]
